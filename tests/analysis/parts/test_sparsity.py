"""Accuracy against sparsity: when it is told, the numbers, and the lines."""

from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.reports import figures, tables
from suite.config import Trial

VARIED = ("sparsity: 0.5", "sparsity: [0.3, 0.6]")
TWO_NETS = """\
name: two_nets
base: {dataset: digits, epochs: 1, global_batch_size: 64}
grid:
  - {model: {name: conv2}, seed: [1, 2], method: {name: edge_popup, lr: 1, sparsity: 0.5}}
  - {model: {name: conv4}, seed: [1, 2], method: {name: edge_popup, lr: 1, sparsity: 0.6}}
"""


def by_sparsity(trial: Trial) -> dict[str, Any]:
    """Seeds 1, 2, 3 lie 1 point apart, about 0.9, or, of masked networks, about 1 less their sparsity."""
    mean = 0.9 if trial.method.name == "weights" else 1 - trial.method.sparsity
    return {"metrics": {"test/top1": mean + 0.01 * (trial.seed - 2)}}


def test_a_row_a_sparsity_and_a_column_a_method(sweep: Any, fill: Any) -> None:
    """Standard error 0.01 / sqrt(3), t(0.975, 2) = 4.302653: 2.48 points on each side."""
    text, files = tables.make(planned := sweep(VARIED), fill(planned, by_sparsity))
    block = text.partition("### Accuracy against sparsity, %\n\n")[2].partition("\n\n")[0]
    header, _, *rows = [[each.strip() for each in line.strip("|").split("|")] for line in block.splitlines()]
    assert header == ["width", "sparsity", "edge_popup"]
    assert rows == [
        [width, *row]
        for width in ("0.25", "0.5")
        for row in (["0.3", "70.00 (67.52 to 72.48)"], ["0.6", "40.00 (37.52 to 42.48)"])
    ]
    table = pd.read_csv(next(file for file in files if file.name == "sparsity.csv"))
    assert set(table["method"]) == {"edge_popup"} and set(table["n"]) == {3} and set(table["seeds"]) == {"1 2 3"}
    assert table["mean"].tolist() == pytest.approx([0.7, 0.4] * 2)
    assert table["low"].tolist() == pytest.approx([0.6752, 0.3752] * 2, abs=1e-4)


def test_what_is_missing_is_told(sweep: Any, fill: Any) -> None:
    planned = sweep(VARIED)
    text, _ = tables.make(planned, fill(planned, lambda t: None if t.model.width_mult == 0.5 else by_sparsity(t)))
    block = text.partition("### Accuracy against sparsity, %\n\n")[2].partition("\n\n")[0]
    assert [line.split("|")[3].strip() for line in block.splitlines()[4:]] == ["missing", "missing"]


def test_one_sparsity_a_network_is_no_curve(sweep: Any, fill: Any) -> None:
    """As in the paper: Conv6 at 0.5, ResNets at 0.6."""
    planned = sweep(text=TWO_NETS)
    ledger = fill(planned)
    text, _ = tables.make(planned, ledger)
    assert "against sparsity" not in text
    assert "sparsity.png" not in {file.name for file in figures.make(planned, ledger)}


def test_lines_of_methods_and_a_level_for_dense(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep(VARIED)
    figures.make(planned, fill(planned, by_sparsity))
    (figure,) = (each for each in drawn if each.axes[0].get_xlabel().startswith("share of weights removed"))
    assert [axes.get_title() for axes in figure.axes] == ["width 0.25", "width 0.5"]
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert lines.keys() == {"dense (SGD)", "edge-popup"}
        assert lines["edge-popup"].get_xdata().tolist() == [0.3, 0.6]
        assert lines["edge-popup"].get_ydata().tolist() == pytest.approx([0.7, 0.4])
        assert list(lines["dense (SGD)"].get_ydata()) == pytest.approx([0.9, 0.9])


def test_a_curve_looks_alike_at_every_width(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    """Though the first network lacks one of them: names and looks do not hang on what else is there."""
    planned = sweep(VARIED, ("name: conv2", "name: [conv2, conv4]"))
    gone = lambda t: t.model.name == "conv2" and t.model.width_mult == 0.25  # noqa: E731
    figures.make(planned, fill(planned, lambda t: None if gone(t) else by_sparsity(t)))
    (figure,) = (each for each in drawn if each.axes[0].get_xlabel().startswith("share of weights removed"))
    lines = [axes.get_lines() for axes in figure.axes]
    looks = [{line.get_label(): (line.get_linestyle(), line.get_fillstyle()) for line in own} for own in lines]
    assert looks[0].items() < looks[1].items() and len(looks[0]) == 2 and len(looks[1]) == 4


def test_tables_leave_the_figure_alone_and_take_old_tables_away(sweep: Any, fill: Any) -> None:
    planned = sweep(VARIED)
    ledger = fill(planned, by_sparsity)
    drawn, (_, files) = figures.make(planned, ledger), tables.make(planned, ledger)
    folder = files[0].parent
    assert {"sparsity.png", "sparsity.svg", "sparsity.csv", "sparsity.tex"} <= {file.name for file in folder.iterdir()}
    assert all(file.exists() for file in drawn)
    planned = sweep()  # of the same name, without sparsities
    fill(planned)
    tables.make(planned, ledger)
    assert {file.name for file in folder.glob("sparsity.*")} == {"sparsity.png", "sparsity.svg"}
    figures.make(planned, ledger)
    assert not list(folder.glob("sparsity.*"))
