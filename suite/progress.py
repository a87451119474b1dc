"""What the user sees while a sweep runs; the only importer of rich."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from tabulate import tabulate

from suite.config import InputError, Trial
from suite.cost import duration
from suite.ledger import FINAL, Ledger
from suite.plan import Plan
from suite.sweepfile import Sweep

try:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    raise InputError(f"{error}: install it with: pip install rich") from None

console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)  # paths and errors are no markup
if not console.is_terminal:
    console.width = 200  # where nobody looks at a terminal its width means nothing: cut no column
_T = TypeVar("_T")
_MANY = 200  # rows that rich lays out, and cuts to the width of a terminal
_PLAIN_SECONDS = 5.0  # at most one line this often where the output is not a terminal


def label(trial: Trial) -> str:
    """A trial in one short line."""
    return f"{trial.method.name} {trial.model.name} x{trial.model.width_mult:g} {trial.dataset.name} seed {trial.seed}"


def track(items: Iterable[_T], what: str, total: int, by: Callable[[_T], int] = lambda item: 1) -> Iterator[_T]:
    """``items``, with a bar that says how many of ``total`` came; ``by`` says for how many an item counts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task, by(item))


def show_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    rows = list(rows)
    if len(rows) <= _MANY:
        console.print(_table(title, header, rows), soft_wrap=False)
        return
    align = ["left", *(["right"] * (len(header) - 1))]
    text = tabulate(rows, headers=header, tablefmt="simple_outline", disable_numparse=True, colalign=align)
    console.file.write(f"{title}\n{text}\n")  # rich itself would take half a second for a thousand rows


def _table(title: str | None, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def show_plan(sweep: Sweep, plan: Plan, ledger: Ledger) -> None:
    """The dry run: each trial with what has become of it."""
    header = ("trial_id", "method", "model", "dataset", "seed", "state")
    rows = []
    for trial_id, trial in sweep.trials.items():
        state = "to run" if trial_id in plan.to_run else plan.found[trial_id].state
        model = f"{trial.model.name} x{trial.model.width_mult:g}"
        rows.append((trial_id, trial.method.name, model, trial.dataset.name, str(trial.seed), state))
    show_table(f"{sweep.name}: {sweep.path}", header, rows)
    show_counts(plan, ledger)


def show_counts(plan: Plan, ledger: Ledger) -> None:
    """One line: how many trials are in each state."""
    states = ", ".join(f"{number} {state}" for state, number in sorted(plan.counts.items()))
    console.print(f"{len(plan.found)} trials in {ledger.root}: {states}; {len(plan.to_run)} to run")


class SweepDisplay:
    """Done, running, failed and the time left: a live panel on a terminal, else a line now and then."""

    def __init__(self, trials: dict[str, Trial], ledger: Ledger) -> None:
        self._trials, self._ledger = trials, ledger
        self._running: dict[str, dict[str, Any]] = {}
        self._done, self._failed = 0, 0
        self._ends: deque[float] = deque(maxlen=21)  # of the last trials, for the time left
        self._said = 0.0
        self._bar = Progress(
            TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task = self._bar.add_task("trials", total=len(trials))
        self._live = Live(get_renderable=self._panel, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "SweepDisplay":
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def lost(self) -> None:
        """Ray is dead, and the sweep ends."""
        self._live.stop()
        console.print(
            "Ray was killed (out of memory?): what is done is kept, and running trials go on from their last "
            "checkpoints: the same command goes on from here"
        )
        console.file.flush()

    def started(self, trial_id: str) -> None:
        """A trial has begun."""
        if not self._ends:
            self._ends.append(time.monotonic())
        self._running[trial_id] = {}

    def epoch(self, trial_id: str, line: dict[str, Any]) -> None:
        """A trial has reported an epoch."""
        self._running[trial_id] = line

    def ended(self, trial_id: str) -> None:
        """A trial's attempt is over; how, the ledger says."""
        self._running.pop(trial_id, None)
        self._ends.append(time.monotonic())
        state = self._ledger.state(self._trials[trial_id])
        final = state in FINAL
        self._done, self._failed = self._done + final, self._failed + (not final)
        self._bar.update(self._task, completed=self._done + self._failed)
        over = self._done + self._failed
        if not final:
            console.print(f"{state}: {label(self._trials[trial_id])}: {self._ledger.folder(trial_id)}")
        elif not console.is_terminal and (self._ends[-1] - self._said > _PLAIN_SECONDS or over == len(self._trials)):
            self._said = self._ends[-1]
            console.print(f"[{over}/{len(self._trials)}] {state}: {label(self._trials[trial_id])}; {self._summary()}")

    def _summary(self) -> str:
        return f"{len(self._running)} running, {self._failed} failed, {self._time_left()} left"

    def _time_left(self) -> str:
        if len(self._ends) < 2:
            return "?"
        pace = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        return duration(pace * (len(self._trials) - self._done - self._failed))

    def _panel(self) -> Group:
        rows = [Text(self._summary())]
        for trial_id, line in list(self._running.items()):
            trial = self._trials[trial_id]
            told = f"epoch {line['epoch'] + 1}/{trial.epochs}, val {line['val/top1']:.3f}" if line else "starting"
            rows.append(Text(f"  {label(trial)}: {told}"))
        return Group(self._bar, *rows)


class Noted(Protocol):
    """A row of a table, and what is to be said of it below the table."""

    @property
    def cells(self) -> Sequence[str]:
        """The row."""

    @property
    def note(self) -> str | None:
        """A line, where there is anything to say."""


def show_noted(head: Iterable[str], title: str, header: Sequence[str], rows: Sequence[Noted]) -> None:
    """Print lines, a table, and what is to be said of its rows."""
    for line in head:
        console.print(line)
    show_table(title, header, [row.cells for row in rows])
    for row in rows:
        if row.note:
            console.print(row.note)


class Redrawn:
    """A table that is shown again and again: in one place on a terminal, else only what is new in its head."""

    def __init__(self) -> None:
        self._said: Sequence[str] = ()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "Redrawn":
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, head: Sequence[str], header: Sequence[str], rows: Sequence[Noted]) -> None:
        """Show this in place of what was there."""
        if console.is_terminal:
            notes = [Text(row.note) for row in rows if row.note]
            table = _table(None, header, [row.cells for row in rows])
            self._live.update(Group(*map(Text, head), table, *notes), refresh=True)
        for line in head:
            if not console.is_terminal and line not in self._said:
                console.print(line)
        self._said = head
