"""Intervals of cells: over seeds and images where test sets are small, over seeds else."""

from typing import Any

import numpy as np
import pytest
from support.fake_results import correctness_fields

from analysis.parts import estimates
from analysis.parts.cells import cells
from analysis.reports import tables
from analysis.statistics.intervals import image_interval, paired_image_interval, t_interval
from suite.config import Trial

TOP1 = "test/top1"
ONE_WIDTH = [("width_mult: [0.5, 0.25]", "width_mult: 0.5"), ("[1, 2, 3]", "[2, 1]")]
RIGHT = {  # of 10 images
    ("weights", 1): [1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
    ("weights", 2): [1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
    ("edge_popup", 1): [1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
    ("edge_popup", 2): [1, 1, 1, 1, 1, 1, 0, 0, 0, 1],
}


def array(method: str) -> Any:
    return np.array([RIGHT[method, seed] for seed in (1, 2)], dtype=bool)


def few(trial: Trial) -> dict[str, Any]:
    return correctness_fields([bool(right) for right in RIGHT[trial.method.name, trial.seed]])


def many(trial: Trial) -> dict[str, Any]:
    """The same accuracies, of a test set whose images are not a sample."""
    return few(trial) | {"test_correct": ""}


def test_few_images_are_a_sample_too(sweep: Any, fill: Any) -> None:
    weights, popup = cells(planned := sweep(*ONE_WIDTH), fill(planned, few))
    assert weights.correct(TOP1)[1].tolist() == [bool(right) for right in RIGHT["weights", 1]]
    estimate = estimates.of_cell(weights, TOP1)
    assert estimate.mean == pytest.approx(0.55)
    assert estimate == image_interval(array("weights"))
    difference = estimates.of_difference(popup, weights, TOP1)  # gains of 2 images of 10, and of 2
    assert difference.mean == pytest.approx(0.2)
    assert difference == paired_image_interval(array("edge_popup"), array("weights"))


def test_many_images_are_not(sweep: Any, fill: Any) -> None:
    weights, popup = cells(planned := sweep(*ONE_WIDTH), fill(planned, many))
    assert estimates.of_cell(weights, TOP1) == t_interval([0.6, 0.5])
    assert estimates.of_difference(popup, weights, TOP1).half_width == pytest.approx(0, abs=1e-12)  # + 0.2 and + 0.2


def test_images_make_intervals_that_say_more_of_what_is_unknown(sweep: Any, fill: Any) -> None:
    """Two seeds that gained the same 2 images of 10 do not show that the next 10 gain any."""
    planned = sweep(*ONE_WIDTH)
    text, _ = tables.make(planned, fill(planned, few))
    assert "- Intervals: over seeds and test images, where those are below 5000, 95 %" in text
    assert "- digits: 10 test images, so one image is 10.00 points of one trial." in text
    half = paired_image_interval(array("edge_popup"), array("weights")).half_width
    assert half is not None and half > 0.1
    assert f"+20.00 ± {100 * half:.2f}" in text
    (low, high) = image_interval(array("weights")).bounds or (0, 0)
    assert f"{100 * low:.2f} to {100 * high:.2f}" in text


def test_seeds_in_common_are_paired(sweep: Any, fill: Any) -> None:
    planned = sweep(*ONE_WIDTH)
    weights, popup = cells(
        planned, fill(planned, lambda t: None if (t.method.name, t.seed) == ("weights", 2) else few(t))
    )
    estimate = estimates.of_difference(popup, weights, TOP1)
    assert (estimate.n, estimate.mean, estimate.half_width) == (1, pytest.approx(0.2), None)


def test_a_record_without_its_images_makes_the_cell_one_over_seeds(sweep: Any, fill: Any) -> None:
    planned = sweep(*ONE_WIDTH)
    weights, _ = cells(planned, fill(planned, lambda t: many(t) if t.seed == 1 else few(t)))
    assert weights.correct(TOP1) == {}
    assert estimates.of_cell(weights, TOP1) == t_interval([0.6, 0.5])


def test_cells_without_their_images_are_named_beside_others_that_have_them(sweep: Any, fill: Any) -> None:
    planned, told = sweep(*ONE_WIDTH), "Over seeds alone, as records do not say which images were right: "
    text, _ = tables.make(planned, fill(planned, lambda t: many(t) if t.method.name == "weights" else few(t)))
    assert f"- {told}weights, conv2 x0.5, digits.\n" in text
    for answer in (few, many):
        assert told not in tables.make(planned, fill(planned, answer))[0]


def test_all_right(sweep: Any, fill: Any) -> None:
    planned = sweep(*ONE_WIDTH)
    text, _ = tables.make(planned, fill(planned, lambda t: correctness_fields([True] * 10)))
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|") and " of 2 |" in line]
    assert [row[4].strip() for row in rows] == ["100.00", "100.00"]
    assert "to 100.00" in text and "nan" not in text
    assert "+0.00 |" in text  # nothing varies: how far it could be from 0, such data do not tell
