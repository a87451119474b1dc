"""Run one trial as a SLURM job of its own; the only importer of submitit.

submitit writes the batch script and starts the function in every task. What has become of a job is not asked of it:
the trial's own records say so, and one query for all jobs (``suite.slurm.watch``).
"""

import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.config import InputError, Trial
from suite.launch import job as inside
from suite.launch import logging_to
from suite.launch.followed import Followed
from suite.lease import remove_attempts
from suite.records import FAILURE, Line, Result, newest_checkpoint, read_failure, read_result, write_failure
from suite.slurm import controller, request
from suite.slurm.controller import Job
from suite.slurm.record import MOST_FRUITLESS, JobRecord, forget_job, read_job, write_job
from suite.slurm.site import Site, only
from suite.slurm.watch import Queue
from suite.stopping import Stopped

_LOOK_SECONDS = 2.0  # between two looks at a trial's folder
_SETTLE_SECONDS = 3.0  # for records to be seen from here, once their job is over
_LEAVE_SECONDS = 20.0  # for a job to end by itself, once its trial is final
_BUSY = re.compile(r"timed out|contact slurm|temporar|Zero Bytes|Max\w*Submit|refused", re.I)
_PASSING = ("NODE_FAIL", "PREEMPTED")  # SLURM may be about to requeue it: believed when seen twice
log = logging.getLogger(__name__)


def run(
    trial: Trial,
    folder: Path,
    *,
    data_dir: Path | None,
    on_epoch: Callable[[Line], None] = lambda line: None,
    should_stop: Callable[[], bool] = lambda: False,
    take_over: bool = False,
    site: Site,
) -> Result:
    """Submit a trial, or find the job that runs it already, and follow it to its end.

    Raises:
        Stopped: the sweep ends and the job goes on; or it was cancelled: by us since ``should_stop``, or by others.
        InputError: SLURM refuses the job, or what the job found wrong with its input.
        RuntimeError: the trial raised, or three jobs in a row ended without a newer checkpoint; its folder says so.
    """
    folder = folder.absolute()
    needs = request.request_for(trial, site.profile)
    parameters = request.parameters(needs, site.profile, name="", comment="")
    arguments = (trial.model_dump_json(), str(folder), str(data_dir.absolute()) if data_dir else None)
    jobs = Jobs(site, folder, trial.trial_id, parameters, (inside.run_trial, *arguments))
    followed, fruitless = Followed(folder, on_epoch, _LOOK_SECONDS), 0
    if (result := read_result(folder)) is not None:
        return result
    jobs.adopt_or_submit(should_stop)
    while True:
        before = newest_checkpoint(folder)
        while (over := jobs.over()) is None:
            if (ended := _ended(folder, jobs)) is not None:
                followed.look(now=True)
                return ended
            if should_stop():
                raise jobs.stopped()
            followed.look()
            time.sleep(_LOOK_SECONDS)
        time.sleep(_SETTLE_SECONDS)
        if (ended := _ended(folder, jobs)) is not None:
            followed.look(now=True)
            return ended
        fruitless = 0 if newest_checkpoint(folder) > before else fruitless + 1
        what = judge(jobs, over, folder)
        _check_hope(trial, folder, over, fruitless, what)
        note(folder, f"{what}; submitting it again")
        jobs.submit(should_stop)


def _ended(folder: Path, jobs: "Jobs") -> Result | None:
    """The result of a trial, once it is there; raises what it raised."""
    if (result := read_result(folder)) is not None:
        jobs.wait_for_exit()
        remove_attempts(folder)  # its job may have been killed just before it did
        forget_job(folder)
        return result
    if (failure := read_failure(folder)) is not None:
        raise RuntimeError(f"{failure.error}; {jobs.where()}")
    return None


def judge(jobs: "Jobs", over: Job, folder: Path) -> str:
    """What became of a job that is over, in one line, where another one may follow it.

    Raises:
        InputError: it found something wrong with its input; Stopped: somebody cancelled it.
    """
    what = f"job {over.id}: {over.state}; {jobs.where()}"
    if (problems := inside.input_problems(jobs.record.folder)) is not None:
        raise InputError(*problems)
    if over.state == "CANCELLED" and not jobs.record.cancelled:
        note(folder, what)
        raise Stopped(f"{what}; the same command submits it again")
    return what


def note(folder: Path, text: str) -> None:
    """Keep a line in the log of a trial."""
    with logging_to(folder):
        log.info("%s", text)


def _check_hope(trial: Trial, folder: Path, over: Job, fruitless: int, what: str) -> None:
    """Where another job would end like this one, the trial fails."""
    if over.state == "OUT_OF_MEMORY" or fruitless >= MOST_FRUITLESS:
        why = "" if over.state == "OUT_OF_MEMORY" else f"; given up after {fruitless} without a newer checkpoint"
        error = RuntimeError(what + why)
        write_failure(folder, trial.trial_id, error)
        raise error


