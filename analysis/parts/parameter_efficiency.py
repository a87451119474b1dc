"""The table of parameter efficiency: what each method needs to match another network, in four quantities.

Never mixed: parameters of the network before pruning (what the paper claims), those kept, bytes of live training state,
bytes of the stored network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from analysis.parts import ReportTable, without_constant
from analysis.parts.cells import Cell, comparable
from analysis.parts.compute import train_bytes
from analysis.parts.seeds import curve_seeds
from analysis.parts.stored_forms import smallest_form
from analysis.statistics.matching import Point, Ratio, match, match_ratio
from suite.config import InputError

_MOST_CENSORED = 0.05  # of draws: above, only a bound is told

Quantity = Callable[[Cell, str], float | None]
QUANTITIES: dict[str, Quantity] = {
    "parameters": lambda cell, _: fmean(result.params_total for result in cell.results.values()),
    "parameters kept": lambda cell, _: fmean(result.params_kept for result in cell.results.values()),
    "training state, bytes": lambda cell, _: train_bytes(list(cell.results.values())),
    "stored network, bytes": lambda cell, metric: size.bytes if (size := smallest_form(cell, metric)) else None,
}


@dataclass(frozen=True)
class Target:
    """An accuracy to match: ``values`` by seed, or one exact number; ``cell`` where it is one's."""

    text: str
    values: Sequence[float] | float
    cell: Cell | None = None


def part(found: list[Cell], metric: str, target: str | None) -> ReportTable | None:
    """The table; None where there is no dense network of width 1 and no other target was named.

    Raises:
        InputError: no such target, or nothing that could match it.
    """
    targets = [(own, aim) for own in comparable(found) if (aim := _target(own, metric, target))]
    if target is not None and not targets:
        cells = sorted({f"{cell.series}:{cell.width_mult:g}" for cell in found if cell.values(metric)})
        rule = "must be a share in [0, 1], or a cell that has results"
        raise InputError(f"--target: {target}: {rule}: {', '.join(cells)}")
    rows = [row for own, aim in targets for row in _rows(own, metric, aim)]
    if not rows and target is not None:
        raise InputError(f"--target: {target}: nothing to match it with: needs results of another method at two widths")
    if not rows:
        return None
    table = pd.DataFrame(rows)
    told = ", ".join(dict.fromkeys(aim.text for _, aim in targets))
    return ReportTable("needed", f"Needed for the accuracy of {told}", table, _shown(table, found), _NOTES)


_NOTES = [
    "Needed: where accuracy, made monotone in the logarithm of what it costs and joined by lines, meets the target; "
    "intervals: 95 % of draws of all cell means and the target, over seeds alone. `>`: more than 5 % of draws meet it "
    "nowhere; `≤`: the narrowest network meets it already; `?`: that end is outside what was tried; a ratio "
    "counts where its interval leaves out 1.",
    "Ratios: over the network of that method which has the target, else over the one with the same further settings.",
]


def has_target(found: list[Cell], metric: str, target: str) -> bool:
    """Some network has that target, and something that could match it."""
    return any(_rows(own, metric, aim) for own in comparable(found) if (aim := _target(own, metric, target)))


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
    curves: dict[str, list[Cell]] = {}
    for cell in own:
        if cell.values(metric):
            curves.setdefault(cell.series, []).append(cell)
    rows: list[dict[str, object]] = []
    for name, quantity in QUANTITIES.items():
        for series, cells in curves.items():
            found = match(_points(cells, metric, quantity), target.values)
            if found is None or (target.cell in cells):
                continue
            row: dict[str, object] = {
                "dataset": own[0].dataset,
                "model": own[0].model,
                "quantity": name,
                "method": series,
                **curve_seeds(cells, metric),
                "target": target.text,
                **_target_seeds(target, metric),
                **vars(found),
            }
            for method in ("weights", "edge_popup"):
                other = _partner(curves, cells[0], method, target)
                ratio = _ratio(cells, other, metric, quantity, target) if other else None
                if other and ratio:
                    known = vars(ratio) | curve_seeds(other, metric)
                    row |= {f"over_{method}_{key}": value for key, value in known.items()}
            rows.append(row)
    return rows


def _target_seeds(target: Target, metric: str) -> dict[str, object]:
    """Of a share, which is exact, none."""
    known = curve_seeds([target.cell], metric) if target.cell else {"n": None, "seeds": ""}
    return {f"target_{key}": value for key, value in known.items()}


def _partner(curves: dict[str, list[Cell]], cell: Cell, method: str, target: Target) -> list[Cell] | None:
    """The curve of another method that has the target, else that of the same further settings, else the only one."""
    if cell.method in ("weights", method):
        return None
    own = [cells for cells in curves.values() if cells[0].method == method]
    aimed = next((cells for cells in own if target.cell in cells), None)
    return aimed or curves.get(method + cell.series.removeprefix(cell.method)) or (own[0] if len(own) == 1 else None)


def _points(cells: list[Cell], metric: str, quantity: Quantity) -> list[Point]:
    """Cost and accuracies of each width; none where a trial tells no cost, as one that kept no network.

    Widths of one cost are one point, with the seeds of both.
    """
    values: dict[float, list[float]] = {}
    for cell in cells:
        if cost := quantity(cell, metric):
            values.setdefault(cost, []).extend(cell.values(metric).values())
    return [Point(cost, own) for cost, own in values.items()]


def _ratio(one: list[Cell], other: list[Cell], metric: str, quantity: Quantity, target: Target) -> Ratio | None:
    """What the first needs over what the second does."""
    points = _points(one, metric, quantity)
    if target.cell is None or target.cell not in other:
        return match_ratio(points, _points(other, metric, quantity), target.values)
    found, cost = match(points, target.values), quantity(target.cell, metric)  # of that one it is known
    if found is None or cost is None:
        return None
    value, low, high = (None if each is None else each / cost for each in (found.cost, found.low, found.high))
    return Ratio(value, low, high, found.censored, found.at_most, found.cost is None)


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    plain = table.astype(object).where(table.notna(), None)
    shown = plain[["dataset", "model", "quantity", "method"]].copy()
    rows = [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]
    shown["needed"] = [_text(row, "", "{:.0f}") for row in rows]
    for method, name in (("weights", "/ dense"), ("edge_popup", "/ edge_popup")):
        shown[name] = [_text(row, f"over_{method}_", "{:.2f}") for row in rows]
    empty = [name for name in ("/ dense", "/ edge_popup") if not shown[name].any()]
    return without_constant(shown, found).drop(columns=empty)


def _text(row: dict[str, object], prefix: str, style: str) -> str:
    """A cost or a ratio with its interval, or the bound that is known."""
    keys = ("value" if prefix else "cost", "low", "high", "censored", "at_most")
    value, low, high, censored, at_most = (row.get(prefix + key) for key in keys)

    def number(each: object) -> str:
        return style.format(each)

    if row.get(prefix + "at_most") is None:
        return ""  # no such partner
    if high is None and low is not None and isinstance(censored, float) and censored > _MOST_CENSORED:
        return f"> {number(low)}"
    if value is None:
        return "?" if row.get(prefix + "at_least") is False else "not reached"  # known on neither side
    mean = f"{'≤ ' if at_most else '≥ ' if row.get(prefix + 'at_least') else ''}{number(value)}"
    if censored is None:
        return mean
    return f"{mean} ({'?' if low is None else number(low)} to {'?' if high is None else number(high)})"
