"""The table of layers: what share of each layer's weights a mask removes, where layers differ."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.parts import ReportTable, cell_columns, format_percent, without_constant
from analysis.parts.cells import Cell, in_order
from analysis.parts.seeds import seed_list

_NOTES = ["Layers: in the order of the optimizer. Removed: the mean over seeds, with the least and the most."]


def removed(cell: Cell) -> dict[str, list[float]]:
    """By layer, the share of its weights that is removed, in [0, 1], one for each seed whose layers differ."""
    found: dict[str, list[float]] = {}
    for _, result in sorted(cell.done().items()):
        for layer in result.layers:
            found.setdefault(layer.name, []).append(1 - layer.kept / layer.weights)
    return found


def part(found: list[Cell]) -> ReportTable | None:
    """The table; None where no mask differs from layer to layer."""
    table = pd.DataFrame([row for cell in in_order(found) for row in _rows(cell)])
    if table.empty:
        return None
    added = sum(result.kept_in_addition for cell in found for result in cell.results.values())
    more = [f"{added} weights in all are kept in addition, so that no layer is empty."] if added else []
    return ReportTable("layers", "Weights removed by layer, %", table, _shown(table, found), _NOTES + more)


def _rows(cell: Cell) -> Iterator[dict[str, object]]:
    weights = {layer.name: layer.weights for result in cell.done().values() for layer in result.layers}
    for name, shares in removed(cell).items():
        yield {
            "dataset": cell.dataset,
            "model": cell.model,
            "width": cell.width_mult,
            "method": cell.series,
            "n": len(shares),
            "seeds": seed_list({seed: result for seed, result in cell.done().items() if result.layers}),
            "layer": name,
            "weights": weights[name],
            "removed": float(np.mean(shares)),
            "least": min(shares),
            "most": max(shares),
        }


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    ends = [
        f"{format_percent(low)} to {format_percent(high)}"
        for low, high in zip(table["least"], table["most"], strict=True)
    ]
    shown = pd.DataFrame(
        {
            **cell_columns(table),
            "layer": table["layer"],
            "weights": table["weights"].map(str),
            "removed": table["removed"].map(format_percent),
            "over seeds": ends,
        }
    )
    return without_constant(shown, found)
