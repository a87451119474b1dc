"""What a person wants first of a sweep that has ended: accuracies by width and method, and the differences.

It reads the CSV files of the report; all else is in the report itself.
"""

import csv
from pathlib import Path

from suite.table_layout import Column, fits
from suite.terminal import console, show_table

_MOST_LINES = 20  # of both tables: with the lines below them 25
_FRAME = 3  # lines of a table: title, header and a blank one
_Row = dict[str, str]


def show_results(folder: Path) -> bool:
    """Print the tables of a report folder, as far as they fit; False where they cannot be read."""
    try:
        cells = _read(folder / "table.csv")
        pairs = _read(folder / "differences.csv") if (folder / "differences.csv").exists() else []
        accuracies = {_place(row): _text(row, "{:.2f}", "{:.1f}") for row in cells}
        differences = {_place(row): _text(row, "{:+z.1f}", "{:z.1f}") for row in pairs}
    except (OSError, ValueError, KeyError, csv.Error):  # another release wrote them: the report itself is shown
        return False
    if not accuracies:
        return False
    used = _show("accuracy, % (95 % interval)", accuracies, _MOST_LINES - min(len(differences), 1) * (_FRAME + 3))
    if differences:
        _show("difference, points (95 % interval)", differences, _MOST_LINES - used)
    return True


def _show(title: str, texts: dict[tuple[str, str], str], room: int) -> int:
    """Print a table in so many lines; returns how many it takes."""
    header, *rows = _grid(texts)
    columns = [Column(name) for name in header]
    most = max(room - _FRAME, 1)
    show_table(title, columns, rows[:most] if len(rows) <= most else rows[: most - 1])
    if len(rows) > most:
        console.print(f"and {len(rows) - most + 1} more rows in the report")
    console.print()
    return min(len(rows), most) + _FRAME


def _grid(texts: dict[tuple[str, str], str]) -> list[tuple[str, ...]]:
    """Header and rows: widths by methods, or methods by widths, or a row a cell, whichever fits first."""
    widths, names = (list(dict.fromkeys(places)) for places in zip(*texts, strict=True))
    tables: list[list[tuple[str, ...]]] = [
        [("width", *names), *((width, *(texts.get((width, name), "") for name in names)) for width in widths)],
        [("method", *widths), *((name, *(texts.get((width, name), "") for width in widths)) for name in names)],
    ]
    tables += [[("width", "method", ""), *((*place, text) for place, text in texts.items())]]
    return next((table for table in tables if fits(table, console.width)), tables[-1])


def _place(row: _Row) -> tuple[str, str]:
    """The width, and the method or two of them."""
    name = f"{row['method']} - {row['minus']}" if "minus" in row else row["method"]
    return f"x{float(row['width']):g}", " ".join(filter(None, (name, row["network"])))


def _text(row: _Row, mean: str, bound: str) -> str:
    if not row["mean"]:
        return "missing"
    bounds = ", ".join(bound.format(100 * float(row[name])) for name in ("low", "high") if row[name])
    return mean.format(100 * float(row["mean"])) + (f" ({bounds})" if bounds else "")


def _read(path: Path) -> list[_Row]:
    """The rows of a table; ``network`` names model and data set where the sweep has several."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    several = len({_network(row) for row in rows}) > 1
    return [{**row, "network": " ".join(_network(row)) if several else ""} for row in rows]


def _network(row: _Row) -> tuple[str, str]:
    return row["model"], row["dataset"]
