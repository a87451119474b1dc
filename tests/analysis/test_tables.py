"""Tables: every planned cell, what is missing from it, and the numbers, in three formats."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.fake_results import create_trial_folder

from analysis import tables as tables_command
from analysis.parts.cells import metric_of
from analysis.reports import tables
from suite.config.sweep_file import Sweep
from suite.records import StoppedEarly, write_failure, write_stopped
from suite.records.ledger import Ledger

ONE_METHOD = ("    - {name: edge_popup, lr: 0.1, sparsity: 0.5}\n", "")
SPARSITIES = ("sparsity: 0.5", "sparsity: [0.3, 0.6]")
NO_TEST = ("epochs: 1,", "epochs: 1, evaluate_test: false,")


def csv_of(paths: list[Path], name: str = "table.csv") -> pd.DataFrame:
    """Numbers as numbers; what is empty as None."""
    table = pd.read_csv(next(path for path in paths if path.name == name))
    return table.astype(object).where(table.notna(), None)


def shown(text: str, number: int = 0) -> list[list[str]]:
    """The rows of a table of the Markdown, its header first: of the accuracies (0) or the differences (1)."""
    blocks = [[line for line in block.splitlines() if line[:1] == "|"] for block in text.split("\n\n")]
    header, _, *rows = [block for block in blocks if block][number]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, *rows)]


def test_a_complete_sweep(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(), ledger := fill(planned))
    assert text.startswith("## two_methods: test/top1, %\n")
    assert {file.parent for file in files} == {ledger.root / "reports" / "two_methods"}
    # Accuracies .81 .82 .83: standard error 0.01 / sqrt(3), t(0.975, 2) = 4.302653: 2.484 points.
    assert csv_of(files).to_dict("records") == [
        {
            "dataset": "digits",
            "model": "conv2",
            "width": width,
            "method": method,
            "n": 3,
            "planned": 3,
            "seeds": "1 2 3",
            "mean": pytest.approx(0.82),
            "low": pytest.approx(0.7951586, abs=1e-7),
            "high": pytest.approx(0.8448414, abs=1e-7),
            "new_images_low": None,
            "new_images_high": None,
            "parameters": total,
            "kept": kept,
        }
        for width, total in ((0.25, 250), (0.5, 500))  # by width, methods as in the file
        for method, kept in (("weights", total), ("edge_popup", total // 2))
    ]
    assert shown(text) == [
        ["width", "method", "n", "mean", "95 % interval", "parameters", "kept"],
        ["0.25", "weights", "3 of 3", "82.00", "79.52 to 84.48", "250", "250"],
        ["0.25", "edge_popup", "3 of 3", "82.00", "79.52 to 84.48", "250", "125"],
        ["0.5", "weights", "3 of 3", "82.00", "79.52 to 84.48", "500", "500"],
        ["0.5", "edge_popup", "3 of 3", "82.00", "79.52 to 84.48", "500", "250"],
    ]
    notes = [line for line in text.splitlines() if line.startswith("- ")]
    assert notes[-2].startswith("- Seconds: ") and notes[-1].startswith("- State: ")  # of the table of time and memory
    assert notes[-3].startswith("- Differences: Welch's intervals")
    assert notes[:-3] == [
        "- Intervals, 95 %: Student t over seeds, on this test set.",
        "- On this test set alone, as records do not say which of its images were right (for new images, intervals "
        "can be several times as wide): all.",
        "- digits: 360 test images, so one image is 0.28 points of one trial.",
    ]


def test_all_files_say_the_same(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(), fill(planned, lambda t: {} if t.seed < 3 else None))
    assert [file.name for file in files] == [
        "table.md",
        "table.csv",
        "table.tex",
        "differences.csv",
        "differences.tex",
        "compute.csv",
        "compute.tex",
    ]
    assert files[0].read_text() == text
    table, differences = csv_of(files), csv_of(files, "differences.csv")
    points = {row["width"]: row for row in differences.to_dict("records")}
    told = [f"{100 * points[w]['mean']:+.2f} ± {100 * points[w]['half_width']:.2f}" for w in (0.25, 0.5)]
    assert shown(text, 1) == [
        ["difference", "width", "n", "points", "p", "p (Holm)"],
        ["edge_popup - weights", "0.25", "2 of 3, 2 of 3", told[0], "1.000", "1.000"],
        ["edge_popup - weights", "0.5", "2 of 3, 2 of 3", told[1], "1.000", "1.000"],
    ]
    header, *rows = shown(text)
    for row, numbers in zip(rows, table.to_dict("records"), strict=True):
        found = dict(zip(header, row, strict=True))
        assert found == {
            "width": f"{numbers['width']:g}",
            "method": numbers["method"],
            "n": f"{numbers['n']} of {numbers['planned']}",
            "mean": f"{100 * numbers['mean']:.2f}",
            "95 % interval": f"{100 * numbers['low']:.2f} to {100 * numbers['high']:.2f}",
            "parameters": str(numbers["parameters"]),
            "kept": str(numbers["kept"]),
        }


def test_an_interval_leaves_out_what_cannot_be(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD)
    text, files = tables.make(planned, fill(planned, lambda t: {"metrics": {"test/top1": float(t.seed == 3)}}))
    assert csv_of(files)[["low", "high"]].to_numpy().tolist() == [[0, 1]] * 2
    assert [row[4] for row in shown(text)[1:]] == ["0.00 to 100.00"] * 2


@pytest.mark.parametrize(("name", "number"), [("table", 0), ("differences", 1)])
def test_latex_is_a_booktabs_table(sweep: Any, fill: Any, name: str, number: int) -> None:
    text, files = tables.make(planned := sweep(), fill(planned))
    expected = shown(text, number)
    lines = next(file for file in files if file.name == f"{name}.tex").read_text().splitlines()
    num = len(expected[0])
    assert lines[0] == rf"\begin{{tabular}}{{{'l' * num}}}"
    assert [lines[1], lines[3], *lines[-2:]] == [r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"]
    rows = [lines[2], *lines[4:-2]]
    assert all(row.endswith(r" \\") for row in rows)
    plain = [re.sub(r"\\([_%])", r"\1", row.removesuffix(r" \\")).split(" & ") for row in rows]
    assert plain == expected
    assert not re.search(r"(?<!\\)[_%#$]", "\n".join(lines))


# What is missing ----------------------------------------------------------------------------------------------------


def outcomes(planned: Sweep, ledger: Ledger) -> Ledger:
    """At width 0.25 of edge_popup: seed 1 failed, seed 2 was killed, seed 3 diverged; of weights: seed 1 differs."""
    for trial in planned.trials.values():
        folder = ledger.folder(trial.trial_id)
        result = folder / "result.json"
        if trial.model.width_mult != 0.25:
            continue
        if trial.method.name == "edge_popup" and trial.seed < 3:
            result.unlink()
            if trial.seed == 1:
                write_failure(folder, trial.trial_id, ValueError("x"))
        elif trial.method.name == "edge_popup":
            diverged = result.read_text().replace('"status":"done"', '"status":"diverged"')
            diverged = re.sub(r'"test/top1":[0-9.]+', '"test/top1":null', diverged)
            result.write_text(re.sub(r'"test_predictions":\[[^]]*\]', '"test_predictions":null', diverged))
        elif trial.seed == 1:
            result.write_text(result.read_text().replace('"threads":1', '"threads":2'))
    return ledger


def test_every_planned_cell_is_shown_and_what_is_missing_is_named(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(), outcomes(planned, fill(planned)))
    assert shown(text)[1:] == [
        ["0.25", "weights", "2 of 3", "82.50", "76.15 to 88.85", "250", "250"],
        ["0.25", "edge_popup", "0 of 3", "missing", "", "250", "125"],  # the diverged trial has a network, no accuracy
        ["0.25", "edge_popup, failures at chance", "2 of 3", "10.00", "", "250", "125"],
        ["0.5", "weights", "3 of 3", "82.00", "79.52 to 84.48", "500", "500"],
        ["0.5", "edge_popup", "3 of 3", "82.00", "79.52 to 84.48", "500", "250"],
    ]
    table = csv_of(files)
    assert table[["n", "planned", "parameters"]].to_numpy().tolist() == [
        [2, 3, 250],
        [0, 3, 250],
        [2, 3, 250],
        [3, 3, 500],
        [3, 3, 500],
    ]
    assert table.loc[1, ["mean", "low", "high"]].tolist() == [None] * 3
    assert shown(text, 1)[1:] == [  # Welch's of .81 .82 .83 twice: t(0.975, 4) = 2.776445 times 0.01 sqrt(2 / 3)
        ["edge_popup - weights", "0.25", "0 of 3, 2 of 3", "missing", "", ""],
        ["edge_popup - weights", "0.5", "3 of 3, 3 of 3", "+0.00 ± 2.27", "1.000", "1.000"],
        ["edge_popup - weights, failures at chance", "0.25", "2 of 3, 2 of 3", "-72.50", "", ""],
    ]
    numbers = csv_of(files, "differences.csv")[["width", "n", "seeds", "mean", "half_width", "low", "high"]]
    half = pytest.approx(0.02266958, rel=1e-5)
    ends = [pytest.approx(end, rel=1e-6) for end in (-0.02266958, 0.02266958)]
    assert numbers.to_numpy().tolist()[:2] == [[0.25, 0, *[None] * 5], [0.5, 3, "1 2 3", pytest.approx(0), half, *ends]]
    notes = [line for line in text.splitlines() if line.endswith(tuple(f"seeds {seed}." for seed in (1, 2, 3)))]
    assert notes == [
        "- differs: weights, conv2 x0.25, digits, seeds 1.",
        "- diverged: edge_popup, conv2 x0.25, digits, seeds 3.",
        "- failed: edge_popup, conv2 x0.25, digits, seeds 1.",
        "- unfinished: edge_popup, conv2 x0.25, digits, seeds 2.",
    ]


def test_a_stopped_trial_is_named(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD)
    ledger = fill(planned, lambda t: None if t.seed == 2 else {})
    for trial in planned.trials.values():
        if trial.seed == 2:
            stopped = StoppedEarly(scheduler=planned.scheduler.model_dump(), epochs=1)
            write_stopped(create_trial_folder(ledger, trial.trial_id), stopped)
    text, _ = tables.make(planned, ledger)
    assert "- stopped: weights, conv2 x0.25, digits, seeds 2." in text
    assert [row[2] for row in shown(text)[1:]] == ["2 of 3"] * 2


def test_a_cell_with_nothing_done(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(), fill(planned, lambda t: {} if t.model.width_mult == 0.5 else None))
    assert shown(text)[1:3] == [["0.25", name, "0 of 3", "missing", "", "", ""] for name in ("weights", "edge_popup")]
    empty = csv_of(files).loc[0, ["n", "planned", "mean", "low", "high", "parameters", "kept"]]
    assert empty.tolist() == [0, 3, None, None, None, None, None]


def test_nothing_done_at_all(sweep: Any, tmp_path: Path) -> None:
    text, files = tables.make(sweep(), Ledger(tmp_path / "results"))
    assert [row[2:] for row in shown(text)[1:]] == [["0 of 3", "missing", "", "", ""]] * 4
    assert csv_of(files)[["n", "planned", "mean"]].to_numpy().tolist() == [[0, 3, None]] * 4
    assert text.count("- missing: ") == 4
    assert "- missing: edge_popup, conv2 x0.25, digits, seeds 1, 2, 3." in text
    assert "nan" not in text.lower().replace("missing", "")


def test_one_seed_has_no_interval(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(), fill(planned, lambda t: {} if t.seed == 2 else None))
    assert [row[2:5] for row in shown(text)[1:]] == [["1 of 3", "82.00", ""]] * 4
    assert csv_of(files)[["n", "mean", "low", "high"]].to_numpy().tolist() == [[1, pytest.approx(0.82), None, None]] * 4
    assert [row[2:] for row in shown(text, 1)[1:]] == [["1 of 3, 1 of 3", "+0.00", "", ""]] * 2


def test_a_sweep_of_one_method_has_no_differences(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(ONE_METHOD), fill(planned))
    assert "Differences" not in text
    assert [file.name for file in files] == ["table.md", "table.csv", "table.tex", "compute.csv", "compute.tex"]
    assert sorted(files) == sorted(files[0].parent.iterdir())
    assert csv_of(files)["method"].tolist() == ["weights", "weights"]


# Differences --------------------------------------------------------------------------------------------------------


UNEVEN = """\
name: uneven
base: {dataset: digits, epochs: 1, global_batch_size: 64}
grid:
  - {model: {name: conv2}, seed: [1, 2], method: [{name: weights, lr: 1}, {name: edge_popup, lr: 1, sparsity: 0.5}]}
  - {model: {name: conv4, width_mult: 0.5}, seed: [1, 2], method: {name: weights, lr: 1}}
  - {model: {name: conv4, width_mult: 0.5}, seed: 1, method: {name: edge_popup, lr: 1, sparsity: 0.5}}
