"""The table of differences between methods, paired by seed."""

from collections.abc import Iterator
from itertools import combinations

import pandas as pd

from analysis.parts import ReportTable, estimates, format_points
from analysis.parts.cells import Cell, comparable
from analysis.parts.seeds import pairing_notes, seed_list

MAX_COMPARED = 6  # with more series of a network, all their pairs would bury the table


def part(found: list[Cell], metric: str) -> ReportTable | None:
    """The table; None where there is nothing to compare."""
    pairs = [(other, one) for own in comparable(found) for one, other in _pairs(own)]
    if not pairs:
        return None
    numbers = pd.DataFrame([_row(*pair, metric) for pair in pairs])
    several = len({(cell.dataset, cell.model) for cell in found}) > 1
    notes = pairing_notes(
        (f"{one.series} - {other.name}", [cell.values(metric) for cell in (one, other)]) for one, other in pairs
    )
    return ReportTable("differences", "Differences, paired by seed, points", numbers, _shown(numbers, several), notes)


def _row(one: Cell, other: Cell, metric: str) -> dict[str, object]:
    """The mean of ``one - other`` in [-1, 1] with its 95 % interval, over ``seeds``."""
    estimate = estimates.of_difference(one, other, metric)
    low, high = estimate.bounds or (None, None)
    return {
        "dataset": one.dataset,
        "model": one.model,
        "width": one.width_mult,
        "method": one.series,
        "minus": other.series,
        "n": estimate.n,
        "seeds": seed_list(one.values(metric).keys() & other.values(metric).keys()),
        "mean": estimate.mean if estimate.n else None,
        "half_width": estimate.half_width,
        "low": low,
        "high": high,
    }


def _shown(numbers: pd.DataFrame, several: bool) -> pd.DataFrame:
    """A row a pair of series, a column a width: points +- half the interval; the network where there are several."""
    table: dict[str, dict[str, str]] = {}
    for row in numbers.to_dict("records"):
        name = f"{row['method']} - {row['minus']}" + (f" ({row['model']}, {row['dataset']})" if several else "")
        points = format_points(row["mean"], row["half_width"])
        table.setdefault(name, {"difference": name})[f"width {row['width']:g}"] = points
    return pd.DataFrame(list(table.values())).fillna("")


def _pairs(own: list[Cell]) -> Iterator[tuple[Cell, Cell]]:
    """Cells of one width, the series that comes first in the file before the other.

    With more than ``MAX_COMPARED`` series each is compared with the first one of its method, and those with each other.
    """
    series = list(dict.fromkeys((cell.method, cell.series) for cell in own))
    first = dict(reversed(series))
    for one, other in combinations(sorted(own, key=lambda cell: series.index((cell.method, cell.series))), 2):
        bases = [first[cell.method] == cell.series for cell in (one, other)]
        compared = len(series) <= MAX_COMPARED or all(bases) or (any(bases) and one.method == other.method)
        if compared and one.width_mult == other.width_mult:
            yield one, other
