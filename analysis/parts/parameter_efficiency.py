"""The table of parameter efficiency: what each method needs to match another network, in four quantities.

Never mixed: parameters of the network before pruning (what the paper claims), those kept, bytes of live training state,
bytes of the stored network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from analysis.parts import ReportTable, needed_text, without_constant
from analysis.parts.cells import Cell, comparable
from analysis.parts.compute import train_bytes
from analysis.parts.seeds import curve_seeds
from analysis.parts.stored_forms import smallest_form
from analysis.statistics.matching import Point, Ratio, match, match_ratio
from suite.config import InputError

Quantity = Callable[[Cell, str], float | None]
QUANTITIES: dict[str, Quantity] = {
    "parameters": lambda cell, _: fmean(result.params_total for result in cell.results.values()),
    "parameters kept": lambda cell, _: fmean(result.params_kept for result in cell.results.values()),
    "training state, bytes": lambda cell, _: train_bytes(list(cell.results.values())),
    "stored network, bytes": lambda cell, metric: size.net if (size := smallest_form(cell, metric)) else None,
}
COMPARED = {"weights": "/ dense", "edge_popup": "/ edge_popup"}  # methods that ratios are over, and their columns


@dataclass(frozen=True)
class Target:
    """An accuracy to match: ``values`` by seed, or one exact number; ``cell`` where it is one's."""

    text: str
    values: Sequence[float] | float
    cell: Cell | None = None


def part(found: list[Cell], metric: str, targets: Sequence[str] = ()) -> ReportTable | None:
    """The table; None where there is no dense network of width 1 and no other target was named.

    Raises:
        InputError: no such target, or nothing that could match it.
    """
    rows = [row for text in targets or (None,) for row in _of_target(found, metric, text)]
    if not rows:
        return None
    rows.sort(key=lambda row: list(QUANTITIES).index(str(row["quantity"])))  # targets beside one another
    table = pd.DataFrame(rows)
    told = "; ".join(dict.fromkeys(str(row["target"]) for row in rows))
    return ReportTable(
        "needed", f"Needed for the accuracy of {told}", table, _shown(table, found), needed_text.notes(_records(table))
    )


def has_target(found: list[Cell], metric: str, target: str) -> bool:
    """Some network has that target, and something that could match it."""
    return any(_rows(own, metric, aim) for own in comparable(found) if (aim := _target(own, metric, target)))


def points(cells: list[Cell], metric: str, quantity: Quantity) -> list[Point]:
    """Cost and accuracies of each width; none where a trial tells no cost, as one that kept no network.

    Widths of one cost are one point, with the seeds of both.
    """
    values: dict[float, list[float]] = {}
    for cell in cells:
        if cost := quantity(cell, metric):
            values.setdefault(cost, []).extend(cell.values(metric).values())
    return [Point(cost, own) for cost, own in values.items()]


def by_series(own: list[Cell], metric: str) -> dict[str, list[Cell]]:
    """The cells of each curve that have values."""
    curves: dict[str, list[Cell]] = {}
    for cell in own:
        if cell.values(metric):
            curves.setdefault(cell.series, []).append(cell)
    return curves


def partner(curves: dict[str, list[Cell]], cell: Cell, method: str, target: Cell | None = None) -> list[Cell] | None:
    """The curve of another method that has the target, else that of the same further settings, else the only one."""
    if cell.method in ("weights", method):
        return None
    own = [cells for cells in curves.values() if cells[0].method == method]
    aimed = next((cells for cells in own if target in cells), None)
    return aimed or curves.get(method + cell.series.removeprefix(cell.method)) or (own[0] if len(own) == 1 else None)


