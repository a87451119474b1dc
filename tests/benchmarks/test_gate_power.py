"""The simulation of the gate: its p-values are the gate's own, and it needs no trained trial."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.statistics.permutation import PermutationTest
from benchmarks import gate_power

KEPT = 6


def test_p_values_are_those_of_the_gate() -> None:
    """Exact up to the highest that is asked for, above it elsewhere."""
    rows, members = np.random.default_rng(0).exponential(1, (KEPT, 3)), gate_power.arrangements(KEPT + gate_power.FRESH)
    assert members.shape == (462, 11) and (members.sum(axis=1) == 5).all()
    below = 0
    for seed in range(40):
        drawn = gate_power.Simulated(rows, members, np.random.default_rng(seed))
        own = PermutationTest(drawn.values[:KEPT], drawn.values[KEPT:], 0.3).p_value
        assert drawn.p_value() == pytest.approx(own, abs=1e-12)
        if own <= 0.3:
            assert drawn.p_value(0.3) == pytest.approx(own, abs=1e-12)
            below += 1
        else:
            assert 0.3 < drawn.p_value(0.3) <= own
    assert 3 < below < 30


def test_a_shift_is_found_where_the_gate_finds_it() -> None:
    rows, members = np.random.default_rng(1).normal(0, 1, (12, 2)), gate_power.arrangements(12 + gate_power.FRESH)
    for seed, shift in enumerate((0.0, 2.0, 3.0, 8.0)):
        drawn = gate_power.Simulated(rows, members, np.random.default_rng(seed))
        moved = drawn.values.copy()
        moved[12:, 1] += shift * drawn.spread[1]
        own = PermutationTest(moved[:12], moved[12:]).significant.any()
        assert drawn.found(1, drawn.statistics[0], shift) == own
    assert own


def test_the_command_needs_no_results(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = str(repository / "sweeps" / "width_vs_acc.yaml")
    assert gate_power.main([sweep, "--num", "0", "--false-alarms", "3", "--out", "made"]) == 0
    made = pd.read_csv("made_false_alarms.csv")
    assert made["of"].tolist() == [3, 3] and made["rate"].tolist() == [0.001, 0.01]
    assert "| " in capsys.readouterr().out


def test_the_page_says_what_came_out(repository: Path) -> None:
    kept = pd.read_csv(repository / "benchmarks" / "results" / "gate_power_false_alarms.csv")
    page = " ".join((repository / "docs" / "explanation" / "gate.md").read_text().split())
    for row in kept.to_dict("records"):
        low, high = (f"{row['of'] * row[side]:.0f}" for side in ("low", "high"))
        line = f"| {row['rate']:g} | {row['expected']:g} | {row['alarms']:g} | {low} to {high} |"
        assert line in page
        assert row["low"] <= row["rate"]  # no sign of more false alarms than are allowed
