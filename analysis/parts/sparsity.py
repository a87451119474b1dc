"""The table of accuracy against sparsity, where a sweep varies it."""

import pandas as pd

from analysis.parts import ReportTable, estimates, format_interval, format_percent, without_constant
from analysis.parts.cells import Cell
from analysis.parts.seeds import seed_list
from analysis.statistics.intervals import Estimate


def varies(found: list[Cell]) -> bool:
    """A curve has cells of more than one sparsity, of one network and width."""
    seen: dict[tuple[object, ...], set[float | None]] = {}
    for cell in found:
        seen.setdefault((cell.dataset, cell.model, cell.width_mult, cell.curve), set()).add(cell.sparsity)
    return any(len(each - {None}) > 1 for each in seen.values())


def part(found: list[Cell], metric: str) -> ReportTable | None:
    """The table: a row a sparsity, a column a method (in numbers a row each); None where nothing varies."""
    if not varies(found):
        return None
    rows: list[dict[str, object]] = []
    shown: dict[tuple[object, ...], dict[str, str]] = {}
    for cell in sorted((cell for cell in found if cell.sparsity is not None), key=_place):
        place = _place(cell)
        keys = dict(zip(("dataset", "model", "width", "sparsity"), place, strict=True))
        estimate = estimates.of_cell(cell, metric)
        ends = f" ({format_interval(*estimate.bounds)})" if estimate.bounds else ""  # not always the mean ± something
        rows.append(keys | _numbers(cell, metric, estimate))
        text = {key: value if isinstance(value, str) else f"{value:g}" for key, value in keys.items()}
        shown.setdefault(place, text)[cell.curve] = (
            f"{format_percent(estimate.mean)}{ends}" if estimate.n else "missing"
        )
    table = without_constant(pd.DataFrame(list(shown.values())).fillna(""), found)
    return ReportTable("sparsity", "Accuracy against sparsity, %", pd.DataFrame(rows), table)


def _numbers(cell: Cell, metric: str, estimate: Estimate) -> dict[str, object]:
    low, high = estimate.bounds or (None, None)
    mean = estimate.mean if estimate.n else None
    seeds = seed_list(cell.values(metric))
    return {"method": cell.curve, "n": estimate.n, "seeds": seeds, "mean": mean, "low": low, "high": high}


def _place(cell: Cell) -> tuple[str, str, float, float]:
    return cell.dataset, cell.model, cell.width_mult, cell.sparsity or 0.0