def _of_target(found: list[Cell], metric: str, text: str | None) -> list[dict[str, object]]:
    """The rows of one target; an error where it was named and has none."""
    targets = [(own, aim) for own in comparable(found) if (aim := _target(own, metric, text))]
    if text is not None and not targets:
        cells = sorted({f"{cell.series}:{cell.width_mult:g}" for cell in found if cell.values(metric)})
        rule = "must be a share in [0, 1], or a cell that has results"
        raise InputError(f"--target: {text}: {rule}: {', '.join(cells)}")
    rows = [row for own, aim in targets for row in _rows(own, metric, aim)]
    if not rows and text is not None:
        raise InputError(f"--target: {text}: nothing to match it with: needs results of another method at two widths")
    return rows


def _target(own: list[Cell], metric: str, text: str | None) -> Target | None:
    """What a net is to match; None where it has no such cell."""
    share = _number(text or "")
    if share is not None and 0 <= share <= 1:
        return Target(f"{100 * share:g} %", share)
    name, _, width = ("weights:1" if text is None else text).rpartition(":")
    for cell in own:
        values = list(cell.values(metric).values())
        if values and name in (cell.series, cell.method) and _number(width) == cell.width_mult:
            return Target(f"{cell.series} at width {cell.width_mult:g}", values, cell)
    return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _rows(own: list[Cell], metric: str, target: Target) -> list[dict[str, object]]:
    curves = by_series(own, metric)
    rows = []
    for name, quantity in QUANTITIES.items():
        for cells in curves.values():
            if target.cell not in cells and (needed := _needed(cells, metric, quantity, target)):
                row: dict[str, object] = {"dataset": own[0].dataset, "model": own[0].model, "quantity": name, **needed}
                for method in COMPARED:
                    row |= _over(
                        method, cells, partner(curves, cells[0], method, target.cell), metric, quantity, target
                    )
                rows.append(row)
    return rows


def _needed(cells: list[Cell], metric: str, quantity: Quantity, target: Target) -> dict[str, object] | None:
    """What a curve needs; None where it has fewer than two points."""
    own = points(cells, metric, quantity)
    if (found := match(own, target.values)) is None:
        return None
    target_seeds = curve_seeds([target.cell], metric) if target.cell else {"n": None, "seeds": ""}  # a share has none
    return {
        "method": cells[0].series,
        **curve_seeds(cells, metric),
        "planned": sum(cell.num_planned for cell in cells),
        "target": target.text,
        **{f"target_{key}": value for key, value in target_seeds.items()},
        **vars(found),
        "widest": max(point.cost for point in own),
    }


def _over(
    method: str, cells: list[Cell], other: list[Cell] | None, metric: str, quantity: Quantity, target: Target
) -> dict[str, object]:
    """The columns of the ratio over another method; none where that has no curve."""
    ratio = _ratio(cells, other, metric, quantity, target) if other else None
    if not other or not ratio:
        return {}
    return {f"over_{method}_{key}": value for key, value in (vars(ratio) | curve_seeds(other, metric)).items()}


def _ratio(one: list[Cell], other: list[Cell], metric: str, quantity: Quantity, target: Target) -> Ratio | None:
    """What the first needs over what the second does."""
    own = points(one, metric, quantity)
    if target.cell is None or target.cell not in other:
        return match_ratio(own, points(other, metric, quantity), target.values)
    found, cost = match(own, target.values), quantity(target.cell, metric)  # of that one it is known
    if found is None or cost is None:
        return None
    low, high = (None if each is None else each / cost for each in (found.low, found.high))
    value = (found.cost or max(point.cost for point in own)) / cost
    return Ratio(value, low, high, found.below, found.above, found.at_most, found.cost is None)


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    plain = table.astype(object).where(table.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    rows = _records(table)
    shown = table[["dataset", "model", "quantity", "target", "method"]].astype(object)
    shown["n"] = [f"{row['n']} of {row['planned']}" for row in rows]
    shown["needed"] = [needed_text.cost(row) for row in rows]
    for method, column in COMPARED.items():
        shown[column] = [needed_text.ratio(row, method) for row in rows]
    empty = [column for column in COMPARED.values() if not shown[column].any()]
    if table.groupby(["dataset", "model"])["target"].nunique().max() == 1:
        empty.append("target")
    return without_constant(shown, found).drop(columns=empty)
