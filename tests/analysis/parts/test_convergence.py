"""Gaps after more epochs: by hand."""

from typing import Any

import pytest
from scipy import stats

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


def welch(variances: list[float]) -> float:
    """Half the interval of a sum of means with these variances, in squared points, of two degrees of freedom each."""
    total = sum(variances)
    df = total**2 / sum(own**2 / 2 for own in variances)
    return float(stats.t.ppf(0.975, df)) * total**0.5 / 100


def test_by_hand(sweep: Any, fill: Any) -> None:
    planned = sweep(EPOCHS, ("  seed:", "  epochs: [20, 10]\n  seed:"), ("[0.5, 0.25]", "0.5"))
    ledger = fill(planned, accuracy)
    part = convergence.part(cells(planned, ledger), "test/top1")
    assert part is not None
    (row,) = part.numbers.to_dict("records")
    assert (row["difference"], row["epochs"]) == ("edge_popup - weights", "10 to 20")
    # Means -4/3, 1/3, 5/3. Variances of the four means 1/3, 1/9, 1/3, 4/9, of 2 degrees of freedom each.
    assert [row[name] for name in ("before", "after", "moved")] == pytest.approx([-4 / 300, 1 / 300, 5 / 300])
    half_widths = [row[f"{name}_half_width"] for name in ("before", "after", "moved")]
    before, after = [1 / 3, 1 / 9], [1 / 3, 4 / 9]
    assert half_widths == pytest.approx([welch(before), welch(after), welch(before + after)], rel=1e-5)
    (shown,) = part.shown.to_dict("records")
    told = [f"{mean} ± {100 * half:.2f}" for mean, half in zip(["-1.33", "+0.33", "+1.67"], half_widths, strict=True)]
    assert [shown[name] for name in ("before", "after", "moved")] == told
    assert shown["n"] == "3, 3, 3, 3" and shown["p (Holm)"] == f"{row['moved_p']:.3f}"  # of one comparison
    assert "### Gaps after more epochs, points" in tables.make(planned, ledger)[0]


def test_what_is_missing_is_said(sweep: Any, fill: Any) -> None:
    planned = sweep(EPOCHS, ("  seed:", "  epochs: [20, 10]\n  seed:"), ("[0.5, 0.25]", "0.5"))
    ledger = fill(planned, lambda trial: accuracy(trial) if trial.epochs == 10 or trial.seed == 1 else None)
    part = convergence.part(cells(planned, ledger), "test/top1")
    assert part is not None
    (shown,) = part.shown.to_dict("records")
    assert [shown[name] for name in ("after", "moved", "n")] == ["+0.00", "+1.33", "3, 3, 1, 1"]
    numbers = part.numbers.iloc[0]
    assert [numbers[f"{name}_n"] for name in ("before", "after", "moved")] == [6, 2, 8]
    told = ["1 2 3; 1 2 3", "1; 1", "1; 1; 1 2 3; 1 2 3"]
    assert [numbers[f"{name}_seeds"] for name in ("before", "after", "moved")] == told
    other = sweep(EPOCHS, ("  seed:", "  epochs: [40, 30]\n  seed:"), ("[0.5, 0.25]", "0.5"))
    part = convergence.part(cells(other, ledger), "test/top1")
    assert part is not None
    assert [part.shown.iloc[0][name] for name in ("before", "after", "moved")] == ["missing"] * 3


def test_no_table_where_epochs_do_not_vary(sweep: Any, fill: Any) -> None:
    planned = sweep()
    assert convergence.part(cells(planned, fill(planned)), "test/top1") is None