class Jobs:
    """The job of a trial (or of a pack of trials), and those that follow it when it ends too early.

    Args:
        site: what all jobs of the sweep have in common.
        folder: of the trial: the job's log goes there.
        about: the trial_id; stands in the job's name and comment.
        parameters: of submitit, without name and comment.
        call: the function that every task of the job runs, and its arguments.
        keep_in: folders in which the job is written down; unset: ``folder``.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        about: str,
        parameters: dict[str, Any],
        call: tuple[Any, ...],
        keep_in: list[Path] | None = None,
    ) -> None:
        self._site, self._folder, self._about, self._call = site, folder, about, call
        self._parameters, self._keep_in = parameters, keep_in or [folder]
        self._queue = Queue(site.queue)
        self._since, self._passing = 0, 0
        self.record = JobRecord.new(f"{site.sweep}.{about}", about, folder)

    def adopt_or_submit(self, should_stop: Callable[[], bool]) -> None:
        """Follow the job that an earlier driver has submitted, where the controller still has it; else submit one."""
        found = read_job(self._keep_in[0])
        job = found.found_in(self._queue.jobs()) if found else None
        if found and job and not job.over:
            self._take(found, job)
        else:
            self.submit(should_stop)

    def submit(self, should_stop: Callable[[], bool]) -> None:
        """Submit a job.

        Its token is written down first: should we die, or sbatch not answer, the job is known by it.

        Raises:
            InputError: SLURM refuses it; Stopped: asked to, while SLURM would not take more jobs.
        """
        self.record = JobRecord.new(f"{self._site.sweep}.{self._about}", self._about, self._folder)
        self._keep()
        for folder in self._keep_in:
            (folder / FAILURE).unlink(missing_ok=True)
        while not self._submitted():
            since = self._queue.answer
            while self._queue.answer < since + 2:  # it may have gone through all the same
                if should_stop():
                    raise Stopped("stopped before SLURM took the job; the same command goes on")
                time.sleep(_LOOK_SECONDS)
            if (job := self.record.found_in(self._queue.jobs())) is not None:
                self._take(self.record, job)
                return

    def over(self) -> Job | None:
        """The job, once it is over."""
        job = self._queue.job(self.record, self._since)
        if job is None or not job.over:
            self._passing = 0
            return None
        if job.state in _PASSING:
            self._passing = self._passing or self._queue.answer
            return job if self._queue.answer > self._passing else None
        return job

    def stopped(self) -> Stopped:
        """The sweep ends, then the job is left alone; or this trial is to stop, then it is cancelled."""
        if self._site.leave.exists():
            return Stopped(f"job {self.record.id} goes on; the same command follows it")
        self._take(self.record.model_copy(update={"cancelled": True}), None)
        if self.record.id:
            controller.cancel([self.record.id])
        return Stopped(f"job {self.record.id} was cancelled: the scheduler stopped the trial")

    def where(self) -> str:
        """Where the job's log is, and how it ends."""
        lines = self.record.last_lines()
        return f"its log: {self.record.folder}" + (f": {' | '.join(lines)}" if lines else " (empty)")

    def wait_for_exit(self) -> None:
        """Give the tasks time to leave: what they still write goes into the folder that is removed next."""
        tasks = int(self._parameters["nodes"]) * int(self._parameters["ntasks_per_node"])
        end = time.monotonic() + _LEAVE_SECONDS
        while len(list(Path(self.record.folder).glob("*_result.pkl"))) < tasks and time.monotonic() < end:
            if (job := self._queue.jobs().get(self.record.id or "")) is not None and job.over:
                return
            time.sleep(0.2)

    def remove_log(self) -> None:
        """Remove what submitit left."""
        shutil.rmtree(self.record.folder, ignore_errors=True)

    def _submitted(self) -> bool:
        """Call sbatch; False where that has to be tried again."""
        parameters = {**self._parameters, "job_name": self.record.name, "comment": self.record.comment}
        try:
            job_id = submit(self._site, self.record, parameters, *self._call)
        except RuntimeError as error:
            said = " ".join(str(error).split())
            if not _BUSY.search(said):
                raise InputError(f"sbatch: {said[-500:]}") from None
            log.warning("sbatch: %s; trying again", said[-200:])
            return False
        self._take(self.record.model_copy(update={"id": job_id}), None)
        return True

    def _take(self, record: JobRecord, job: Job | None) -> None:
        if job and record.id is None:
            _name_pickle(Path(record.folder), job.id)
        self.record = record.model_copy(update={"id": job.id}) if job else record
        self._since = self._queue.answer
        self._keep()

    def _keep(self) -> None:
        for folder in self._keep_in:
            write_job(folder, self.record)


def _name_pickle(folder: Path, job: str) -> None:
    """Give what a job is to run the name that it looks for: submitit does so once it knows the id."""
    named = folder / f"{job}_submitted.pkl"
    if not named.exists() and (found := sorted(folder.glob("*.pkl"))):
        found[-1].rename(named)


def submit(site: Site, record: JobRecord, parameters: dict[str, Any], *call: Any) -> str:
    """Submit a job; returns its id.

    Raises:
        RuntimeError: what sbatch said.
    """
    executor = _executor(site, record.folder, parameters)
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    with only(site.variables):
        try:
            return str(executor.submit(*call).job_id)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise RuntimeError(str(error)) from error


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
