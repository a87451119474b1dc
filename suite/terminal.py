"""What is printed for people: the console, tables, bars; the only importer of rich."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

from tabulate import tabulate

from suite.config import InputError
from suite.table_layout import BETWEEN, Column, Layout

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
Line = Sequence[tuple[str, str]]  # texts, each with its style: "red", or "" for none
_T = TypeVar("_T")
_MANY = 200  # rows that rich lays out


def track(items: Iterable[_T], what: str, total: int, by: Callable[[_T], int] = lambda item: 1) -> Iterator[_T]:
    """``items``, with a bar that says how many of ``total`` came; ``by`` says for how many an item counts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task, by(item))


def waiting(what: str) -> AbstractContextManager[object]:
    """While it is entered, a terminal shows what is waited for."""
    return console.status(f"{what} ...") if console.is_terminal else nullcontext()


def say(*line: tuple[str, str]) -> None:
    """Print texts in their styles as one line, which stays."""
    console.print(Text.assemble(*line))


class LivePanel:
    """A bar over ``total`` items with lines of text below it: drawn on a terminal only, and gone at the end.

    Args:
        what: is counted.
        total: number of items.
        lines: the text below the bar, asked for at each refresh. A terminal cuts those that are longer than its own.
        clock: in seconds.
    """

    def __init__(
        self, what: str, total: int, lines: Callable[[], Sequence[Line]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lines = lines
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, get_time=clock)
        self._task = self._bar.add_task(what, total=total)
        self._live = Live(get_renderable=self._panel, console=console, refresh_per_second=4, transient=True)

    def start(self) -> None:
        """Draw it from now on."""
        if console.is_terminal:
            self._live.start()

    def stop(self) -> None:
        """Remove it."""
        self._live.stop()

    def update(self, completed: float) -> None:
        """So many items are complete."""
        self._bar.update(self._task, completed=completed)

    @property
    def is_drawn(self) -> bool:
        """A terminal shows it, one that can move its cursor."""
        return self._live.is_started and console.is_interactive

    def refresh(self) -> None:
        """Draw it now."""
        if self.is_drawn:
            self._live.refresh()

    def _panel(self) -> Group:
        # The console wraps nothing: a line that the terminal wraps makes the panel higher than rich knows.
        lines = (Text.assemble(*line, no_wrap=True, overflow="ellipsis") for line in self._lines())
        return Group(self._bar, *lines)


def show_table(title: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: as far as it fits on a terminal, else whole."""
    rows = list(rows)
    layout = _layout(columns, rows)
    console.print(title)
    if layout.same:
        console.print(f"all: {layout.same}")
    if layout.fits and len(rows) <= _MANY:
        console.print(_table(layout), soft_wrap=False)
    else:
        console.file.write(_plain_table(layout) if layout.fits else _lines(layout))
    if layout.dropped:
        console.print(f"left out, as the terminal has {console.width} columns: {layout.dropped}")


def _layout(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Layout:
    return Layout.fitted(columns, rows, console.width) if console.is_terminal else Layout.whole(columns, rows)


def _table(layout: Layout) -> Table:
    """Without a frame on a terminal, which has room for more columns then."""
    table = Table(box=None, padding=(0, BETWEEN, 0, 0)) if console.is_terminal else Table()
    for i, name in enumerate(layout.header):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in layout.rows:
        table.add_row(*row)
    return table


def _plain_table(layout: Layout) -> str:
    """The same for many rows: rich itself would take half a second for a thousand."""
    align = ["left", *(["right"] * (len(layout.header) - 1))]
    frame = "outline" if console.options.ascii_only else "simple_outline"
    frame = "plain" if console.is_terminal else frame
    text = tabulate(layout.rows, headers=layout.header, tablefmt=frame, disable_numparse=True, colalign=align)
    return f"{text}\n"


def _lines(layout: Layout) -> str:
    return "".join(f"{'  '.join(row)}\n" for row in layout.rows)


class TableRow(Protocol):
    """A row of a table, and what is to be said of it below the table."""

    @property
    def cells(self) -> Sequence[str]:
        """The row."""

    @property
    def note(self) -> str | None:
        """A line, where there is anything to say."""


def show_table_with_notes(head: Iterable[str], title: str, columns: Sequence[Column], rows: Sequence[TableRow]) -> None:
    """Print lines, a table, and what is to be said of its rows."""
    for line in head:
        console.print(line)
    show_table(title, columns, [row.cells for row in rows])
    for row in rows:
        if row.note:
            console.print(row.note)


class LiveTable:
    """A table that is shown again and again: in one place on a terminal, else only what is new in its head."""

    def __init__(self) -> None:
        self._said: Sequence[str] = ()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveTable":
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, head: Sequence[str], columns: Sequence[Column], rows: Sequence[TableRow]) -> None:
        """Show this in place of what was there."""
        if console.is_terminal:
            layout = _layout(columns, [row.cells for row in rows])
            lines = [*head, *([f"all: {layout.same}"] if layout.same else [])]
            rest = [] if layout.fits else ["  ".join(row) for row in layout.rows]
            rest += [row.note for row in rows if row.note]
            table = [_table(layout)] if layout.fits else []
            self._live.update(Group(*map(_cut, lines), *table, *map(_cut, rest)), refresh=True)
        for line in head:
            if not console.is_terminal and line not in self._said:
                console.print(line)
        self._said = head


def _cut(line: str) -> Text:
    return Text(line, no_wrap=True, overflow="ellipsis")
