"""What a SLURM job runs, in every one of its tasks. submitit calls it; the code is the frozen copy of the sweep."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from suite import output
from suite.config import InputError, Trial
from suite.launch.allocation import Allocation
from suite.launch.lease import TakenOver
from suite.records import newest_checkpoint, source_code, write_failure, write_text_atomic
from suite.slurm import controller
from suite.slurm.record import MAX_FRUITLESS_ALLOCATIONS, count_allocation, last_complaint, note_worthless
from suite.stopping import EXIT_TAKEN_OVER, Stopped, StopRequest

_INPUT = "input-problems.txt"
_RETRY_SECONDS, _MOST_RETRIES = 5.0, 20
_SIGNAL_SECONDS = 1.0  # within which all ranks of a job have heard the same signal


def run_frozen(archive: str, function: Callable[..., None], *arguments: object) -> None:
    """Run what a job is to run, if this is the code that was frozen for it.

    Raises:
        InputError: it is not; whoever follows the job says so.
    """
    try:
        source_code.check_frozen(archive)
    except InputError as error:
        _tell_problems(error)
        raise
    function(*arguments)


@output.tolerant()
def run_trial(settings: str, folder: str, data_dir: str | None, seconds: float) -> None:
    """Run a trial, or go on with it; where the job's time is over or its node is wanted, put the job back in the queue.

    Args:
        settings: of the trial, as JSON.
        folder: of the trial, on shared storage.
        data_dir: where data sets lie.
        seconds: that an allocation leaves for the trial: from its beginning to the signal before its time limit.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    trial, where = Trial.model_validate_json(settings), Path(folder)
    with StopRequest() as early:  # torch takes a while to load; a signal that comes meanwhile is not lost
        from suite.launch import inline

        if is_first_task() and not _may_begin(trial, where):
            sys.exit(1)
        allocation = Allocation(seconds, where)
        try:
            inline.run(
                trial,
                where,
                data_dir=Path(data_dir) if data_dir else None,
                should_stop=allocation.watch(lambda: early.requested),
                on_begin=allocation.begin,
            )
        except Stopped as stopped:
            print(stopped, flush=True)
            if is_first_task() and (complaint := allocation.complaint()):
                print(complaint, flush=True)
                note_worthless(where, complaint)
            requeue(stopped.signum or early.signum, early)
        except TakenOver as lost:
            print(lost, flush=True)
            sys.exit(EXIT_TAKEN_OVER)
        except InputError as error:
            _tell_problems(error)
            raise


def input_problems(folder: str) -> list[str] | None:
    """What a job found wrong with its input, if that was why it ended."""
    try:
        return (Path(folder) / _INPUT).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None


def _may_begin(trial: Trial, folder: Path) -> bool:
    """False where allocation after allocation has led nowhere: the trial fails then."""
    fruitless = count_allocation(folder, newest_checkpoint(folder))
    if fruitless < MAX_FRUITLESS_ALLOCATIONS:
        return True
    complaint = last_complaint(folder)
    why = f": {complaint}" if complaint else " without a newer checkpoint"
    what = f"given up after {fruitless} allocations in a row{why}; job {os.environ['SLURM_JOB_ID']}"
    write_failure(folder, trial.trial_id, RuntimeError(what))
    return False


def requeue(signum: int | None, early: StopRequest) -> None:
    """Put this job back into the queue, unless it is being cancelled.

    TERM says that, or that it is preempted: then the controller still calls it running, and would let it end for good.
    """
    if not is_first_task():
        return
    job = os.environ["SLURM_JOB_ID"]
    time.sleep(_SIGNAL_SECONDS)
    if signal.SIGTERM in (signum, early.signum) and not controller.is_running(job):
        return
    for _ in range(_MOST_RETRIES):  # a controller may be busy; SLURM ends us when the time is over
        if controller.requeue(job):
            print("put back into the queue", flush=True)
            return
        time.sleep(_RETRY_SECONDS)


def _tell_problems(error: InputError) -> None:
    if is_first_task():
        write_text_atomic(Path(os.environ["SUBMITIT_FOLDER"]) / _INPUT, str(error))


def is_first_task() -> bool:
    """This is the first task of its job."""
    return os.environ.get("SLURM_PROCID", "0") == "0"
