"""Giving jobs to SLURM; the only importer of submitit: it writes the script, and starts a function in each task."""

import os
import re
import stat
from pathlib import Path
from typing import Any

from suite.config import InputError
from suite.launch import job_entry
from suite.slurm import controller, request
from suite.slurm.record import JobRecord
from suite.slurm.site import Site, restricted_environment

_TRANSIENT_ERRORS = re.compile(  # another time, perhaps: limits of how many jobs there may be, and the like
    r"Submit\w*Limit|SubmitJobs|Jobs(Per\w+)?Limit|busy|drained|inactive|available now", re.I
)
_PERMANENT_ERRORS = (
    re.compile(  # what will be refused again; everything else may pass: a controller that is busy or away
        r"invalid|not available|exceed|not permitted|denied|unrecognized|unable to open|can ?not be satisfied|violates"
        r"|more processors|disabled|is required|must be|do not match|not found",
        re.I,
    )
)
# Of all jobs of a user or a group, or of this one alone: where SLURM does not say which, the queue does.
_LIMIT_ERRORS = re.compile(r"accounting/QOS policy|too many|limit|quota|maximum number|exceed", re.I)
_LIMITS_OF_ONE_JOB = re.compile(
    r"\b(QOS|Assoc)(?!Grp)\w*(?<!PerUser)(?<!PerAccount)Limit\b|Partition\w*Limit\b|\bMaxMemPerLimit\b"
    r"|time limit|node count|memory|CPU count|node configuration",
    re.I,
)


DRIVER_JOB = "SUITE_DRIVER_JOB"  # environment: the job in which the driver of a sweep runs


class Refused(InputError):
    """SLURM does not take the job."""


class TransientSubmitError(Exception):
    """SLURM did not take the job, or its answer was lost: it may be in the queue all the same."""


class LimitReached(TransientSubmitError):
    """SLURM takes no more jobs, or will never take this one: it does not say which."""


def submit(site: Site, record: JobRecord, parameters: dict[str, Any], *call: Any) -> str:
    """Submit a job; returns its id.

    Raises:
        Refused: for good, or its folder is not ours alone; TransientSubmitError: try again, after a look at the queue;
        LimitReached: the same, where jobs of this user are in the queue.
    """
    _make_private(Path(record.folder))
    executor = _executor(site, record.folder, parameters)
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    with restricted_environment(site.variables):
        try:
            return str(executor.submit(job_entry.run_frozen, site.archive.name, *call).job_id)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise _refusal(str(error)) from None


def _make_private(folder: Path) -> None:
    """What a job is to run lies there as a pickle: whoever can write there runs code as us."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    there = folder.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.geteuid() or there.st_mode & 0o077:
        raise Refused(f"{folder}: must be a folder of yours alone (rights 0700): jobs run what lies there")


def check_accepted(site: Site, record: JobRecord, parameters: dict[str, Any]) -> None:
    """Ask SLURM whether it would take such a job; nothing is queued.

    Raises:
        Refused: with what it says.
    """
    said = controller.dry_run_submit(script(site, record, parameters))
    error = None if said is None else _refusal(said)
    if isinstance(error, LimitReached) and not has_other_jobs():
        error = Refused(f"sbatch: {error}")
    if isinstance(error, Refused):
        raise error


def has_other_jobs() -> bool:
    """Jobs of this user are in the queue, or it is not known: what SLURM does not take now, it may take as they end."""
    jobs = controller.my_jobs()
    return jobs is None or any(is_other(job) for job in jobs.values())


def is_other(job: controller.Job) -> bool:
    """It is in the queue, and is not the job of the driver that asks."""
    return not job.is_finished and job.id != os.environ.get(DRIVER_JOB)


def _refusal(said: str) -> Refused | TransientSubmitError:
    said = " ".join(said.replace("sbatch: ", "").split())
    if _TRANSIENT_ERRORS.search(said) or not _PERMANENT_ERRORS.search(said):
        return TransientSubmitError(said[-200:])
    told = re.sub(r"policy \(.*?\)", "policy", said)  # SLURM's sentence for all of them names them all
    if _LIMIT_ERRORS.search(told) and not _LIMITS_OF_ONE_JOB.search(told):
        return LimitReached(said[-200:])
    return Refused(f"sbatch: {said[-500:]}")


def name_pickle(record: JobRecord, job: str) -> None:
    """Give what a job is to run the name that it looks for: submitit does so once it knows the id."""
    folder = Path(record.folder)
    named = folder / f"{job}_submitted.pkl"
    if not named.exists() and (found := sorted(folder.glob("*.pkl"))):
        found[-1].rename(named)


def script(site: Site, record: JobRecord, parameters: dict[str, Any]) -> str:
    """The text that sbatch would be given."""
    executor = _executor(site, record.folder, {**parameters, "job_name": record.name, "comment": record.comment})
    return str(executor._make_submission_file_text(executor._submitit_command_str, ""))


def check_installed() -> None:
    """Raise InputError where submitit is missing."""
    _import_submitit()


def _executor(site: Site, folder: str, parameters: dict[str, Any]) -> Any:
    _import_submitit()
    from submitit import SlurmExecutor

    class Executor(SlurmExecutor):  # type: ignore[misc]
        @classmethod
        def affinity(cls) -> int:  # a script can be shown where there is no SLURM
            return 1

    executor = Executor(folder=folder, python=site.python)
    more = {**parameters["additional_parameters"], "chdir": str(site.results)}
    setup = request.setup_lines(site.profile, str(site.archive), site.plugin_files)
    executor.parameters.update({**parameters, "additional_parameters": more, "setup": setup, "stderr_to_stdout": True})
    return executor


def _import_submitit() -> None:
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install submitit") from None
