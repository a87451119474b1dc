"""What is printed for people: the console, tables, bars; the only importer of rich."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from tabulate import tabulate

from suite.config import InputError

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


def track(items: Iterable[_T], what: str, total: int, by: Callable[[_T], int] = lambda item: 1) -> Iterator[_T]:
    """``items``, with a bar that says how many of ``total`` came; ``by`` says for how many an item counts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task, by(item))


class LivePanel:
    """A bar over ``total`` items with lines of text below it: drawn on a terminal only, and gone at the end.

    Args:
        what: is counted.
        total: number of items.
        lines: the text below the bar, asked for at each refresh.
    """

    def __init__(self, what: str, total: int, lines: Callable[[], Sequence[str]]) -> None:
        self._lines = lines
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task(what, total=total)
        self._live = Live(get_renderable=self._panel, console=console, refresh_per_second=4, transient=True)

    def start(self) -> None:
        """Draw it from now on."""
        if console.is_terminal:
            self._live.start()

    def stop(self) -> None:
        """Remove it."""
        self._live.stop()

    def update(self, completed: int) -> None:
        """So many items are complete."""
        self._bar.update(self._task, completed=completed)

    def _panel(self) -> Group:
        return Group(self._bar, *map(Text, self._lines()))


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


class TableRow(Protocol):
    """A row of a table, and what is to be said of it below the table."""

    @property
    def cells(self) -> Sequence[str]:
        """The row."""

    @property
    def note(self) -> str | None:
        """A line, where there is anything to say."""


def show_table_with_notes(head: Iterable[str], title: str, header: Sequence[str], rows: Sequence[TableRow]) -> None:
    """Print lines, a table, and what is to be said of its rows."""
    for line in head:
        console.print(line)
    show_table(title, header, [row.cells for row in rows])
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

    def show(self, head: Sequence[str], header: Sequence[str], rows: Sequence[TableRow]) -> None:
        """Show this in place of what was there."""
        if console.is_terminal:
            notes = [Text(row.note) for row in rows if row.note]
            table = _table(None, header, [row.cells for row in rows])
            self._live.update(Group(*map(Text, head), table, *notes), refresh=True)
        for line in head:
            if not console.is_terminal and line not in self._said:
                console.print(line)
        self._said = head
