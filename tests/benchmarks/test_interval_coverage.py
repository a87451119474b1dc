"""The simulation of intervals: every truth and number of seeds has a row, and each truth is what it says."""

import numpy as np
import pytest

from benchmarks import interval_coverage
from benchmarks.interval_coverage import COSTS, SCENARIOS, SEEDS


def test_a_row_of_each_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interval_coverage, "SCENARIOS", SCENARIOS[::3])
    rows = list(interval_coverage.rows(3))
    assert [(row["truth"], row["n"]) for row in rows] == [(each.name, n) for each in SCENARIOS[::3] for n in SEEDS]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("mean", "difference", "cost", "ratio"))


def test_truths_are_what_their_names_say() -> None:
    means = {scenario.name: scenario.mean(COSTS) for scenario in SCENARIOS}
    assert means["a dip"][2] < means["a dip"][1] < means["a dip"][3]
    assert all((np.diff(own) > 0).all() for name, own in means.items() if name != "a dip")
    assert means["near 100 %"][-1] > 0.997
    assert (means["one dead seed in twelve"] < means["power law"] - 0.05).all()
