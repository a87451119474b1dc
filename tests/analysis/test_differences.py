"""Differences between methods: paired by seeds that a note names; which series are compared if there are many."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.parts.differences import MAX_COMPARED
from analysis.reports import report, tables
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
    return pd.read_csv(next(path for path in files if path.name == "differences.csv"), dtype={"seeds": str})


def pairs(files: list[Path]) -> list[tuple[str, str]]:
    table = differences(files)
    return list(dict.fromkeys(zip(table["method"], table["minus"], strict=True)))


def test_differences_are_paired_by_seed(sweep: Any, fill: Any) -> None:
    gain = {1: 0.02, 2: 0.04, 3: 0.5}

    def change(trial: Trial) -> dict[str, Any] | None:
        if trial.method.name == "weights":
            return {"metrics": {"test/top1": 0.1 * trial.seed}} if trial.seed < 3 else None
        return {"metrics": {"test/top1": 0.1 * trial.seed + gain[trial.seed]}}

    text, files = tables.make(planned := sweep(), fill(planned, change))
    assert differences(files).to_dict("records") == [  # +2 and +4 points: standard error 1, t(0.975, 1) = 12.706
        {
            "dataset": "digits",
            "model": "conv2",
            "width": width,
            "method": "edge_popup",
            "minus": "weights",
            "n": 2,
            "seeds": "1 2",
            "mean": pytest.approx(0.03),
            "half_width": pytest.approx(0.12706205),
            "low": pytest.approx(0.03 - 0.12706205),
            "high": pytest.approx(0.03 + 0.12706205),
        }
        for width in (0.5, 0.25)
    ]
    assert "| edge_popup - weights | +3.00 ± 12.71 | +3.00 ± 12.71 |" in text


OTHER_SEEDS = """\
name: other_seeds
base: {dataset: digits, epochs: 1, global_batch_size: 64, model: {name: conv2, width_mult: 0.5}}
grid:
  - {seed: [1, 2], method: {name: weights, lr: 0.1}}
  - {seed: [2, 3], method: [{name: edge_popup, lr: 1, sparsity: 0.5}, {name: iterand, lr: 1, sparsity: 0.5}]}
"""
UNEVEN = {"weights": {1: 0.5, 2: 0.8}, "edge_popup": {2: 0.6, 3: 0.9}, "iterand": {2: 0.7, 3: 0.9}}


def uneven(trial: Trial) -> dict[str, Any]:
    return {"metrics": {"test/top1": UNEVEN[trial.method.name][trial.seed]}}


def test_a_difference_over_the_seeds_in_common_alone_says_so(sweep: Any, fill: Any) -> None:
    """Means 65 and 75 %, and yet -20 points: of the one seed that both have."""
    text, files = tables.make(planned := sweep(text=OTHER_SEEDS), ledger := fill(planned, uneven))
    table = differences(files).set_index(["method", "minus"])[["n", "seeds"]]
    assert {pair: tuple(row) for pair, row in zip(table.index, table.to_numpy().tolist(), strict=True)} == {
        ("edge_popup", "weights"): (1, "2"),
        ("iterand", "weights"): (1, "2"),
        ("iterand", "edge_popup"): (2, "2 3"),
    }
    assert text.count("-20.00 |") == 1 and "± " not in text.partition("edge_popup - weights")[2].partition("\n")[0]
    where = "conv2 x0.5, digits"
    note = f"edge_popup - weights, {where}; iterand - weights, {where}: paired over seeds 2 of 2, 3 and 1, 2."
    assert [line for line in text.splitlines() if "paired over" in line] == [f"- {note}"]
    assert f"<li>{note}</li>" in report.page([(planned, ledger)])


def test_a_trial_that_failed_leaves_a_seed_out(sweep: Any, fill: Any) -> None:
    planned = sweep()
    gone = lambda t: t.seed == 3 and t.method.name == "weights" and t.model.width_mult == 0.5  # noqa: E731
    text, _ = tables.make(planned, fill(planned, lambda t: None if gone(t) else {}))
    note = "edge_popup - weights, conv2 x0.5, digits: paired over seeds 1, 2 of 1, 2, 3 and 1, 2."
    assert [line for line in text.splitlines() if "paired over" in line] == [f"- {note}"]


def test_no_seed_in_common_says_so(sweep: Any, fill: Any) -> None:
    planned = sweep(("[2, 3]", "[3, 4]"), ("conv2", "conv4"), text=OTHER_SEEDS)
    text, files = tables.make(planned, fill(planned))
    assert "missing |" in text
    assert text.count("weights, conv4 x0.5, digits: no seed in common: 3, 4 and 1, 2.") == 1
    assert differences(files)["n"].tolist() == [0, 0, 2]


def test_of_two_series_the_first_in_the_file_is_taken_off(sweep: Any, fill: Any) -> None:
    """Also where the other one is the first of its method."""
    planned = sweep(("{name: weights, lr: 0.1}", "{name: weights, lr: [0.1, 0.2]}"))
    _, files = tables.make(planned, fill(planned))
    names = ["weights lr=0.1", "weights lr=0.2", "edge_popup"]
    assert pairs(files) == [(names[1], names[0]), (names[2], names[0]), (names[2], names[1])]


def test_many_series_are_each_compared_with_the_first_of_their_method(sweep: Any, fill: Any) -> None:
    assert MAX_COMPARED == 6
    text, files = tables.make(planned := sweep(SIX), fill(planned))
    assert len(pairs(files)) == 15
    text, files = tables.make(planned := sweep(SEVEN, ("two_methods", "more")), fill(planned))
    first = "edge_popup sparsity=0.0"
    assert pairs(files) == [(first, "weights"), *((f"edge_popup sparsity=0.{i}", first) for i in range(1, 6))]
    assert text.count("| 3 of 3 |") == 2 * 7


def test_each_network_has_first_series_of_its_own(sweep: Any, fill: Any) -> None:
    """conv2 has two series, conv4 seven: none is lost because another network has other names."""
    text, _ = tables.make(planned := sweep(text=TWO_NETS), fill(planned))
    block = text.partition("### Differences")[2].split("\n\n")[1]
    rows = [line.split("|")[1].strip() for line in block.splitlines()[2:]]
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
