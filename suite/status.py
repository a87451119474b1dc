"""See how a sweep stands: ``python -m suite.status FILE.yaml``.

It reads records only: it asks neither Ray nor SLURM.
"""

import argparse
import contextlib
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from suite import cli, records, unused
from suite.config import Trial
from suite.config.sweep_file import Sweep
from suite.config.varying import TrialNames
from suite.data import known_ids
from suite.data.known_ids import KnownIds
from suite.launch import attempts, lease
from suite.records.ledger import FINAL, Ledger, LedgerEntry
from suite.slurm.record import JobRecord, read_job
from suite.sweep.cost import duration
from suite.sweep.plan import data_notes, make_plan
from suite.table_layout import Column

COLUMNS = (
    Column("trial_id"),
    Column("method", 1),
    Column("model", 5),
    Column("width", 1),
    Column("dataset", 7),
    Column("seed", 2),
    Column("settings", 2),
    Column("state"),
    Column("epoch", 3),
    Column("val"),
    Column("left", 4),
    Column("where", 6),
)
STATES = ("done", "diverged", "stopped", "failed", "running", "queued", "unfinished", "not begun")  # order of counts


@dataclass(frozen=True)
class Row:
    """How a trial stands. ``val`` is its last ``val/top1``; ``where`` is a job, or a process and its machine.

    ``varying`` are the settings that vary in the sweep. ``seconds_left`` is told of one that runs: by the median of its
    epochs so far, without the test at the end.
    """

    trial: Trial
    trial_id: str
    state: str
    num_epochs: int = 0
    val: float | None = None
    where: str | None = None
    seconds_left: float | None = None
    note: str | None = None  # where somebody has to care for it
    varying: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table below ``COLUMNS``."""
        trial = self.trial
        what = self.trial_id, trial.method.name, trial.model.name, f"x{trial.model.width_mult:g}", trial.dataset.name
        left = "-" if self.seconds_left is None else duration(self.seconds_left)
        val = "-" if self.val is None else f"{self.val:.3f}"
        own = str(trial.seed), self.varying, self.state
        return (*what, *own, f"{self.num_epochs}/{self.trial.epochs}", val, left, self.where or "-")

    def plain(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        names = [field.name for field in fields(self) if field.name not in ("trial", "varying")]
        own = {name: getattr(self, name) for name in names}
        return {**own, "settings": self.trial.model_dump(mode="json")}


class StatusMonitor:
    """Looks at the trials of a sweep again and again, but at those that are final only once."""

    def __init__(self, sweep: Sweep, ledger: Ledger) -> None:
        self._sweep, self._ledger, self._names = sweep, ledger, TrialNames(sweep.trials)
        self._final: dict[str, Row] = {}
        self._beats: dict[Path, tuple[str, float]] = {}  # of a trial's folder: the last beat, and when it was new to us

    def poll(self) -> list[Row]:
        """A row a trial, in the order of the sweep."""
        rest = {i: trial for i, trial in self._sweep.trials.items() if i not in self._final}
        found = make_plan(replace(self._sweep, trials=rest), self._ledger).found
        looked = {i: self._row(i, trial, found[i]) for i, trial in rest.items()}
        rows = self._final | {i: replace(row, varying=self._names.settings(i)) for i, row in looked.items()}
        self._final = {i: row for i, row in rows.items() if row.state in FINAL}
        return [rows[i] for i in self._sweep.trials]

    def poll_until_final(self, every: float) -> Iterator[list[Row]]:
        """Look every so many seconds, until all trials are final, or failed: those wait for ``--retry-failed``."""
        yield (rows := self.poll())
        while not all(row.state in (*FINAL, "failed") for row in rows):
            time.sleep(every)
            yield (rows := self.poll())

    def summary_lines(self, rows: list[Row]) -> list[str]:
        """The counts of states, and the SLURM job of the driver, if it has one."""
        counts = Counter(row.state for row in rows)
        states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        driver = read_job(self._ledger.root / "driver" / self._sweep.label)
        counted = f"{len(rows)} trials in {self._ledger.root}: {states}"
        return [counted, f"driver: job {driver.id}"] if driver and driver.id else [counted]

    def _row(self, trial_id: str, trial: Trial, found: LedgerEntry) -> Row:
        if found.summary is not None:
            return Row(trial, trial_id, found.state, found.summary.num_epochs, found.summary.metrics.get("val/top1"))
        if found.state == "missing":
            self._beats[self._ledger.folder(trial_id)] = "", -math.inf
            return Row(trial, trial_id, "not begun")
        folder = self._ledger.folder(trial_id)
        job, lines = read_job(folder), records.read_metrics(folder)
        state = self._shown(folder, job) if found.state == "unfinished" else found.state
        return Row(
            trial,
            trial_id,
            state,
            num_epochs=len(lines),
            val=lines[-1].get("val/top1") if lines else None,
            where=_where(folder, job, state),
            seconds_left=_seconds_left(lines, trial.epochs) if state == "running" else None,
            note=_note(folder, state),
        )

    def _shown(self, folder: Path, job: JobRecord | None) -> str:
        attempt = records.newest_attempt(folder)
        if attempt is None:
            self._beats[folder] = "", -math.inf  # an attempt that is there at the next look has just begun
            return "queued" if job and not job.cancelled else "unfinished"
        if lease.is_running(folder):
            return "running"
        owner = attempts.owner_of(attempt)
        left = owner is not None and owner.state() == "gone"
        return "running" if not left and self._beats_on(attempt, bool(owner and job)) else "unfinished"

    def _beats_on(self, attempt: Path, presumed: bool) -> bool:
        """The heart of an attempt elsewhere has beaten lately, by our own clock; at the first look: as presumed."""
        now, beat = time.monotonic(), f"{attempt.name} {_text(attempt / lease.HEARTBEAT)}"
        last, at = self._beats.get(attempt.parent, (beat, now if presumed else -math.inf))
        self._beats[attempt.parent] = beat, at if beat == last else now
        # Not just since the last look: we may look more often than it beats, or than a shared disk lets us see it.
        return now - self._beats[attempt.parent][1] < lease.LEASE_TIMEOUT_SECONDS


def main(argv: Sequence[str] | None = None) -> int:
    """Show the trials of a sweep, once or until all of them are final."""
    args = _parse(argv)
    if args.unused:
        return unused.show(args.results, delete=args.delete)
    sweep, _ = cli.load(args, may_be_absent=True)
    data_ids = KnownIds(args.data_dir, args.results / known_ids.CACHE)
    ledger = Ledger(args.results, sweep.scheduler, data_ids)
    watcher = StatusMonitor(sweep, ledger)
    rows = watcher.poll()
    if args.json:
        told = [row.plain() for row in _asked(rows, args)]
        print(json.dumps({"name": sweep.name, "results": str(ledger.root), "trials": told}, indent=1))
        return _status(rows)
    from suite import terminal  # rich: not before mistakes are told

    if args.follow:
        with terminal.LiveTable() as redrawn:
            for rows in watcher.poll_until_final(args.every):
                moving_first = sorted(rows, key=lambda row: row.state in FINAL)  # a screen may be too short for all
                redrawn.show(watcher.summary_lines(rows), COLUMNS, moving_first)
    if not args.follow or terminal.console.is_terminal:
        absent = cli.no_results_yet(args.results, args.file)
        head = [*watcher.summary_lines(rows), *([absent] if absent else []), *data_notes(data_ids.problems)]
        terminal.show_table_with_notes(head, f"{sweep.name}: {sweep.path}", COLUMNS, _asked(rows, args))
    return _status(rows)


def _asked(rows: list[Row], args: argparse.Namespace) -> list[Row]:
    return [row for row in rows if row.state == "failed"] if args.failed else rows


def _status(rows: list[Row]) -> int:
    return 0 if all(row.state in FINAL for row in rows) else 1


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.sweep_parser(
        "suite.status",
        "Show the state of each trial of a sweep, from its records alone.",
        example="python -m suite.status width_vs_acc.yaml --follow",
        optional=True,
        statuses={0: "all planned trials are final", 1: "some trials are not final"},
    )
    shown = made.add_argument_group("what is shown")
    shown.add_argument("--failed", action="store_true", help="show failed trials only, and why they failed")
    shown.add_argument("--json", action="store_true", help="print JSON: every trial with its settings")
    shown.add_argument("--follow", action="store_true", help="refresh the table until all trials are final or failed")
    shown.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="with --follow; default: 5")
    unused.add_flags(made)
    made.add_argument_group("data sets").add_argument("--data-dir", type=Path, metavar="DIR", help=cli.DATA_DIR)
    return made


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser()
    args = made.parse_args(argv)
    if not 1 <= args.every <= 86400:  # nan too
        made.error("--every: must be from 1 to 86400 seconds")
    if args.follow and (args.json or args.failed):
        made.error("--follow: shows all trials, as a table: leave out --json and --failed")
    unused.check_flags(made, args)
    return args


def _where(folder: Path, job: JobRecord | None, state: str) -> str | None:
    if job and job.id:
        return f"job {job.id}"
    attempt = records.newest_attempt(folder) if state == "running" else None
    owner = attempts.owner_of(attempt) if attempt else None
    return f"{owner.host}, process {owner.pid}" if owner else None


def _seconds_left(lines: list[dict[str, float | None]], num_epochs: int) -> float | None:
    """By the times at which epochs ended: a clock that jumped, or a pause, moves one of them."""
    ends = [end for line in lines if (end := line.get("timestamp")) is not None]
    paces = [after - before for before, after in pairwise(ends) if after > before]
    return median(paces) * (num_epochs - len(lines)) if paces else None


def _note(folder: Path, shown: str) -> str | None:
    if shown == "failed" and (failure := records.read_failure(folder)):
        log = f"; its log: {folder / records.LOG}" if (folder / records.LOG).exists() else ""
        return f"failed: {' '.join(failure.error.splitlines())}: {folder / records.FAILURE}{log}"
    said = records.last_log_line(folder) if shown == "unfinished" else None
    return f"unfinished: {folder}: {said}" if said else None


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


if __name__ == "__main__":
    sys.exit(cli.run(main, prints=True))
