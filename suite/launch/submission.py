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

_TRANSIENT_ERRORS = re.compile(
    r"Submit\w*Limit|SubmitJobs|busy|drained|inactive|available now", re.I
)  # another time, perhaps
_PERMANENT_ERRORS = (
    re.compile(  # what will be refused again; everything else may pass: a controller that is busy or away
        r"invalid|not available|exceed|not permitted|denied|unrecognized|unable to open|can ?not be satisfied|violates"
        r"|more processors|disabled|is required|must be|do not match|not found",
        re.I,
    )
)


class Refused(InputError):
    """SLURM does not take the job."""


class TransientSubmitError(Exception):
    """SLURM did not take the job, or its answer was lost: it may be in the queue all the same."""


def submit(site: Site, record: JobRecord, parameters: dict[str, Any], *call: Any) -> str:
    """Submit a job; returns its id.

    Raises:
        Refused: for good, or its folder is not ours alone; TransientSubmitError: try again, after a look at the queue.
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
    if said is not None and isinstance(error := _refusal(said), Refused):
        raise error


def _refusal(said: str) -> Refused | TransientSubmitError:
    said = " ".join(said.replace("sbatch: ", "").split())
    if _PERMANENT_ERRORS.search(said) and not _TRANSIENT_ERRORS.search(said):
        return Refused(f"sbatch: {said[-500:]}")
    return TransientSubmitError(said[-200:])


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
    setup = request.setup_lines(site.profile, str(site.archive))
    executor.parameters.update({**parameters, "additional_parameters": more, "setup": setup, "stderr_to_stdout": True})
    return executor


def _import_submitit() -> None:
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install submitit") from None
