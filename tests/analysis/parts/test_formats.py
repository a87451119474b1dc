"""Numbers as people read them: what rounds to nothing has no minus sign, in any table."""

import re
from typing import Any

import numpy as np
import pytest

from analysis.parts import format_interval, format_percent, format_points
from analysis.reports import gate, tables
from analysis.statistics.permutation import PermutationTest
from suite.config import Trial

NEGATIVE_ZERO = re.compile(r"-0(?:\.0+)?(?![\d.])")


@pytest.mark.parametrize("difference", [-0.0, 0.0, -1e-9, -4.9e-5, 4.9e-5])
def test_a_difference_that_rounds_to_zero(difference: float) -> None:
    assert format_points(difference, 0.002) == "+0.00 ± 0.20"
    assert format_points(difference, None) == "+0.00"


def test_a_difference_that_does_not() -> None:
    assert format_points(-5.1e-5, 0.0) == "-0.01 ± 0.00"
    assert format_points(0.0108, 0.0094) == "+1.08 ± 0.94"
    assert format_points(None, None) == format_points(float("nan"), None) == "missing"


def test_shares_and_intervals() -> None:
    assert format_percent(-1e-9) == format_percent(0.0) == "0.00"
    assert format_interval(-1e-9, 0.5) == "0.00 to 50.00"


def test_no_table_shows_one(sweep: Any, fill: Any) -> None:
    """Masked networks are worse by a thousandth of a point, as are int8's; more epochs move nothing."""

    def change(trial: Trial) -> dict[str, Any]:
        top1 = 0.8 - (0 if trial.method.name == "weights" else 1e-5 * trial.epochs) + 1e-6 * trial.seed
        forms = [
            {"form": form, "bytes": size, "parts": {}, "metrics": {"val/top1": 0.8 - loss, "test/top1": 0.8 - loss}}
            for form, size, loss in (("fp32", 4000, 0.0), ("int8", 1000, 1e-5))
        ]
        return {"metrics": {"test/top1": top1}, "stored": forms}

    planned = sweep(("epochs: 1, ", ""), ("  seed:", "  epochs: [1, 2]\n  seed:"))
    text, files = tables.make(planned, fill(planned, change))
    assert {"differences.tex", "convergence.tex", "sizes.tex"} <= {path.name for path in files}
    shown = [text, *(path.read_text() for path in files if path.suffix == ".tex")]
    assert [NEGATIVE_ZERO.findall(each) for each in shown] == [[]] * len(shown)
    assert "+0.00 ± 0.00" in text


def test_nor_does_the_gate() -> None:
    kept = np.tile([0.79, 0.81], 5)[:, None]
    fresh = np.tile([0.79, 0.81], 2)[:, None] - 1e-6
    assert "| +0.00 |" in re.sub(" +", " ", gate.table(PermutationTest(kept, fresh), ["a cell"]))
