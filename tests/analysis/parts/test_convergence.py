"""Gaps after more epochs: by hand, paired by seed."""

from typing import Any

import pytest

from analysis.parts import convergence
from analysis.parts.cells import cells
from analysis.reports import tables
from suite.config import Trial

EPOCHS = ("epochs: 1, ", "")
# Accuracies in points above 80, by (method, epochs): seeds 1, 2, 3.
POINTS = {
    ("weights", 10): (1, 2, 3),
    ("edge_popup", 10): (0, 1, 1),  # behind by 1, 1, 2
    ("weights", 20): (2, 3, 4),
    ("edge_popup", 20): (2, 4, 4),  # behind by 0, -1, 0: it caught up by 1, 2, 2
}


def accuracy(trial: Trial) -> dict[str, Any]:
    value = POINTS[trial.method.name, trial.epochs][trial.seed - 1]
    return {"metrics": {"val/top1": 0.5, "test/top1": 0.8 + value / 100}}


def test_by_hand(sweep: Any, fill: Any) -> None:
    planned = sweep(EPOCHS, ("  seed:", "  epochs: [20, 10]\n  seed:"), ("[0.5, 0.25]", "0.5"))
    ledger = fill(planned, accuracy)
    part = convergence.part(cells(planned, ledger), "test/top1")
    assert part is not None
    (row,) = part.numbers.to_dict("records")
    assert (row["difference"], row["epochs"]) == ("edge_popup - weights", "10 to 20")
    # Means -4/3, 1/3, 5/3; each with standard deviation 0.57735, so +- 4.302653 x 0.57735 / sqrt(3) = 1.434.
    assert [row[name] for name in ("before", "after", "moved")] == pytest.approx([-4 / 300, 1 / 300, 5 / 300])
    half_widths = [row[f"{name}_half_width"] for name in ("before", "after", "moved")]
    assert half_widths == pytest.approx([0.01434218] * 3, rel=1e-5)
    (shown,) = part.shown.to_dict("records")
    assert [shown[name] for name in ("before", "after", "moved")] == ["-1.33 ± 1.43", "+0.33 ± 1.43", "+1.67 ± 1.43"]
    assert "### Gaps after more epochs, points" in tables.make(planned, ledger)[0]


def test_what_is_missing_is_said(sweep: Any, fill: Any) -> None:
    planned = sweep(EPOCHS, ("  seed:", "  epochs: [20, 10]\n  seed:"), ("[0.5, 0.25]", "0.5"))
    ledger = fill(planned, lambda trial: accuracy(trial) if trial.epochs == 10 or trial.seed == 1 else None)
    part = convergence.part(cells(planned, ledger), "test/top1")
    assert part is not None
    (shown,) = part.shown.to_dict("records")
    assert [shown[name] for name in ("before", "after", "moved")] == ["-1.33 ± 1.43", "+0.00", "+1.00"]
    where = "edge_popup - weights, conv2 x0.5, digits"
    assert part.notes[1:] == [f"{where}, 10 to 20 epochs: paired over seeds 1 of 1, 2, 3 and 1."]
    numbers = part.numbers.iloc[0]
    assert [numbers[f"{name}_n"] for name in ("before", "after", "moved")] == [3, 1, 1]
    assert [numbers[f"{name}_seeds"] for name in ("before", "after", "moved")] == ["1 2 3", "1", "1"]
    other = sweep(EPOCHS, ("  seed:", "  epochs: [40, 30]\n  seed:"), ("[0.5, 0.25]", "0.5"))
    part = convergence.part(cells(other, ledger), "test/top1")
    assert part is not None
    assert [part.shown.iloc[0][name] for name in ("before", "after", "moved")] == ["missing"] * 3


def test_no_table_where_epochs_do_not_vary(sweep: Any, fill: Any) -> None:
    planned = sweep()
    assert convergence.part(cells(planned, fill(planned)), "test/top1") is None
