"""Run one trial as a SLURM job of its own.

What has become of a job, the trial's own records say; where there are none, the one query for all jobs
(``suite.slurm.watch``).
"""

import time
from collections.abc import Callable
from pathlib import Path

from suite.config import InputError, Trial
from suite.launch import job_entry
from suite.launch.attempts import remove_attempts
from suite.launch.job_chain import JobChain, explain_job_end, log_to_trial
from suite.launch.metrics_follower import MetricsFollower
from suite.records import (
    EpochMetrics,
    Result,
    has_failed,
    newest_checkpoint,
    read_failure,
    read_result,
    write_failure,
)
from suite.slurm import request
from suite.slurm.controller import Job
from suite.slurm.record import MAX_FRUITLESS_ALLOCATIONS, forget_job
from suite.slurm.site import Site

LOOK_SECONDS = 2.0  # between two looks at a trial's folder
_SETTLE_SECONDS = 3.0
_CACHE_SECONDS = 60.0


def run(
    trial: Trial,
    folder: Path,
    *,
    data_dir: Path | None,
    on_epoch: Callable[[EpochMetrics], None] = lambda line: None,
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
    data = str(data_dir.absolute()) if data_dir else None
    arguments = (trial.model_dump_json(), str(folder), data, site.profile.seconds_to_train)
    jobs = JobChain(site, folder, trial.trial_id, parameters, (job_entry.run_trial, *arguments))
    if (result := read_result(folder)) is not None:
        return result
    try:
        return _follow(trial, folder, jobs, MetricsFollower(folder, on_epoch, LOOK_SECONDS), should_stop)
    except InputError as error:
        log_to_trial(folder, str(error))
        raise


def _follow(
    trial: Trial, folder: Path, jobs: JobChain, followed: MetricsFollower, should_stop: Callable[[], bool]
) -> Result:
    jobs.adopt_or_submit(should_stop)
    fruitless = 0
    while True:
        before = newest_checkpoint(folder)
        while True:
            if (ended := _ended(folder, jobs)) is not None:
                followed.poll_metrics(now=True)
                return ended
            if (over := jobs.poll()) is not None:
                break
            if should_stop():
                raise jobs.detach_or_cancel()
            followed.poll_metrics()
            time.sleep(LOOK_SECONDS)
        if wait_until_visible(lambda: read_result(folder) is not None or has_failed(folder), over):
            continue
        fruitless = 0 if newest_checkpoint(folder) > before else fruitless + 1
        what = explain_job_end(jobs, over, folder)
        _fail_without_progress(trial, folder, over, fruitless, what)
        log_to_trial(folder, f"{what}; submitting it again")
        jobs.submit(should_stop)


def _ended(folder: Path, jobs: JobChain) -> Result | None:
    """The result of a trial, once it is there; raises what it raised."""
    if (result := read_result(folder)) is not None:
        jobs.wait_for_exit()
        remove_attempts(folder)  # its job may have been killed just before it did
        forget_job(folder)
        return result
    if (failure := read_failure(folder)) is not None:
        raise RuntimeError(f"{failure.error}; {jobs.describe_log()}")
    return None


def wait_until_visible(seen: Callable[[], bool], over: Job) -> bool:
    """Give records time to be seen from here, once their job is over: other nodes' files are cached for a while."""
    end = time.monotonic() + (_CACHE_SECONDS if over.state == "COMPLETED" else _SETTLE_SECONDS)
    while not seen() and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    return seen()


def _fail_without_progress(trial: Trial, folder: Path, over: Job, fruitless: int, what: str) -> None:
    """Where another job would end like this one, the trial fails."""
    if over.state == "OUT_OF_MEMORY" or fruitless >= MAX_FRUITLESS_ALLOCATIONS:
        why = "" if over.state == "OUT_OF_MEMORY" else f"; given up after {fruitless} without a newer checkpoint"
        error = RuntimeError(what + why)
        write_failure(folder, trial.trial_id, error)
        raise error
