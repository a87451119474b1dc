"""Run many trials in one SLURM job: inside, the sweep's own command runs them with the inline launcher."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.config import Trial
from suite.launch import sweep_job
from suite.launch.job_chain import JobChain, explain_job_end
from suite.launch.metrics_follower import MetricsFollower
from suite.launch.slurm import LOOK_SECONDS, wait_until_visible
from suite.records import RESULT, EpochMetrics, has_failed, newest_checkpoint
from suite.records.ledger import Ledger
from suite.slurm import request
from suite.slurm.controller import Job
from suite.slurm.record import MAX_FRUITLESS_ALLOCATIONS, forget_job, read_job
from suite.slurm.site import Site

PACK = "pack"  # what a job of many trials says it is about
_LOOKS_A_SECOND = 20.0  # at folders of trials, on shared storage


def units(trial_ids: list[str], ledger: Ledger, jobs: dict[str, Job], pack: int) -> list[tuple[list[str], bool]]:
    """Trials that run together, and whether they are a pack: first those that are in the queue already, as they are."""
    live: dict[str, list[str]] = {}
    alone, rest = list[list[str]](), list[str]()
    for trial_id in trial_ids:
        record = read_job(ledger.folder(trial_id))
        found = record.found_in(jobs) if record else None
        if record is None or found is None or found.is_finished:
            rest.append(trial_id)
        elif record.about == PACK:
            live.setdefault(record.token, []).append(trial_id)
        else:
            alone.append([trial_id])
    fresh = [rest[i : i + pack] for i in range(0, len(rest), pack)]
    packed = [(unit, True) for unit in live.values()] + [(unit, pack > 1) for unit in fresh]
    return packed + [(unit, False) for unit in alone]


def run(
    trials: dict[str, Trial],
    ledger: Ledger,
    *,
    data_dir: Path | None,
    on_event: Callable[[str, dict[str, Any]], object],
    should_stop: Callable[[], bool],
    site: Site,
) -> None:
    """Submit a job for all of ``trials``, or find the one that runs them, and follow it until each has ended.

    ``on_event`` is given the trial_id and each line of its records, and ``{"ended": True}`` at its end. A trial that
    raises leaves that in its folder and does not end the others.

    Raises:
        Stopped, InputError: as ``suite.launch.slurm.run``.
        RuntimeError: three jobs in a row ended without getting any trial further.
    """
    left, fruitless = trials, 0
    while left:
        pack = _Pack(left, ledger, data_dir, on_event, site)
        over = pack.follow(should_stop, again=left is not trials)
        if over is None:
            return
        fruitless = 0 if pack.made_progress() else fruitless + 1
        what = explain_job_end(pack.jobs, over, pack.folder)
        if fruitless >= MAX_FRUITLESS_ALLOCATIONS:
            raise RuntimeError(f"{what}; given up after {fruitless} that got no trial further")
        left = {trial_id: trial for trial_id, trial in left.items() if trial_id in pack.unfinished}


class _Pack:
    """The trials of one job, and which of them have not ended."""

    def __init__(
        self,
        trials: dict[str, Trial],
        ledger: Ledger,
        data_dir: Path | None,
        on_event: Callable[[str, dict[str, Any]], object],
        site: Site,
    ) -> None:
        self._folders = {trial_id: ledger.folder(trial_id).absolute() for trial_id in trials}
        self._on_event = on_event
        self._followed = {
            i: MetricsFollower(folder, self._metrics_callback(i), 0.0) for i, folder in self._folders.items()
        }
        self.unfinished = dict(self._folders)
        self._before = self._state()
        self.folder = site.results / "packs"
        parameters = request.parameters(request.request_for_pack(site.profile), site.profile, name="", comment="")
        settings = [trial.model_dump(mode="json") for trial in trials.values()]
        data = str(data_dir.absolute()) if data_dir else None
        seconds = (site.profile.seconds_to_stop, site.profile.seconds_to_train)
        call = (sweep_job.run_pack, settings, site.sweep, str(site.results), data, *seconds)
        self.jobs = JobChain(site, self.folder, PACK, parameters, call, keep_in=list(self._folders.values()))

    def follow(self, should_stop: Callable[[], bool], *, again: bool) -> Job | None:
        """Submit, or ``again``, and follow; returns the job if it is over before every trial has ended, else None."""
        (self.jobs.submit if again else self.jobs.adopt_or_submit)(should_stop)
        while not self._look():
            if (over := self.jobs.poll()) is not None:
                return None if wait_until_visible(self._look, over) else over
            if should_stop():
                raise self.jobs.detach_or_cancel()
            time.sleep(max(LOOK_SECONDS, len(self.unfinished) / _LOOKS_A_SECOND))
        return None

    def made_progress(self) -> bool:
        """Any trial has, since it was submitted."""
        return self._state() != self._before

    def _look(self) -> bool:
        """Report what is new; True once every trial has ended, and the job with them."""
        for trial_id in list(self.unfinished):
            self._followed[trial_id].poll_metrics()
            folder = self.unfinished[trial_id]
            if (folder / RESULT).exists() or has_failed(folder):
                self._followed[trial_id].poll_metrics()
                del self.unfinished[trial_id]
                self._on_event(trial_id, {"ended": True})
        if not self.unfinished:
            self._clean_up()
        return not self.unfinished

    def _state(self) -> list[str]:
        return [newest_checkpoint(folder) for folder in self.unfinished.values()]

    def _clean_up(self) -> None:
        self.jobs.wait_for_exit()
        for folder in self._folders.values():
            if (folder / RESULT).exists():
                forget_job(folder)
        if all((folder / RESULT).exists() for folder in self._folders.values()):
            self.jobs.remove_log()

    def _metrics_callback(self, trial_id: str) -> Callable[[EpochMetrics], None]:
        def on_epoch(line: EpochMetrics) -> None:
            self._on_event(trial_id, dict(line))

        return on_epoch
