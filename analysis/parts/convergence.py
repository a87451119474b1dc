"""The table of the convergence check: how far the gap between two methods moves when they train for longer."""

from itertools import combinations, pairwise

import pandas as pd

from analysis.parts import ReportTable, format_points, without_constant
from analysis.parts.cells import Cell, in_order
from analysis.statistics.intervals import Estimate, t_interval

_NOTE = (
    "Moved: how much more the first is ahead after more epochs, paired by seed; where the interval leaves out 0 the "
    "comparison depends on how long one trains."
)
_Place = tuple[str, str, float]


def part(found: list[Cell], metric: str) -> ReportTable | None:
    """The table; None where epochs do not vary, or one method is alone."""
    rows = [row for cells in _by_place(found).values() for row in _rows(cells, metric)]
    if not rows:
        return None
    table = pd.DataFrame(rows)
    return ReportTable("convergence", "Gaps after more epochs, points", table, _shown(table, found), [_NOTE])


def _by_place(found: list[Cell]) -> dict[_Place, list[Cell]]:
    places: dict[_Place, list[Cell]] = {}
    for cell in in_order(found):
        places.setdefault((cell.dataset, cell.model, cell.width_mult), []).append(cell)
    return places


def _rows(cells: list[Cell], metric: str) -> list[dict[str, object]]:
    """A row a pair of methods and a step to more epochs."""
    by_name: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        by_name.setdefault(cell.series_without_epochs, {})[cell.epochs] = cell
    rows: list[dict[str, object]] = []
    for (one, before), (other, after) in combinations(by_name.items(), 2):
        for few, many in pairwise(sorted(before.keys() & after.keys())):
            gaps = [_gap(after[epochs], before[epochs], metric) for epochs in (few, many)]
            rows.append(
                {
                    "dataset": cells[0].dataset,
                    "model": cells[0].model,
                    "width": cells[0].width_mult,
                    "difference": f"{other} - {one}",
                    "epochs": f"{few} to {many}",
                    **_ends("before", t_interval(list(gaps[0].values()))),
                    **_ends("after", t_interval(list(gaps[1].values()))),
                    **_ends("moved", t_interval([gaps[1][s] - gaps[0][s] for s in gaps[0].keys() & gaps[1].keys()])),
                }
            )
    return rows


def _gap(left: Cell, right: Cell, metric: str) -> dict[int, float]:
    """By seed, how far one method is ahead."""
    one, other = left.values(metric), right.values(metric)
    return {seed: one[seed] - other[seed] for seed in one.keys() & other.keys()}


def _ends(name: str, estimate: Estimate) -> dict[str, float | None]:
    mean = estimate.mean if estimate.n else None
    return {name: mean, f"{name}_half_width": estimate.half_width}


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    shown = table[["dataset", "model", "width", "difference", "epochs"]].copy()
    shown["width"] = table["width"].map("{:g}".format)
    for name in ("before", "after", "moved"):
        pairs = zip(table[name], table[f"{name}_half_width"], strict=True)
        shown[name] = [format_points(mean, half) for mean, half in pairs]
    return without_constant(shown, found)
