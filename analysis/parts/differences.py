"""The table of differences between methods: Welch's intervals, and p-values adjusted for all that are planned."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd

from analysis.parts import ReportTable, estimates, format_points, format_probability
from analysis.parts.cells import Cell, comparable
from analysis.parts.failures import SUFFIX, at_chance
from analysis.parts.seeds import seed_list
from analysis.statistics.intervals import holm

SIGNIFICANT = 0.05  # Holm's p below it
MAX_COMPARED = 6  # with more series of a network, all their pairs would bury the table
_NOTE = (
    "Differences: Welch's intervals, of 95 % each; seeds of two methods are independent, so none is left out and none "
    "paired. p: of no difference; Holm: adjusted for the {num} differences that this sweep plans. A difference is "
    "significant if Holm's p is below 0.05."
)
_SAME = "Without an interval: one side has one seed, or the same accuracy in all, which hides how far they scatter."
_CHANCE = (
    "Failures at chance: each trial that diverged or failed counts as a network that guesses; not among those planned; "
    "intervals of these rows are over seeds alone."
)


def part(found: list[Cell], metric: str) -> ReportTable | None:
    """The table; None where there is nothing to compare."""
    pairs = _in_order([(other, one) for own in comparable(found) for one, other in _pairs(own)])
    if not pairs:
        return None
    planned = pd.DataFrame([_row(*pair, metric) for pair in pairs])
    planned["p_holm"] = pd.Series(holm([None if pd.isna(p) else p for p in planned["p"]]), dtype=float)
    failures = [_row(*pair, metric) for pair in map(_at_chance, pairs) if pair is not None]
    numbers = pd.concat([planned, pd.DataFrame(failures)]) if failures else planned
    several = len({(cell.dataset, cell.model) for cell in found}) > 1
    notes = [_NOTE.format(num=len(pairs))]
    notes += [_SAME] * bool((numbers["half_width"].isna() & numbers["mean"].notna()).any()) + [_CHANCE] * bool(failures)
    return ReportTable("differences", "Differences, points", numbers, _shown(numbers, several), notes)


def _in_order(pairs: list[tuple[Cell, Cell]]) -> list[tuple[Cell, Cell]]:
    """Those of two series together, by width."""
    first = {_series(pair): place for place, pair in reversed(list(enumerate(pairs)))}
    return sorted(pairs, key=lambda pair: (first[_series(pair)], pair[0].width_mult))


def _series(pair: tuple[Cell, Cell]) -> tuple[str, ...]:
    one, other = pair
    return one.dataset, one.model, one.data, one.series, other.series


def _at_chance(pair: tuple[Cell, Cell]) -> tuple[Cell, Cell] | None:
    """The same comparison with the failures of both sides at chance; None where there are none."""
    one, other = map(at_chance, pair)
    return (one or pair[0], other or pair[1]) if one or other else None


def _row(one: Cell, other: Cell, metric: str) -> dict[str, object]:
    """The mean of ``one - other`` in [-1, 1] with its 95 % interval: ``n`` seeds less ``minus_n`` others."""
    terms = (1.0, one), (-1.0, other)
    estimate = estimates.of_contrast(metric, *terms)
    low, high = estimate.bounds or (None, None)
    new = estimates.of_contrast_on_new_images(metric, *terms)
    return {
        "dataset": one.dataset,
        "model": one.model,
        "width": one.width_mult,
        "method": one.series,
        "minus": other.series,
        "n": len(one.values(metric)),
        "seeds": seed_list(one.values(metric)),
        "planned": one.num_planned,
        "minus_n": len(other.values(metric)),
        "minus_seeds": seed_list(other.values(metric)),
        "minus_planned": other.num_planned,
        "mean": estimate.mean if estimate.n else None,
        "half_width": estimate.half_width,
        "low": low,
        "high": high,
        "new_images_half_width": new.half_width if new else None,
        "p": estimate.p_value,
    }


def _shown(numbers: pd.DataFrame, several: bool) -> pd.DataFrame:
    """A row a pair of series and width: points +- half the interval; the network where there are several."""
    rows: list[dict[str, Any]] = numbers.to_dict("records")  # type: ignore[assignment] # columns are named by strings
    shown = pd.DataFrame(
        {
            "difference": [_name(row) + (f" ({row['model']}, {row['dataset']})" if several else "") for row in rows],
            "width": [f"{row['width']:g}" for row in rows],
            "n": ["{n} of {planned}, {minus_n} of {minus_planned}".format(**row) for row in rows],
            "points": [format_points(row["mean"], row["half_width"]) for row in rows],
            "new images": [_half_width(row["new_images_half_width"]) for row in rows],
            "p": [format_probability(row["p"]) for row in rows],
            "p (Holm)": [format_probability(row["p_holm"]) for row in rows],
        }
    )
    return shown if numbers["new_images_half_width"].notna().any() else shown.drop(columns="new images")


def _half_width(share: float) -> str:
    return "" if pd.isna(share) else f"± {100 * share:.2f}"


def _name(row: dict[str, object]) -> str:
    """The two series; whose failures are at chance is said once."""
    one, other = (str(row[key]).removesuffix(SUFFIX) for key in ("method", "minus"))
    chance = any(str(row[key]).endswith(SUFFIX) for key in ("method", "minus"))
    return f"{one} - {other}" + SUFFIX * chance


def _pairs(own: list[Cell]) -> Iterator[tuple[Cell, Cell]]:
    """Cells of one width, the series that comes first in the file before the other.

    With more than ``MAX_COMPARED`` series each is compared with the first one of its method, and those with each other.
    """
    series = list(dict.fromkeys((cell.method, cell.series) for cell in own))
    first = dict(reversed(series))
    for one, other in combinations(sorted(own, key=lambda cell: series.index((cell.method, cell.series))), 2):
        bases = [first[cell.method] == cell.series for cell in (one, other)]
        compared = len(series) <= MAX_COMPARED or all(bases) or (any(bases) and one.method == other.method)
        if compared and one.width_mult == other.width_mult and _differ_in_one(one, other):
            yield one, other


def _differ_in_one(one: Cell, other: Cell) -> bool:
    """Not in epochs and in something else: of two methods, one trained for longer, nothing is learned."""
    return one.epochs == other.epochs or one.series_without_epochs == other.series_without_epochs