"""


def test_two_networks(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(text=UNEVEN), fill(planned))
    assert [row[:4] for row in shown(text)] == [
        ["model", "width", "method", "n"],
        ["conv2", "1", "weights", "2 of 2"],
        ["conv2", "1", "edge_popup", "2 of 2"],
        ["conv4", "0.5", "weights", "2 of 2"],
        ["conv4", "0.5", "edge_popup", "1 of 1"],
    ]
    assert csv_of(files)["model"].tolist() == ["conv2", "conv2", "conv4", "conv4"]
    assert shown(text, 1) == [
        ["difference", "width", "n", "points", "p", "p (Holm)"],
        ["edge_popup - weights (conv2, digits)", "1", "2 of 2, 2 of 2", "+0.00 ± 3.04", "1.000", "1.000"],
        ["edge_popup - weights (conv4, digits)", "0.5", "1 of 1, 2 of 2", "-0.50", "", ""],
    ]


def test_a_cell_that_is_not_planned_is_empty(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(text=UNEVEN), fill(planned))
    assert not any("nan" in content.lower() for content in (text, *(file.read_text() for file in files)))


# Series -------------------------------------------------------------------------------------------------------------


def test_settings_that_vary_make_series(sweep: Any, fill: Any) -> None:
    _, files = tables.make(planned := sweep(SPARSITIES), fill(planned))
    series = ["weights", "edge_popup sparsity=0.3", "edge_popup sparsity=0.6"]
    assert csv_of(files)["method"].tolist() == series * 2
    pairs = csv_of(files, "differences.csv")[["method", "minus"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [[series[1], series[0]], [series[2], series[0]], [series[2], series[1]]]


def test_settings_that_are_not_set_are_not_told(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD, ("name: conv2,", "name: resnet18, norm_affine: [null, false],"))
    _, files = tables.make(planned, fill(planned))
    assert csv_of(files)["method"].tolist() == ["weights", "weights norm_affine=False"] * 2


@pytest.mark.parametrize(
    ("settings", "told"), [("paper", " (the paper's settings)"), ("tuned", " (tuned settings)"), (None, "")]
)
def test_whose_settings_is_told_over_the_tables(sweep: Any, fill: Any, settings: str | None, told: str) -> None:
    planned = sweep(("name: two_methods\n", f"name: two_methods\n{f'settings: {settings}' if settings else ''}\n"))
    text, _ = tables.make(planned, fill(planned))
    assert text.startswith(f"## two_methods: test/top1, %{told}\n")


# Validation in place of test ----------------------------------------------------------------------------------------


def test_a_sweep_that_evaluates_no_test_compares_validation(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD, NO_TEST)
    assert metric_of(planned) == "val/top1"
    text, files = tables.make(planned, fill(planned))
    assert text.startswith("## two_methods: val/top1, %\n")
    assert csv_of(files)["mean"].tolist() == pytest.approx([0.72, 0.72])
    assert "test images" not in text


@pytest.mark.parametrize("on", [[NO_TEST], []])
def test_a_diverged_trial_enters_no_mean(sweep: Any, fill: Any, on: list[Any]) -> None:
    planned = sweep(ONE_METHOD, *on)
    change = {"status": "diverged", "metrics": {"val/top1": 0.1, "test/top1": 0.1}}
    text, files = tables.make(planned, fill(planned, lambda t: change if t.seed == 2 else {}))
    assert "- diverged: weights, conv2 x0.25, digits, seeds 2." in text
    mean = 0.72 if on else 0.82
    chance = (2 * mean + 0.1) / 3
    rows = [[2, 3, pytest.approx(mean)], [3, 3, pytest.approx(chance)]] * 2  # as it is, and with it at chance
    assert csv_of(files)[["n", "planned", "mean"]].to_numpy().tolist() == rows
    told = [["2 of 3", f"{100 * mean:.2f}"], ["3 of 3", f"{100 * chance:.2f}"]] * 2
    assert [row[2:4] for row in shown(text)[1:]] == told


# The command --------------------------------------------------------------------------------------------------------


def test_the_command_prints_and_writes(sweep: Any, fill: Any, capsys: pytest.CaptureFixture[str]) -> None:
    planned = sweep()
    ledger = fill(planned)
    assert tables_command.main([str(planned.path), "--results", str(ledger.root), "--only", "method=weights"]) == 0
    printed = capsys.readouterr().out
    assert "edge_popup" not in printed
    folder = ledger.root / "reports" / "two_methods-only-method=weights"
    assert sorted(ledger.root.joinpath("reports").iterdir()) == [folder]  # a part of the sweep hides no whole table
    assert printed.startswith((folder / "table.md").read_text())
    names = ("table.md", "table.csv", "table.tex", "compute.csv", "compute.tex")
    assert printed.endswith(f"written: {' '.join(str(folder / name) for name in names)}\n")
    assert csv_of([folder / "table.csv"]).shape == (2, 14)
