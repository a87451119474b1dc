"""See how a sweep stands: ``python -m suite.status FILE.yaml``. Reads records only: it asks neither Ray nor SLURM.

Exit status: 0 all planned trials are final; 1 some are not; 2 bad input; 130 stopped (Ctrl-C).
"""

import argparse
import contextlib
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from suite import cli, lease, records
from suite.config import Trial
from suite.ledger import FINAL, Ledger, State
from suite.plan import make_plan
from suite.slurm.record import JobRecord, read_job
from suite.sweepfile import Sweep

HEADER = ("trial_id", "method", "model", "dataset", "seed", "state", "epoch", "val", "job")
STATES = ("done", "diverged", "stopped", "failed", "running", "queued", "unfinished", "not begun")  # order of counts


class Row(NamedTuple):
    """A trial: its row of the table below ``HEADER``, and a line on it where somebody has to care for it."""

    state: str
    cells: tuple[str, ...]
    note: str | None


class Watcher:
    """Looks at the trials of a sweep again and again, but at those that are final only once."""

    def __init__(self, sweep: Sweep, ledger: Ledger) -> None:
        self._sweep, self._ledger = sweep, ledger
        self._final: dict[str, Row] = {}
        self._beats: dict[Path, tuple[str, float]] = {}  # of a trial's folder: the last beat, and when it was new to us

    def look(self) -> list[Row]:
        """A row a trial, in the order of the sweep."""
        rest = {i: trial for i, trial in self._sweep.trials.items() if i not in self._final}
        states = make_plan(replace(self._sweep, trials=rest), self._ledger).states
        rows = self._final | {i: self._row(trial, states[i]) for i, trial in rest.items()}
        self._final = {i: row for i, row in rows.items() if row.state in FINAL}
        return [rows[i] for i in self._sweep.trials]

    def looks(self, every: float) -> Iterator[list[Row]]:
        """Look every so many seconds, until all trials are final, or failed: those wait for ``--retry-failed``."""
        yield (rows := self.look())
        while not all(row.state in (*FINAL, "failed") for row in rows):
            time.sleep(every)
            yield (rows := self.look())

    def head(self, rows: list[Row]) -> list[str]:
        """The counts of states, and the SLURM job of the driver, if it has one."""
        counts = Counter(row.state for row in rows)
        states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        driver = read_job(self._ledger.root / "driver" / self._sweep.label)
        counted = f"{len(rows)} trials in {self._ledger.root}: {states}"
        return [counted, f"driver: job {driver.id}"] if driver and driver.id else [counted]

    def _row(self, trial: Trial, state: State) -> Row:
        folder = self._ledger.folder(trial.trial_id)
        job, lines = read_job(folder), records.read_metrics(folder)
        shown = self._shown(folder, job) if state in ("missing", "unfinished") else state
        val = lines[-1].get("val/top1") if lines else None
        told = shown, f"{len(lines)}/{trial.epochs}", "-" if val is None else f"{val:.3f}", (job and job.id) or "-"
        model = f"{trial.model.name} x{trial.model.width_mult:g}"
        what = trial.trial_id, trial.method.name, model, trial.dataset.name, str(trial.seed)
        return Row(shown, (*what, *told), _note(folder, shown))

    def _shown(self, folder: Path, job: JobRecord | None) -> str:
        attempt = records.newest_attempt(folder)
        if attempt is None:
            self._beats[folder] = "", -math.inf  # an attempt that is there at the next look has just begun
            waits = "queued" if job and not job.cancelled else "unfinished"
            return waits if folder.exists() else "not begun"
        if lease.is_running(folder):
            return "running"
        owner = lease.owner_of(attempt)
        left = owner is not None and owner.state() == "gone"
        return "running" if not left and self._beats_on(attempt, bool(owner and job)) else "unfinished"

    def _beats_on(self, attempt: Path, presumed: bool) -> bool:
        """The heart of an attempt elsewhere has beaten lately, by our own clock; at the first look: as presumed."""
        now, beat = time.monotonic(), f"{attempt.name} {_text(attempt / lease.HEARTBEAT)}"
        last, at = self._beats.get(attempt.parent, (beat, now if presumed else -math.inf))
        self._beats[attempt.parent] = beat, at if beat == last else now
        # Not just since the last look: we may look more often than it beats, or than a shared disk lets us see it.
        return now - self._beats[attempt.parent][1] < lease.PATIENCE_SECONDS


def main(argv: Sequence[str] | None = None) -> int:
    """Show the trials of a sweep, once or until all of them are final."""
    args = _parse(argv)
    sweep, ledger = cli.load(args)
    watcher = Watcher(sweep, ledger)
    rows = watcher.look()
    from suite import progress  # rich: not before mistakes are told

    if args.follow:
        with progress.Redrawn() as redrawn:
            for rows in watcher.looks(args.every):
                moving_first = sorted(rows, key=lambda row: row.state in FINAL)  # a screen may be too short for all
                redrawn.show(watcher.head(rows), HEADER, moving_first)
    if not args.follow or progress.console.is_terminal:
        progress.show_noted(watcher.head(rows), f"{sweep.name}: {sweep.path}", HEADER, rows)
    return 0 if all(row.state in FINAL for row in rows) else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.sweep_parser("python -m suite.status", "Show how the trials of a sweep stand.")
    parser.add_argument("--follow", action="store_true", help="look again until all trials are final or failed")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="with --follow; default: 5")
    args = parser.parse_args(argv)
    if not 1 <= args.every <= 86400:  # nan too
        parser.error("--every: must be from 1 to 86400 seconds")
    return args


def _note(folder: Path, shown: str) -> str | None:
    if shown == "failed" and (failure := records.read_failure(folder)):
        return f"failed: {' '.join(failure.error.splitlines())}: {folder / records.FAILURE}"
    said = records.last_words(folder) if shown == "unfinished" else None
    return f"unfinished: {folder}: {said}" if said else None


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


if __name__ == "__main__":
    sys.exit(cli.run(main))
