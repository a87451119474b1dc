"""Run many trials in one SLURM job: inside, the sweep's own command runs them with the inline launcher."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from suite.config import Trial
from suite.launch import sweep_job
from suite.launch.followed import Followed
from suite.launch.slurm import Jobs, judge
from suite.ledger import Ledger
from suite.records import FAILURE, RESULT, Line, newest_checkpoint
from suite.slurm import request
from suite.slurm.controller import Job
from suite.slurm.record import MOST_FRUITLESS, forget_job, read_job
from suite.slurm.site import Site

PACK = "pack"  # what a job of many trials says it is about
_LOOKS_A_SECOND = 20.0  # at folders of trials, on shared storage
_SETTLE_SECONDS = 3.0


def units(trial_ids: list[str], ledger: Ledger, jobs: dict[str, Job], pack: int) -> list[tuple[list[str], bool]]:
    """Trials that run together, and whether they are a pack: first those that are in the queue already, as they are."""
    live: dict[str, list[str]] = {}
    alone, rest = list[list[str]](), list[str]()
    for trial_id in trial_ids:
        record = read_job(ledger.folder(trial_id))
        found = record.found_in(jobs) if record else None
        if record is None or found is None or found.over:
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
    tell: Callable[[str, dict[str, Any]], object],
    should_stop: Callable[[], bool],
    site: Site,
) -> None:
    """Submit a job for all of ``trials``, or find the one that runs them, and follow it until each has ended.

    ``tell`` is given the trial_id and each line of its records, and ``{"ended": True}`` at its end. A trial that raises
    leaves that in its folder and does not end the others.

    Raises:
        Stopped, InputError: as ``suite.launch.slurm.run``.
        RuntimeError: three jobs in a row ended without getting any trial further.
    """
    pack = _Pack(trials, ledger, data_dir, tell, site)
    pack.jobs.adopt_or_submit(should_stop)
    fruitless = 0
    while True:
        before = pack.progress()
        while (over := pack.jobs.over()) is None:
            if pack.look():
                return
            if should_stop():
                raise pack.jobs.stopped()
            time.sleep(max(2.0, len(trials) / _LOOKS_A_SECOND))
        time.sleep(_SETTLE_SECONDS)
        if pack.look():
            return
        fruitless = 0 if pack.progress() != before else fruitless + 1
        what = judge(pack.jobs, over, pack.folder)
        if fruitless >= MOST_FRUITLESS:
            raise RuntimeError(f"{what}; given up after {fruitless} that got no trial further")
        pack.jobs.submit(should_stop)


class _Pack:
    """The trials of one job, and which of them have not ended."""

    def __init__(
        self,
        trials: dict[str, Trial],
        ledger: Ledger,
        data_dir: Path | None,
        tell: Callable[[str, dict[str, Any]], object],
        site: Site,
    ) -> None:
        self._folders = {trial_id: ledger.folder(trial_id).absolute() for trial_id in trials}
        self._tell = tell
        self._followed = {i: Followed(folder, self._teller(i), 0.0) for i, folder in self._folders.items()}
        self._open = dict(self._folders)
        self.folder = site.results / "packs"
        parameters = request.parameters(request.request_for_pack(site.profile), site.profile, name="", comment="")
        settings = [trial.model_dump(mode="json") for trial in trials.values()]
        arguments = (settings, site.sweep, str(site.results), str(data_dir.absolute()) if data_dir else None)
        call = (sweep_job.run_pack, *arguments)
        self.jobs = Jobs(site, self.folder, PACK, parameters, call, keep_in=list(self._folders.values()))

    def look(self) -> bool:
        """Tell what is new; True once every trial has ended, and the job with them."""
        for trial_id in list(self._open):
            self._followed[trial_id].look()
            if any((self._open[trial_id] / name).exists() for name in (RESULT, FAILURE)):
                self._followed[trial_id].look()
                del self._open[trial_id]
                self._tell(trial_id, {"ended": True})
        if not self._open:
            self._clean_up()
        return not self._open

    def progress(self) -> Sequence[object]:
        """Changes when any trial gets further."""
        return [len(self._open), *(newest_checkpoint(folder) for folder in self._open.values())]

    def _clean_up(self) -> None:
        self.jobs.wait_for_exit()
        for folder in self._folders.values():
            if (folder / RESULT).exists():
                forget_job(folder)
        if all((folder / RESULT).exists() for folder in self._folders.values()):
            self.jobs.remove_log()

    def _teller(self, trial_id: str) -> Callable[[Line], None]:
        def tell(line: Line) -> None:
            self._tell(trial_id, dict(line))

        return tell
