"""Run one trial, or one rank of it, in this process."""

from collections.abc import Callable
from pathlib import Path

from suite.config import InputError, Trial
from suite.launch import RAISED, log, logging_to
from suite.launch.lease import Lease, TakenOver
from suite.records import FAILURE, RESULT, EpochMetrics, Result, file_errors, read_result, write_failure
from suite.startup import without_garbage_collection
from suite.stopping import Stopped, StopRequest

with without_garbage_collection():
    from suite.train import distributed, train

_NOT_TRIAL_FAILURES = (Stopped, TakenOver, InputError, distributed.PeerLost)


def run(
    trial: Trial,
    folder: Path,
    *,
    data_dir: Path | None,
    on_epoch: Callable[[EpochMetrics], None] = lambda line: None,
    should_stop: Callable[[], bool] = lambda: False,
    take_over: bool = False,
    on_begin: Callable[[int], None] = lambda step: None,
) -> Result:
    """Train one trial, or go on with it; where it raises, leave why in its folder and raise on.

    Raises:
        Busy: another process runs it; TakenOver: another one has taken it from us.
        Others as ``suite.train.train``.
    """
    with StopRequest(should_stop) as stop:
        if distributed.rank_info(trial.processes).rank:
            # A result means that rank 0 will not come: another process has finished the trial.
            ended = (folder / RESULT).exists
            return train(trial, folder, data_dir=data_dir, should_stop=lambda: stop.requested or ended())
        with (
            Lease.acquire(folder, take_over=take_over, should_stop=lambda: stop.requested) as lease,
            logging_to(folder),
        ):
            if (found := read_result(folder)) is not None:  # another process finished it while we waited
                return found
            return _attempt(trial, lease, stop, data_dir, on_epoch, on_begin)


def _attempt(
    trial: Trial,
    lease: Lease,
    stop: StopRequest,
    data_dir: Path | None,
    on_epoch: Callable[[EpochMetrics], None],
    on_begin: Callable[[int], None],
) -> Result:
    def should_stop() -> bool:
        lease.check()
        return stop.requested

    lease.check_now()
    (lease.trial_folder / FAILURE).unlink(missing_ok=True)
    try:
        result = train(
            trial,
            lease.folder,
            data_dir=data_dir,
            on_epoch=on_epoch,
            should_stop=should_stop,
            on_begin=on_begin,
        )
        lease.publish()
    except _NOT_TRIAL_FAILURES as error:
        log.info("%s", error, extra=RAISED)
        raise
    except Exception as error:
        _explain(trial, lease, error)
        raise
    return result


def _explain(trial: Trial, lease: Lease, error: Exception) -> None:
    """Leave why the trial failed, where it did; an error of the file system or a lost folder is not its failure."""
    lease.check_error(error)
    lease.check_now()
    if isinstance(error, OSError) and file_errors.is_of_files(error, lease.trial_folder):
        unfinished = file_errors.unfinished(error)
        log.info("%s", unfinished, extra=RAISED)
        raise unfinished from error
    try:
        write_failure(lease.folder, trial.trial_id, error, lease.number)
        lease.publish_failure()
    except OSError as lost:
        lease.check_error(lost)
        raise
