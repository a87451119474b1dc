"""The table of what training took: time, throughput, GPU-hours and memory."""

from statistics import fmean

import pandas as pd

from analysis.parts import ReportTable, cell_columns, without_constant
from analysis.parts.cells import Cell, in_order
from analysis.parts.seeds import seed_list
from suite.records import Summary

_NOTES = [
    "Seconds: mean of a trial that did not diverge, its evaluations included; updates/s the same. Trials that "
    "shared a machine slowed each other: compare within a column only what ran in the same way.",
    "State: bytes of parameters, gradients and what the optimizer keeps; peak: the largest memory of any trial, of the "
    "GPU where there was one, else of the process with all its libraries.",
]


def part(found: list[Cell]) -> ReportTable | None:
    """The table; None where nothing was trained."""
    table = compute_table(found)
    return ReportTable("compute", "What training took", table, _shown(table, found), _NOTES) if len(table) else None


def compute_table(found: list[Cell]) -> pd.DataFrame:
    """A row a cell: means over its trials, evaluation included, ``gpu_hours`` of all of them together.

    A diverged trial ended early: it is in no mean unless all did, but in ``n`` and ``gpu_hours``.
    """
    return pd.DataFrame([_row(cell, list(cell.results.values())) for cell in in_order(found) if cell.results])


def _row(cell: Cell, results: list[Summary]) -> dict[str, object]:
    whole = [result for result in results if result.status == "done"] or results
    return {
        "dataset": cell.dataset,
        "model": cell.model,
        "width": cell.width_mult,
        "method": cell.series,
        "n": len(results),
        "seeds": seed_list(cell.results),
        "seconds": fmean(result.seconds for result in whole),
        "updates_per_second": fmean(result.num_updates / max(result.seconds, 1e-9) for result in whole),
        "gpu_hours": sum(_num_gpus(result) * result.seconds / 3600 for result in results),
        "train_bytes": train_bytes(results),
        "peak_memory_mb": max(result.peak_memory_mb for result in results),
        "device": ", ".join(sorted({device for result in results for device in result.devices})),
    }


def train_bytes(results: list[Summary]) -> float:
    """Bytes of live training state: mean over trials."""
    return fmean(result.state_bytes_per_weight * result.params_total for result in results)


def _num_gpus(result: Summary) -> float:
    return float(result.config.get("resources", {}).get("gpus", 0.0))


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    shown = pd.DataFrame(
        {
            **cell_columns(table),
            "n": table["n"].map(str),
            "seconds": table["seconds"].map("{:.1f}".format),
            "updates/s": table["updates_per_second"].map("{:.1f}".format),
            "GPU-hours": table["gpu_hours"].map("{:.2f}".format),
            "state, bytes": table["train_bytes"].map("{:.0f}".format),
            "peak, MB": table["peak_memory_mb"].map("{:.0f}".format),
            "device": table["device"],
        }
    )
    hidden = [column for column in ("GPU-hours",) if not table["gpu_hours"].any()]
    return without_constant(shown, found).drop(columns=hidden)
