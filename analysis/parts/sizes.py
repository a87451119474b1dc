"""The table of bytes: what trained networks take in files."""

import pandas as pd

from analysis.parts import ReportTable, cell_columns, format_points, without_constant
from analysis.parts.cells import Cell, in_order
from analysis.parts.seeds import seed_list
from analysis.parts.stored_forms import MAX_ACCURACY_LOSS, smallest_form

_NOTES = [
    f"Form: the smallest whose accuracy on validation images is within {100 * MAX_ACCURACY_LOSS:g} points of that in "
    "fp32, mean over seeds; change: by how many points it differs in the table's own accuracy. int8-coded and int4: "
    "whole numbers at their entropy.",
    "Bytes: of the file without its header, which the two formats write at different lengths. Bits per parameter: of "
    "these bytes, over all parameters before pruning. Dense / this: the bytes of the network trained by weight "
    "optimization at that width, in its smallest form, over those of this one.",
]


def part(found: list[Cell], metric: str) -> ReportTable | None:
    """The table; None where no trial kept its network."""
    table = size_table(found, metric)
    return (
        ReportTable("sizes", "Bytes of the stored network", table, _shown(table, found), _NOTES) if len(table) else None
    )


def size_table(found: list[Cell], metric: str) -> pd.DataFrame:
    """A row a cell whose trials kept their networks: bytes in float32, and in the smallest form of that accuracy.

    ``stored`` is the whole file; of it, ``payload`` encodes masks and random weights, or weights, ``header`` says which
    network it is, and the rest is norms and biases. ``bits_per_parameter`` and ``ratio`` leave out the header.
    ``ratio`` is the network trained by weight optimization at the same width, in its own smallest form, over this one.
    ``loss`` is what the form costs, in [-1, 1].
    """
    sizes = [(cell, size) for cell in in_order(found) if (size := smallest_form(cell, metric))]
    dense: dict[tuple[str, str, str, float], float] = {}  # of several series the smallest
    for cell, size in sizes:
        if cell.method == "weights":
            dense[_place(cell)] = min(size.net, dense.get(_place(cell), size.net))
    rows = [
        {
            "dataset": cell.dataset,
            "model": cell.model,
            "width": cell.width_mult,
            "method": cell.series,
            "n": len(done := cell.done()),
            "seeds": seed_list(done),
            "parameters": (parameters := next(iter(cell.results.values())).params_total),
            "fp32": size.fp32,
            "form": size.form,
            "stored": size.bytes,
            "header": size.bytes - size.net,
            "payload": sum(size.parts.get(part, 0.0) for part in ("mask", "theta", "weights")),
            "bits_per_parameter": 8 * size.net / parameters,
            "ratio": dense[_place(cell)] / size.net if _place(cell) in dense else None,
            "loss": size.accuracy_loss,
        }
        for cell, size in sizes
    ]
    return pd.DataFrame(rows)


def _place(cell: Cell) -> tuple[str, str, str, float]:
    return cell.dataset, cell.model, cell.data, cell.width_mult


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    whole = "{:.0f}".format
    shown = pd.DataFrame(
        {
            **cell_columns(table),
            "parameters": table["parameters"].map(str),
            "form": table["form"],
            "change": [format_points(-loss, None) for loss in table["loss"]],
            "header": table["header"].map(whole),
            "bytes": (table["stored"] - table["header"]).map(whole),
            "bits per parameter": table["bits_per_parameter"].map("{:.2f}".format),
            "dense / this": ["" if pd.isna(ratio) else f"{ratio:.2f}" for ratio in table["ratio"]],
        }
    )
    return without_constant(shown, found)
