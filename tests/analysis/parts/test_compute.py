"""What training took: means, sums and the largest, by examples that can be checked by head."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.reports import tables
from suite.config import Trial

ONE_METHOD = ("    - {name: edge_popup, lr: 0.1, sparsity: 0.5}\n", "")
ONE_WIDTH = ("width_mult: [0.5, 0.25]", "width_mult: 0.5")


def took(trial: Trial) -> dict[str, Any]:
    """Seeds 1, 2 and 3 take 1800, 3600 and 5400 seconds for 3600 updates."""
    return {"seconds": 1800.0 * trial.seed, "num_updates": 3600, "peak_memory_mb": 100.0 * trial.seed}


def rows_of(files: list[Path]) -> list[dict[str, Any]]:
    return pd.read_csv(next(file for file in files if file.name == "compute.csv")).to_dict("records")


def shown(text: str) -> list[list[str]]:
    block = text.partition("### What training took\n\n")[2].partition("\n\n")[0]
    header, _, *rows = block.splitlines()
    return [[each.strip() for each in line.strip("|").split("|")] for line in (header, *rows)]


def test_means_sums_and_the_largest(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD, ONE_WIDTH, ("epochs: 1,", "epochs: 1, processes: 2, resources: {gpus: 2},"))
    text, files = tables.make(planned, fill(planned, took))
    assert rows_of(files) == [
        {
            "dataset": "digits",
            "model": "conv2",
            "width": 0.5,
            "method": "weights",
            "n": 3,
            "seeds": "1 2 3",
            "seconds": 3600,
            "updates_per_second": pytest.approx((2 + 1 + 2 / 3) / 3),
            "gpu_hours": pytest.approx(2 * (0.5 + 1 + 1.5)),
            "train_bytes": 12 * 500,
            "peak_memory_mb": 300,
            "device": "CPU",
        }
    ]
    assert shown(text) == [
        ["width", "method", "n", "seconds", "updates/s", "GPU-hours", "state, bytes", "peak, MB", "device"],
        ["0.5", "weights", "3", "3600.0", "1.2", "6.00", "6000", "300", "CPU"],
    ]


def test_a_diverged_trial_took_time_but_is_in_no_mean(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD, ONE_WIDTH, ("epochs: 1,", "epochs: 1, resources: {gpus: 1},"))
    early = {"status": "diverged", "seconds": 36.0, "num_updates": 1, "peak_memory_mb": 1.0}
    _, files = tables.make(planned, fill(planned, lambda t: early if t.seed == 1 else took(t)))
    (row,) = rows_of(files)
    assert (row["n"], row["seconds"]) == (3, 4500)
    assert row["updates_per_second"] == pytest.approx((1 + 2 / 3) / 2)
    assert row["gpu_hours"] == pytest.approx(0.01 + 1 + 1.5)


def test_without_gpus_no_hours_and_several_devices_are_named(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD, ONE_WIDTH)
    text, files = tables.make(planned, fill(planned, lambda t: took(t) | {"device": f"kind {t.seed % 2}"}))
    assert "GPU-hours" not in shown(text)[0]
    assert rows_of(files)[0]["device"] == "kind 0, kind 1"


def test_what_was_not_trained_has_no_row(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD)
    _, files = tables.make(planned, fill(planned, lambda t: took(t) if t.model.width_mult == 0.5 else None))
    assert [row["width"] for row in rows_of(files)] == [0.5]
