"""The table of bytes: what trained networks take in files."""

import pandas as pd

from analysis.parts import ReportTable, cell_columns, format_points, without_constant
from analysis.parts.cells import Cell, in_order
from analysis.parts.seeds import seed_list
from analysis.parts.stored_forms import MAX_ACCURACY_LOSS, Size, smallest_form

_NOTES = [
    f"Stored: bytes of the smallest form whose accuracy is within {100 * MAX_ACCURACY_LOSS:g} points, or one image, of "
    "fp32; change: by how many points it differs; payload: the bytes that encode masks and weights.",
    "Dense / stored: the network trained by weight optimization at that width, in its smallest form, over this "
    "one, both without headers.",
]


def part(found: list[Cell], metric: str) -> ReportTable | None:
    """The table; None where no trial kept its network."""
    table = size_table(found, metric)
    return (
        ReportTable("sizes", "Bytes of the stored network", table, _shown(table, found), _NOTES) if len(table) else None
    )


def size_table(found: list[Cell], metric: str) -> pd.DataFrame:
    """A row a cell whose trials kept their networks: bytes in float32, and in the smallest form of that accuracy.

    ``payload`` is the bytes that encode masks and random weights, or weights; the rest is header, norms and biases.
    ``ratio`` is that of the network trained by weight optimization at the same width, in its own smallest form, both
    without header. ``loss`` is what the form costs, in [-1, 1].
    """
    sizes = [(cell, size) for cell in in_order(found) if (size := smallest_form(cell, metric))]
    dense: dict[tuple[str, str, str, float], float] = {}  # of several series the smallest
    for cell, size in sizes:
        if cell.method == "weights":
            dense[_place(cell)] = min(_net(size), dense.get(_place(cell), _net(size)))
    rows = [
        {
            "dataset": cell.dataset,
            "model": cell.model,
            "width": cell.width_mult,
            "method": cell.series,
            "n": len(done := cell.done()),
            "seeds": seed_list(done),
            "parameters": next(iter(cell.results.values())).params_total,
            "fp32": size.fp32,
            "form": size.form,
            "stored": size.bytes,
            "payload": sum(size.parts.get(part, 0.0) for part in ("mask", "theta", "weights")),
            "ratio": dense[_place(cell)] / _net(size) if _place(cell) in dense else None,
            "loss": size.accuracy_loss,
        }
        for cell, size in sizes
    ]
    return pd.DataFrame(rows)


def _place(cell: Cell) -> tuple[str, str, str, float]:
    return cell.dataset, cell.model, cell.data, cell.width_mult


def _net(size: Size) -> float:
    """Without the header, which hides the rest where networks are tiny."""
    return size.bytes - size.parts.get("header", 0.0)


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    whole = "{:.0f}".format
    shown = pd.DataFrame(
        {
            **cell_columns(table),
            "parameters": table["parameters"].map(str),
            "fp32": table["fp32"].map(whole),
            "form": table["form"],
            "change": [format_points(-loss, None) for loss in table["loss"]],
            "stored": table["stored"].map(whole),
            "payload": table["payload"].map(whole),
            "dense / stored": ["" if pd.isna(ratio) else f"{ratio:.2f}" for ratio in table["ratio"]],
        }
    )
    return without_constant(shown, found)
