"""Intervals of cells: over seeds and images where test sets are small, over seeds else."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.fake_results import correctness_fields

from analysis.parts import estimates
from analysis.parts.cells import cells
from analysis.reports import tables
from analysis.statistics.intervals import image_contrast, image_interval, t_interval, welch_difference
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


def without(trial: Trial) -> dict[str, Any]:
    """The same accuracies, in a record that does not say which images were right."""
    return few(trial) | {"test_correct": ""}


def test_few_images_are_a_sample_too(sweep: Any, fill: Any) -> None:
    weights, popup = cells(planned := sweep(*ONE_WIDTH), fill(planned, few))
    assert weights.correct(TOP1)[1].tolist() == [bool(right) for right in RIGHT["weights", 1]]
    estimate = estimates.of_cell(weights, TOP1)
    assert estimate.mean == pytest.approx(0.55)
    assert estimate == image_interval(array("weights"))
    difference = estimates.of_contrast(TOP1, (1.0, popup), (-1.0, weights))
    assert difference.mean == pytest.approx(0.2)
    assert difference == image_contrast((1.0, array("edge_popup")), (-1.0, array("weights")))
    assert estimates.of_cell_on_new_images(weights, TOP1) is None  # these are counted already


def test_without_images_it_is_seeds_alone(sweep: Any, fill: Any) -> None:
    weights, popup = cells(planned := sweep(*ONE_WIDTH), fill(planned, without))
    assert estimates.of_cell(weights, TOP1) == t_interval([0.6, 0.5])
    expected = welch_difference([0.8, 0.7], [0.6, 0.5])
    assert estimates.of_contrast(TOP1, (1.0, popup), (-1.0, weights)).bounds == pytest.approx(expected.bounds)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test set of ten images is a large one."""
    monkeypatch.setattr(estimates, "SMALL_TEST", 10)


@pytest.mark.usefixtures("many")
def test_of_many_images_both_intervals_are_given(sweep: Any, fill: Any) -> None:
    """What counts is that on this test set; on new images the interval is wider, and stands beside it."""
    planned = sweep(*ONE_WIDTH)
    ledger = fill(planned, few)
    weights, popup = cells(planned, ledger)
    assert estimates.of_cell(weights, TOP1) == t_interval([0.6, 0.5])
    assert estimates.of_cell_on_new_images(weights, TOP1) == image_interval(array("weights"))
    new = estimates.of_contrast_on_new_images(TOP1, (1.0, popup), (-1.0, weights))
    assert new == image_contrast((1.0, array("edge_popup")), (-1.0, array("weights")))
    text, files = tables.make(planned, ledger)
    (low, high) = image_interval(array("weights")).bounds or (0, 0)
    assert all(told in text for told in (f"{100 * low:.2f} to {100 * high:.2f} |", "   on new images |"))
    assert f" ± {100 * (new.half_width or 0):.2f} |" in text
    assert "- Intervals, 95 %: Student t over seeds, on this test set.\n- On new images: " in text
    table = pd.read_csv(next(file for file in files if file.name == "table.csv"))
    assert table["new_images_low"].iloc[0] == pytest.approx(low) and table["low"].iloc[0] < low


@pytest.mark.usefixtures("many")
def test_of_many_images_that_records_do_not_have_the_caption_says_so(sweep: Any, fill: Any) -> None:
    planned = sweep(*ONE_WIDTH)
    text, _ = tables.make(planned, fill(planned, without))
    assert "new images |" not in text
    assert "- On this test set alone, as records do not say which of its images were right" in text


def test_images_make_intervals_that_say_more_of_what_is_unknown(sweep: Any, fill: Any) -> None:
    """Two seeds that gained the same 2 images of 10 do not show that the next 10 gain any."""
    planned = sweep(*ONE_WIDTH)
    text, _ = tables.make(planned, fill(planned, few))
    assert "- Intervals, 95 %: for other seeds and other test images (test sets below 5000 images" in text
    assert "- digits: 10 test images, so one image is 10.00 points of one trial." in text
    half = image_contrast((1.0, array("edge_popup")), (-1.0, array("weights"))).half_width
    assert half is not None and half > 0.1
    assert f"+20.00 ± {100 * half:.2f}" in text
    (low, high) = image_interval(array("weights")).bounds or (0, 0)
    assert f"{100 * low:.2f} to {100 * high:.2f}" in text


def test_seeds_of_one_side_alone_are_kept(sweep: Any, fill: Any) -> None:
    planned = sweep(*ONE_WIDTH)
    gone = lambda t: (t.method.name, t.seed) == ("weights", 2)  # noqa: E731
    weights, popup = cells(planned, fill(planned, lambda t: None if gone(t) else few(t)))
    estimate = estimates.of_contrast(TOP1, (1.0, popup), (-1.0, weights))
    assert (estimate.n, estimate.mean, estimate.half_width) == (1, pytest.approx(0.75 - 0.6), None)


def test_a_record_without_its_images_makes_the_cell_one_over_seeds(sweep: Any, fill: Any) -> None:
    planned = sweep(*ONE_WIDTH)
    weights, _ = cells(planned, fill(planned, lambda t: without(t) if t.seed == 1 else few(t)))
    assert weights.correct(TOP1) == {}
    assert estimates.of_cell(weights, TOP1) == t_interval([0.6, 0.5])


def test_cells_without_their_images_are_named_beside_others_that_have_them(sweep: Any, fill: Any) -> None:
    planned, told = sweep(*ONE_WIDTH), "On this test set alone, as records do not say which of its images were right"
    text, _ = tables.make(planned, fill(planned, lambda t: without(t) if t.method.name == "weights" else few(t)))
    (line,) = (line for line in text.splitlines() if told in line)
    assert line.endswith(": weights, conv2 x0.5, digits.")
    assert told not in tables.make(planned, fill(planned, few))[0]


def test_all_right(sweep: Any, fill: Any) -> None:
    planned = sweep(*ONE_WIDTH)
    text, _ = tables.make(planned, fill(planned, lambda t: correctness_fields([True] * 10)))
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|") and " of 2 |" in line]
    told = ["100.00", "100.00", "+0.00"]  # nothing varies: how far it could be from 0, such data do not say
    assert [row[4].strip() for row in rows] == told
    assert "to 100.00" in text and "nan" not in text
