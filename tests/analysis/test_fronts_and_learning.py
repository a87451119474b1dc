"""Pareto fronts against a brute-force reference, and learning curves whose means can be checked by head."""

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from analysis.reports import figures
from suite.config import Trial
from suite.config.sweep_file import Sweep
from suite.records.ledger import Ledger

Points = list[tuple[float, ...]]


def beaten(one: tuple[float, ...], points: Points) -> bool:
    """Another point costs no more and is no worse, and is not the same."""
    return any(cost <= one[0] and accuracy >= one[1] and (cost, accuracy) != one for cost, accuracy in points)


@pytest.mark.parametrize("seed", range(50))
def test_a_front_is_what_no_other_point_beats(seed: int) -> None:
    draw = random.Random(seed)
    points: Points = [(draw.randint(1, 8), draw.randint(0, 8) / 8) for _ in range(draw.randint(0, 20))]
    assert figures.front(points) == sorted({point for point in points if not beaten(point, points)})


def front_lines(figure: Figure) -> list[list[Points]]:
    """By panel: the corners of its fronts."""
    lines = [[line for line in axes.get_lines() if line.get_label() == "front"] for axes in figure.axes]
    return [[[(x, round(y, 9)) for x, y in line.get_xydata().tolist()] for line in own] for own in lines]


def test_the_front_that_is_drawn(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    """Kept are 250 and 500 of dense networks, 125 and 250 of masked ones: of equal cost the better one stays."""
    top1 = {("weights", 0.25): 0.7, ("weights", 0.5): 0.9, ("edge_popup", 0.25): 0.6, ("edge_popup", 0.5): 0.8}
    planned = sweep()
    figures.make(planned, fill(planned, lambda t: {"metrics": {"test/top1": top1[t.method.name, t.model.width_mult]}}))
    kept, state = front_lines(drawn[1])
    assert kept == [[(125, 0.6), (250, 0.8), (500, 0.9)]]
    assert state == [[(12 * 250, 0.7), (12 * 500, 0.9)]]
    assert drawn[1].axes[1].get_xlabel() == "bytes of training state"


def test_data_sets_have_fronts_of_their_own(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep(("dataset: digits, ", ""), ("seed:", "dataset: [digits, mnist]\n  seed:"))
    top1 = {"digits": 0.5, "mnist": 0.9}
    figures.make(planned, fill(planned, lambda t: {"metrics": {"test/top1": top1[t.dataset.name]}}))
    assert front_lines(drawn[1])[0] == [[(125, 0.5)], [(125, 0.9)]]


def test_the_interval_of_a_single_network_is_drawn(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep(("width_mult: [0.5, 0.25]", "width_mult: 0.5"))
    figures.make(planned, fill(planned))
    for line in drawn[0].axes[0].collections:
        (segment,) = line.get_segments()
        assert segment[:, 1].tolist() == pytest.approx([0.7951586, 0.8448414], abs=1e-7)


# Learning -----------------------------------------------------------------------------------------------------------

ONE_CELL = [("    - {name: edge_popup, lr: 0.1, sparsity: 0.5}\n", ""), ("[0.5, 0.25]", "0.5")]


@pytest.fixture
def learnt(sweep: Any, fill: Any, drawn: list[Figure]) -> Callable[..., list[Path]]:
    """Draw a sweep of trials whose validation accuracies by epoch are those given."""

    def learnt(
        by_epoch: Callable[[Trial], list[float | None]], *replaced: tuple[str, str], change: Any = None
    ) -> list[Path]:
        planned: Sweep = sweep(*replaced)
        ledger: Ledger = fill(planned, change or (lambda trial: {}))
        for trial in planned.trials.values():
            lines = "".join(json.dumps({"val/top1": top1}) + "\n" for top1 in by_epoch(trial))
            if (folder := ledger.folder(trial.trial_id)).exists():
                (folder / "metrics.jsonl").write_text(lines)
        return figures.make(planned, ledger)

    return learnt


def line_of(drawn: list[Figure], axes: int = 0, line: int = 0) -> tuple[list[float], list[float]]:
    found = drawn[-1].axes[axes].get_lines()[line]
    return list(found.get_xdata()), list(found.get_ydata())


def test_the_mean_over_seeds_as_far_as_all_went(learnt: Any, drawn: list[Figure]) -> None:
    runs: dict[int, list[float | None]] = {1: [0.1, 0.2, 0.3], 2: [0.3, 0.4], 3: [0.5, 0.6, 0.7, 0.8]}
    files = learnt(lambda t: runs[t.seed], *ONE_CELL)
    assert [file.name for file in files[-2:]] == ["learning.png", "learning.svg"]
    assert line_of(drawn) == ([1, 2], pytest.approx([0.3, 0.4]))
    assert (drawn[-1].axes[0].get_xlabel(), drawn[-1].axes[0].get_title()) == ("epoch", "width 0.5")
    assert drawn[-1].axes[0].get_ylabel() == "validation accuracy, mean over seeds"


def test_a_diverged_trial_is_in_no_curve(learnt: Any, drawn: list[Figure]) -> None:
    diverged = {"status": "diverged", "metrics": {"test/top1": None}}
    learnt(
        lambda t: [0.1] if t.seed == 1 else [0.2 * t.seed, 0.4],
        *ONE_CELL,
        change=lambda t: diverged if t.seed == 1 else {},
    )
    assert line_of(drawn) == ([1, 2], pytest.approx([0.5, 0.4]))


def test_an_epoch_without_a_value_moves_no_other(learnt: Any, drawn: list[Figure]) -> None:
    learnt(lambda t: [0.1, None if t.seed == 2 else 0.2, 0.3], *ONE_CELL)
    epochs, values = line_of(drawn)
    assert epochs == [1, 2, 3]
    assert values == pytest.approx([0.1, float("nan"), 0.3], nan_ok=True)


def test_a_panel_a_width_and_a_file_a_network(learnt: Any, drawn: list[Figure]) -> None:
    files = learnt(lambda t: [t.model.width_mult], ("name: conv2", "name: [conv2, conv4]"))
    names = [file.name for file in files if file.name.startswith("learning")]
    assert names == [
        f"learning_digits_{net}.{kind}" for net, kind in itertools.product(("conv2", "conv4"), ("png", "svg"))
    ]
    assert [line_of(drawn, i, j) for i in (0, 1) for j in (0, 1)] == [([1], [w]) for w in (0.25, 0.25, 0.5, 0.5)]


def test_of_many_widths_the_ends_are_shown(learnt: Any, drawn: list[Figure]) -> None:
    learnt(lambda t: [0.5], *ONE_CELL[:1], ("[0.5, 0.25]", "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]"), ("[1, 2, 3]", "1"))
    assert [axes.get_title() for axes in drawn[-1].axes] == [f"width {width}" for width in (0.1, 0.3, 0.5, 0.7)]


def test_old_figures_go(learnt: Any, sweep: Any) -> None:
    files = learnt(lambda t: [0.5], *ONE_CELL)
    folder = files[0].parent
    assert {file.name for file in folder.iterdir()} == {file.name for file in files}
    (folder / "learning_rates.csv").touch()
    left = figures.make(sweep(*ONE_CELL, ("seed: [1, 2, 3]", "seed: [7, 8]")), Ledger(folder.parents[1]))
    assert {file.name for file in folder.iterdir()} == {*(file.name for file in left), "learning_rates.csv"}
    assert [file.name for file in left] == ["figure.png", "figure.svg"]  # of these seeds nothing is done
