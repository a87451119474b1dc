"""Differences between methods: paired by seed, and which series are compared where there are many."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis import tables
from suite.config import Trial

ONE_METHOD = ("    - {name: edge_popup, lr: 0.1, sparsity: 0.5}\n", "")
SIX, SEVEN = (("sparsity: 0.5", f"sparsity: [{', '.join(f'0.{i}' for i in range(n - 1))}]") for n in (6, 7))
TWO_NETS = """\
name: two_nets
base: {dataset: digits, epochs: 1, global_batch_size: 64}
grid:
  - {model: {name: conv2}, seed: [1, 2], method: [{name: weights, lr: 1}, {name: edge_popup, lr: 1, sparsity: 0.5}]}
  - {model: {name: conv4}, seed: [1, 2], method: {name: weights, lr: 1}}
  - {model: {name: conv4}, seed: [1, 2], method: {name: edge_popup, lr: 1, sparsity: [.1, .2, .3, .4, .5, .6]}}
"""


def differences(files: list[Path]) -> pd.DataFrame:
    return pd.read_csv(next(path for path in files if path.name == "differences.csv"))


def test_differences_are_paired_by_seed(sweep: Any, fill: Any) -> None:
    gain = {1: 0.02, 2: 0.04, 3: 0.5}

    def change(trial: Trial) -> dict[str, Any] | None:
        if trial.method.name == "weights":
            return {"metrics": {"test/top1": 0.1 * trial.seed}} if trial.seed < 3 else None
        return {"metrics": {"test/top1": 0.1 * trial.seed + gain[trial.seed]}}

    _, files = tables.make(planned := sweep(), fill(planned, change))
    row = differences(files).iloc[0].to_dict()
    assert row == {  # +2 and +4 points: standard error 1, t(0.975, 1) = 12.706
        "difference": "edge_popup - weights",
        "width 0.5": "+3.00 ± 12.71",
        "width 0.25": "+3.00 ± 12.71",
    }


def test_of_two_series_the_first_in_the_file_is_taken_off(sweep: Any, fill: Any) -> None:
    """Also where the other one is the first of its method."""
    planned = sweep(("{name: weights, lr: 0.1}", "{name: weights, lr: [0.1, 0.2]}"))
    _, files = tables.make(planned, fill(planned))
    names = ["weights lr=0.1", "weights lr=0.2", "edge_popup"]
    pairs = [(names[1], names[0]), (names[2], names[0]), (names[2], names[1])]
    assert differences(files)["difference"].tolist() == [f"{one} - {other}" for one, other in pairs]


def test_many_series_are_each_compared_with_the_first_of_their_method(sweep: Any, fill: Any) -> None:
    assert tables.MAX_COMPARED == 6
    text, files = tables.make(planned := sweep(SIX), fill(planned))
    assert len(differences(files)) == 15
    text, files = tables.make(planned := sweep(SEVEN, ("two_methods", "more")), fill(planned))
    first = "edge_popup sparsity=0.0"
    others = [f"edge_popup sparsity=0.{i} - {first}" for i in range(1, 6)]
    assert differences(files)["difference"].tolist() == [f"{first} - weights", *others]
    assert text.count("| 3 of 3 |") == 2 * 7


def test_each_network_has_first_series_of_its_own(sweep: Any, fill: Any) -> None:
    """conv2 has two series, conv4 seven: none is lost because another network has other names."""
    _, files = tables.make(planned := sweep(text=TWO_NETS), fill(planned))
    rows = differences(files)["difference"].tolist()
    first = "edge_popup sparsity=0.1"
    assert rows == [
        "edge_popup - weights (conv2, digits)",
        f"{first} - weights (conv4, digits)",
        *(f"edge_popup sparsity=0.{i} - {first} (conv4, digits)" for i in range(2, 7)),
    ]


def test_no_old_differences_beside_a_new_table(sweep: Any, fill: Any) -> None:
    _, files = tables.make(planned := sweep(), fill(planned))
    assert "differences.csv" in {file.name for file in files}
    _, files = tables.make(planned := sweep(ONE_METHOD), fill(planned))
    assert "differences.csv" not in {file.name for file in files}
    assert sorted(files) == sorted(files[0].parent.iterdir())
