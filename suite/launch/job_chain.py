"""The job of a trial, or of a pack of trials, from its submission to its end, and those that follow it."""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.config import InputError
from suite.launch import job_entry, logging_to, submission
from suite.records import FAILURE
from suite.slurm import controller
from suite.slurm.controller import Job
from suite.slurm.record import ALLOCATIONS, JobRecord, read_job, write_job
from suite.slurm.site import Site
from suite.slurm.watch import QueueSnapshot
from suite.stopping import Stopped

_LOOK_SECONDS = 2.0  # between two looks at what the queue says
_LEAVE_SECONDS = 20.0  # for a job to end by itself, once its trial is final
_TRANSIENT_STATES = ("NODE_FAIL", "PREEMPTED")  # SLURM may be about to requeue it: believed when seen twice
log = logging.getLogger(__name__)


class JobChain:
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
        self._queue = QueueSnapshot(site.queue)
        self._since, self._passing, self._told = 0, 0, ""
        self.record = JobRecord.new(f"{site.sweep}.{about}", about, folder)

    def adopt_or_submit(self, should_stop: Callable[[], bool]) -> None:
        """Follow the job that an earlier driver has submitted, where the controller still has it; else submit one."""
        for folder in self._keep_in:  # of an earlier attempt; this is a new one
            (folder / FAILURE).unlink(missing_ok=True)
        found = read_job(self._keep_in[0])
        job = found.found_in(self._queue.jobs()) if found else None
        if found and not job and found.id is None:
            self._wait_for_answers(should_stop)  # its driver may have died while sbatch was on its way
            job = found.found_in(self._queue.jobs())
        if found and job and (not job.is_finished or job.state in _TRANSIENT_STATES):
            self._take(found, job)
            return
        for folder in self._keep_in:
            (folder / ALLOCATIONS).unlink(missing_ok=True)
        self.submit(should_stop)

    def submit(self, should_stop: Callable[[], bool]) -> None:
        """Submit a job.

        Its token is written down first: should we die, or sbatch not answer, the job is known by it.

        Raises:
            Refused: by SLURM; Stopped: asked to, while SLURM would not take more jobs.
        """
        self.record = JobRecord.new(f"{self._site.sweep}.{self._about}", self._about, self._folder)
        self._keep()
        while not self._try_submit():
            self._wait_for_answers(should_stop)  # it may have gone through all the same
            if (job := self.record.found_in(self._queue.jobs())) is not None:
                self._take(self.record, job)
                return

    def poll(self) -> Job | None:
        """The job, once it is over."""
        job = self._queue.job(self.record, self._since)
        if job is None or not job.is_finished:
            self._passing = 0
            return None
        if job.state in _TRANSIENT_STATES:
            self._passing = self._passing or self._queue.poll_number
            return job if self._queue.poll_number > self._passing else None
        return job

    def detach_or_cancel(self) -> Stopped:
        """The sweep ends, then the job is left alone; or this trial is to stop, then it is cancelled."""
        if self._site.leave.exists():
            return Stopped(f"job {self.record.id} goes on; the same command follows it")
        self._take(self.record.model_copy(update={"cancelled": True}), None)
        if self.record.id:
            controller.cancel([self.record.id])
        return Stopped(f"job {self.record.id} was cancelled: the scheduler stopped the trial")

    def describe_log(self) -> str:
        """Where the job's log is, and how it ends."""
        lines = self.record.last_lines()
        return f"its log: {self.record.folder}" + (f": {' | '.join(lines)}" if lines else " (empty)")

    def wait_for_exit(self) -> None:
        """Give the tasks time to leave: what they still write goes into the folder that is removed next."""
        tasks = int(self._parameters["nodes"]) * int(self._parameters["ntasks_per_node"])
        end = time.monotonic() + _LEAVE_SECONDS
        while len(list(Path(self.record.folder).glob("*_result.pkl"))) < tasks and time.monotonic() < end:
            if (job := self._queue.jobs().get(self.record.id or "")) is not None and job.is_finished:
                return
            time.sleep(0.2)

    def remove_log(self) -> None:
        """Remove what submitit left, but not elsewhere: the record may have been copied here with all results."""
        if Path(self.record.folder).parent == self._folder:
            shutil.rmtree(self.record.folder, ignore_errors=True)

    def _try_submit(self) -> bool:
        """Call sbatch; False where that has to be tried again."""
        parameters = {**self._parameters, "job_name": self.record.name, "comment": self.record.comment}
        try:
            job_id = submission.submit(self._site, self.record, parameters, *self._call)
        except submission.TransientSubmitError as error:
            if isinstance(error, submission.LimitReached) and not self._has_other_jobs():
                raise submission.Refused(f"sbatch: {error}") from None
            if str(error) != self._told:
                self._told = str(error)
                log_to_trial(self._folder, f"sbatch: {error}; trying again until SLURM takes the job")
            return False
        self._take(self.record.model_copy(update={"id": job_id}), None)
        return True

    def _has_other_jobs(self) -> bool:
        """The queue has other jobs of ours; it is asked anew where the newest answer has none, as it may be old."""
        return any(submission.is_other(job) for job in self._queue.jobs().values()) or submission.has_other_jobs()

    def _wait_for_answers(self, should_stop: Callable[[], bool]) -> None:
        """Until the queue is known as it is after now."""
        since = self._queue.poll_number
        while self._queue.poll_number < since + 2:
            if should_stop():
                raise Stopped("stopped before SLURM took the job; the same command goes on")
            time.sleep(_LOOK_SECONDS)

    def _take(self, record: JobRecord, job: Job | None) -> None:
        if job and record.id is None:
            submission.name_pickle(record, job.id)
        self.record = record.model_copy(update={"id": job.id}) if job else record
        self._since = self._queue.poll_number
        self._keep()

    def _keep(self) -> None:
        for folder in self._keep_in:
            write_job(folder, self.record)


def explain_job_end(jobs: JobChain, over: Job, folder: Path) -> str:
    """What became of a job that is over, in one line, where another one may follow it.

    Raises:
        InputError: it found something wrong with its input; Stopped: somebody cancelled it.
    """
    what = f"job {over.id}: {over.state}; {jobs.describe_log()}"
    if (problems := job_entry.input_problems(jobs.record.folder)) is not None:
        raise InputError(*problems)
    if over.state == "CANCELLED" and not jobs.record.cancelled:
        log_to_trial(folder, what)
        raise Stopped(f"{what}; the same command submits it again")
    return what


def log_to_trial(folder: Path, text: str) -> None:
    """Keep a line in the log of a trial."""
    with logging_to(folder):
        log.info("%s", text)
