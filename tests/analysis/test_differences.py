"""Differences between methods: of all seeds that each has; which series are compared if there are many."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

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


def block(text: str) -> list[list[str]]:
    """The rows of the table as it is shown."""
    lines = text.partition("### Differences, points")[2].split("\n\n")[1].splitlines()
    return [[each.strip() for each in line.strip("|").split("|")] for line in lines[2:]]


def test_differences_are_welchs(sweep: Any, fill: Any) -> None:
    """Seed 3 of dense networks failed: that of edge-popup is kept."""
    popup = {1: 0.5, 2: 0.52, 3: 0.57}

    def change(trial: Trial) -> dict[str, Any] | None:
        if trial.method.name == "weights":
            return {"metrics": {"test/top1": 0.4 + trial.seed / 100}} if trial.seed < 3 else None
        return {"metrics": {"test/top1": popup[trial.seed]}}

    text, files = tables.make(planned := sweep(), fill(planned, change))
    test = stats.ttest_ind(list(popup.values()), [0.41, 0.42], equal_var=False)
    low, high = test.confidence_interval()
    expected = {
        "dataset": "digits",
        "model": "conv2",
        "method": "edge_popup",
        "minus": "weights",
        "n": 3,
        "seeds": "1 2 3",
        "planned": 3,
        "minus_n": 2,
        "minus_seeds": "1 2",
        "minus_planned": 3,
        "mean": pytest.approx(0.115),
        "half_width": pytest.approx((high - low) / 2),
        "low": pytest.approx(low),
        "high": pytest.approx(high),
        "p": pytest.approx(test.pvalue),
        "p_holm": pytest.approx(min(1.0, 2 * test.pvalue)),  # of two widths
    }
    found = differences(files).drop(columns="new_images_half_width").to_dict("records")
    assert found == [{**expected, "width": width} for width in (0.25, 0.5)]
    points, p_values = f"+11.50 ± {50 * (high - low):.2f}", [f"{test.pvalue:.3f}", f"{2 * test.pvalue:.3f}"]
    name = "edge_popup - weights"
    assert block(text) == [[name, width, "3 of 3, 2 of 3", points, *p_values] for width in ("0.25", "0.5")]
    assert "Holm: adjusted for the 2 differences that this sweep plans." in text


def test_holm_counts_what_is_planned_though_not_yet_run(sweep: Any, fill: Any) -> None:
    """One p-value of two planned ones: doubled, whatever ran so far."""
    planned = sweep()
    run = {"weights": 0.0, "edge_popup": 0.01}
    _, files = tables.make(
        planned,
        fill(
            planned,
            lambda t: (
                {"metrics": {"test/top1": 0.5 + t.seed / 100 + run[t.method.name]}}
                if t.model.width_mult == 0.5
                else None
            ),
        ),
    )
    narrow, wide = differences(files).to_dict("records")
    assert pd.isna(narrow["p_holm"]) and wide["p_holm"] == pytest.approx(2 * wide["p"])


def test_dead_networks_do_not_count_as_certain(sweep: Any, fill: Any) -> None:
    """Three at exactly 10 % have no spread: no interval, no p, and the table says why."""
    planned = sweep()
    dead = {"metrics": {"test/top1": 0.1}}
    ledger = fill(planned, lambda t: dead if t.method.name == "edge_popup" else {})
    text, files = tables.make(planned, ledger)
    assert [row[3:] for row in block(text)] == [["-72.00", "", ""]] * 2
    assert differences(files)[["half_width", "p", "p_holm"]].isna().to_numpy().all()
    assert "- Without an interval: one side has one seed, or the same accuracy in all" in text
    assert (
        "- No interval, as all seeds have the same accuracy, which hides how far others would be from it: edge" in text
    )


def test_failures_count_as_chance_in_rows_of_their_own(sweep: Any, fill: Any) -> None:
    """Two of three live: the means of these, and beside them those with the third at 10 %."""
    planned = sweep()
    fails = lambda t: t.method.name == "edge_popup" and t.seed == 3 and t.model.width_mult == 0.5  # noqa: E731
    gone = {"status": "diverged", "metrics": {"val/top1": None, "test/top1": None}}
    text, files = tables.make(planned, fill(planned, lambda t: gone if fails(t) else {}))
    rows = [row for row in block(text) if row[1] == "0.5"]
    assert [row[:3] for row in rows] == [
        ["edge_popup - weights", "0.5", "2 of 3, 3 of 3"],
        ["edge_popup - weights, failures at chance", "0.5", "3 of 3, 3 of 3"],
    ]
    assert rows[1][3].startswith(f"{100 * ((0.81 + 0.82 + 0.1) / 3 - 0.82):+.2f} ± ") and rows[1][5] == ""
    table = pd.read_csv(next(path for path in files if path.name == "table.csv")).set_index("method")
    assert table.loc["edge_popup, failures at chance", ["n", "mean"]].tolist() == [3, pytest.approx(1.73 / 3)]
    assert text.count("- Failures at chance: ") == 2
    assert "failures at chance" not in tables.make(planned, fill(planned))[0]


OTHER_SEEDS = """\
name: other_seeds
base: {dataset: digits, epochs: 1, global_batch_size: 64, model: {name: conv2, width_mult: 0.5}}
grid:
  - {seed: [1, 2], method: {name: weights, lr: 0.1}}
  - {seed: [2, 3], method: [{name: edge_popup, lr: 1, sparsity: 0.5}, {name: iterand, lr: 1, sparsity: 0.5}]}
"""


def test_seeds_that_one_method_has_alone_are_kept(sweep: Any, fill: Any) -> None:
    """Means of all that there is, whatever the seeds are called: +15 points are the difference of 80 and 65 %."""
    values = {"weights": {1: 0.5, 2: 0.8}, "edge_popup": {2: 0.7, 3: 0.9}, "iterand": {2: 0.7, 3: 0.9}}
    planned = sweep(text=OTHER_SEEDS)
    change = lambda t: {"metrics": {"test/top1": values[t.method.name][t.seed]}}  # noqa: E731
    text, files = tables.make(planned, ledger := fill(planned, change))
    assert differences(files)[["n", "minus_n"]].to_numpy().tolist() == [[2, 2]] * 3
    assert differences(files)["mean"].tolist() == pytest.approx([0.15, 0.15, 0.0])
    assert "so none is left out and none paired" in text and "so none is left out" in report.page([(planned, ledger)])


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
    assert text.count("| 3 of 3 |") == 2 * 7 and text.count("| 3 of 3, 3 of 3 |") == 2 * 6


def test_each_network_has_first_series_of_its_own(sweep: Any, fill: Any) -> None:
    """conv2 has two series, conv4 seven: none is lost because another network has other names."""
    text, _ = tables.make(planned := sweep(text=TWO_NETS), fill(planned))
    rows = [row[0] for row in block(text)]
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
