"""The table of the convergence check: how far the gap between two methods moves when they train for longer."""

from collections.abc import Iterator
from itertools import combinations, pairwise

import pandas as pd

from analysis.parts import ReportTable, format_points, without_constant
from analysis.parts.cells import Cell, in_order
from analysis.parts.seeds import Paired, pairing_notes, seed_list
from analysis.statistics.intervals import t_interval

_NOTE = (
    "Moved: how much more the first is ahead after more epochs, paired by seed; if the interval does not contain 0, "
    "the comparison depends on how long one trains."
)
_Step = tuple[tuple[Cell, Cell], tuple[Cell, Cell]]  # two methods at few epochs, and at more
_Place = tuple[str, str, str, float]


def part(found: list[Cell], metric: str) -> ReportTable | None:
    """The table; None where epochs do not vary, or one method is alone."""
    steps = [step for cells in _by_place(found).values() for step in _steps(cells)]
    if not steps:
        return None
    table = pd.DataFrame([_row(step, metric) for step in steps])
    notes = [_NOTE, *pairing_notes(each for step in steps for each in _paired(step, metric))]
    return ReportTable("convergence", "Gaps after more epochs, points", table, _shown(table, found), notes)


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
    (one, other), (later, _) = step
    before, after = (_gap(*cells, metric) for cells in step)
    return {
        "dataset": one.dataset,
        "model": one.model,
        "width": one.width_mult,
        "difference": f"{one.series_without_epochs} - {other.series_without_epochs}",
        "epochs": f"{one.epochs} to {later.epochs}",
        **_ends("before", before),
        **_ends("after", after),
        **_ends("moved", {seed: after[seed] - before[seed] for seed in before.keys() & after.keys()}),
    }


def _gap(left: Cell, right: Cell, metric: str) -> dict[int, float]:
    """By seed, how far one method is ahead."""
    one, other = left.values(metric), right.values(metric)
    return {seed: one[seed] - other[seed] for seed in one.keys() & other.keys()}


def _ends(name: str, gaps: dict[int, float]) -> dict[str, object]:
    estimate = t_interval(list(gaps.values()))
    mean = estimate.mean if estimate.n else None
    numbers = {name: mean, f"{name}_half_width": estimate.half_width}
    return {**numbers, f"{name}_n": estimate.n, f"{name}_seeds": seed_list(gaps)}


def _paired(step: _Step, metric: str) -> Iterator[Paired]:
    """The seeds of both sides of the gap before, of that after, and of the two gaps themselves."""
    (one, other), (later, _) = step
    names = f"{one.series_without_epochs} - {other.series_without_epochs}"
    where = f"{names}, {one.model} x{one.width_mult:g}, {one.dataset}"
    for cells in step:
        yield f"{where}, {cells[0].epochs} epochs", [cell.values(metric) for cell in cells]
    yield f"{where}, {one.epochs} to {later.epochs} epochs", [_gap(*cells, metric) for cells in step]


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    shown = table[["dataset", "model", "width", "difference", "epochs"]].copy()
    shown["width"] = table["width"].map("{:g}".format)
    for name in ("before", "after", "moved"):
        pairs = zip(table[name], table[f"{name}_half_width"], strict=True)
        shown[name] = [format_points(mean, half) for mean, half in pairs]
    return without_constant(shown, found)
