"""The table of the convergence check: how far the gap between two methods moves when they train for longer."""

from collections.abc import Hashable, Iterator
from itertools import combinations, pairwise

import pandas as pd

from analysis.parts import ReportTable, estimates, format_points, format_probability, without_constant
from analysis.parts.cells import Cell, in_order
from analysis.parts.seeds import seed_list
from analysis.statistics.intervals import holm

_NOTE = (
    "Moved: how much more the first is ahead after more epochs, with Welch's interval over the seeds of all four cells "
    "(n: finished trials of both methods, then of both with more epochs). p: that nothing moved, Holm's over this "
    "table; below 0.05, the comparison depends on how long one trains."
)
_Step = tuple[tuple[Cell, Cell], tuple[Cell, Cell]]  # two methods at few epochs, and at more
_Place = tuple[str, str, str, float]


def part(found: list[Cell], metric: str) -> ReportTable | None:
    """The table; None where epochs do not vary, or one method is alone."""
    steps = [step for cells in _by_place(found).values() for step in _steps(cells)]
    if not steps:
        return None
    table = pd.DataFrame([_row(step, metric) for step in steps])
    table["moved_p_holm"] = pd.Series(holm([None if pd.isna(p) else p for p in table["moved_p"]]), dtype=float)
    return ReportTable("convergence", "Gaps after more epochs, points", table, _shown(table, found), [_NOTE])


def _by_place(found: list[Cell]) -> dict[_Place, list[Cell]]:
    """The cells of one width that are comparable."""
    places: dict[_Place, list[Cell]] = {}
    for cell in in_order(found):
        places.setdefault((cell.dataset, cell.model, cell.data, cell.width_mult), []).append(cell)
    return places


def _steps(cells: list[Cell]) -> Iterator[_Step]:
    """Each pair of methods with each step to more epochs."""
    by_name: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        by_name.setdefault(cell.series_without_epochs, {})[cell.epochs] = cell
    for before, after in combinations(by_name.values(), 2):
        for few, many in pairwise(sorted(before.keys() & after.keys())):
            yield (after[few], before[few]), (after[many], before[many])


def _row(step: _Step, metric: str) -> dict[str, object]:
    (one, other), (later, other_later) = step
    before, after = ((1.0, one), (-1.0, other)), ((1.0, later), (-1.0, other_later))
    return {
        "dataset": one.dataset,
        "model": one.model,
        "width": one.width_mult,
        "difference": f"{one.series_without_epochs} - {other.series_without_epochs}",
        "epochs": f"{one.epochs} to {later.epochs}",
        **_numbers("before", metric, *before),
        **_numbers("after", metric, *after),
        **_numbers("moved", metric, *after, *((-factor, cell) for factor, cell in before)),
    }


def _numbers(name: str, metric: str, *terms: estimates.Term) -> dict[str, object]:
    """A contrast, and the seeds of each cell in it."""
    estimate = estimates.of_contrast(metric, *terms)
    values = [cell.values(metric) for _, cell in terms]
    return {
        name: estimate.mean if estimate.n else None,
        f"{name}_half_width": estimate.half_width,
        f"{name}_p": estimate.p_value,
        f"{name}_n": sum(map(len, values)),
        f"{name}_seeds": "; ".join(map(seed_list, values)),
    }


def _counts(row: dict[Hashable, str]) -> str:
    """Of the four cells, in order: few epochs, then more."""
    seeds = f"{row['before_seeds']};{row['after_seeds']}".split(";")
    return ", ".join(str(len(own.split())) for own in seeds)


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    shown = table[["dataset", "model", "width", "difference", "epochs"]].copy()
    shown["width"] = table["width"].map("{:g}".format)
    shown["n"] = [_counts(row) for row in table.to_dict("records")]
    for name in ("before", "after", "moved"):
        pairs = zip(table[name], table[f"{name}_half_width"], strict=True)
        shown[name] = [format_points(mean, half) for mean, half in pairs]
    shown["p (Holm)"] = table["moved_p_holm"].map(format_probability)
    return without_constant(shown, found)
