"""Crossings and their ratios, against numbers worked out by hand, Welch's interval and scipy's isotonic regression."""

import math

import numpy as np
import pytest
from scipy import interpolate, optimize, stats

from analysis.statistics import monte_carlo
from analysis.statistics.matching import Match, Point, Ratio, common_range, match, match_ratio
from analysis.statistics.monotone_curves import crossings, isotonic
from suite.config import InputError


def line(*accuracies: float, first: float = 1.0, n: int = 1, spread: float = 0.0) -> list[Point]:
    """Costs ten times one another; ``n`` seeds evenly spread."""
    spreads = spread * np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
    return [Point(first * 10**i, (mean + spreads).tolist()) for i, mean in enumerate(accuracies)]


@pytest.mark.parametrize(
    ("accuracies", "target", "cost"),
    [
        ((0.8, 0.9), 0.85, math.sqrt(10)),  # half way in the logarithm
        ((0.8, 0.84, 0.9), 0.84, 10.0),
        ((0.7, 0.8, 0.8, 0.9), 0.80, 10.0),  # a plateau: its left end
        ((0.7, 0.9, 0.8, 0.95), 0.85, 10**1.5),  # .9 and .8 become one point, .85, half way between them
        ((0.9, 0.8, 0.95), 0.85, 10**0.5),  # the first point
        ((0.7, 0.9, 0.88), 0.89, 10**1.5),  # the last point
    ],
)
def test_crossing_by_hand(accuracies: tuple[float, ...], target: float, cost: float) -> None:
    found = match(line(*accuracies), target)
    assert found == Match(pytest.approx(cost), None, None, None, None, False)


def test_order_of_points_and_empty_cells_do_not_matter() -> None:
    points = [*line(0.8, 0.86, 0.9), Point(5.0, [])]
    assert match(points[::-1], 0.85) == match(points[:3], 0.85)
    assert match(points[2:], 0.85) is None
    assert match_ratio(points, points[2:], 0.85) is None


def test_a_target_beyond_what_was_tried() -> None:
    assert match(line(0.8, 0.9), 0.95) == Match(None, None, None, None, None, False)
    assert match(line(0.8, 0.9), 0.75) == Match(1.0, None, None, None, None, True)
    assert match(line(0.9, 0.8), 0.95) == Match(None, None, None, None, None, False)
    assert match(line(0.9, 0.8), 0.75).at_most
    assert type(match(line(0.8, 0.9), 0.75).at_most) is bool


def test_intervals_beyond_what_was_tried_say_so() -> None:
    points = line(0.8, 0.9, n=3, spread=0.001)
    assert match(points, 0.95) == Match(None, pytest.approx(10), None, 0.0, 1.0, False)  # above the widest, 10
    assert match(points, 0.75) == Match(
        1.0, None, pytest.approx(1), pytest.approx(1, abs=1e-3), 0.0, True
    )  # at most the narrowest, 1
    at_the_widest = match(points, [0.8999, 0.90, 0.9002])
    assert at_the_widest.high is None and 0.4 < at_the_widest.above < 0.7 and at_the_widest.below == 0
    assert 1 < at_the_widest.low < 10


def test_single_seeds_have_no_interval() -> None:
    several, single = line(0.8, 0.9, n=3, spread=0.01), line(0.8, 0.9)
    for found in (match(single, [0.84, 0.86]), match([several[0], single[1]], 0.85), match(several, [0.85])):
        assert found == Match(pytest.approx(math.sqrt(10)), None, None, None, None, False)
    assert match_ratio(several, single, 0.85) == Ratio(pytest.approx(1), None, None, None, None, False, False)
    assert match(several, 0.85).low is not None


def test_seeds_without_spread_have_no_interval() -> None:
    dead = [Point(1.0, [0.1, 0.1, 0.1]), *line(0.8, 0.9, first=10.0, n=3, spread=0.01)]
    found = match(dead, 0.85)
    assert 10 < found.cost < 100 and (found.low, found.high, found.below, found.above) == (None,) * 4
    assert match_ratio(dead, dead[1:], 0.85).below is None


def test_where_only_the_target_varies_it_is_students_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracies .85 +- 4.302653 * .01 / sqrt(3); a cost of 10 for each .1 above .8, and of 10 more for the next."""
    monkeypatch.setattr(monte_carlo, "DRAWS", 400_000)
    found = match(line(0.8, 0.9, n=2, spread=1e-9), [0.84, 0.85, 0.86])
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert math.log10(found.low) == pytest.approx((0.05 - half) / 0.1, abs=0.01)
    assert math.log10(found.high) == pytest.approx((0.05 + half) / 0.1, abs=0.01)


def test_where_cell_and_target_vary_it_is_welchs_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monte_carlo, "DRAWS", 400_000)
    target, cell = [0.8, 0.80003, 0.80001, 0.79998], [0.8, 0.80002, 0.79999]
    exact = 0.1 * np.array([-1e-8, 1e-8])  # costs ten times one another, .1 apart: near a cell the curve has that slope
    points = [Point(1.0, 0.7 + exact), Point(10.0, cell), Point(100.0, 0.9 + exact)]
    found = match(points, target)
    welch = stats.ttest_ind(target, cell, equal_var=False).confidence_interval()
    ends = [(math.log10(end) - 1) * 0.1 for end in (found.low, found.high)]
    assert ends == pytest.approx([welch.low, welch.high], abs=0.01 * (welch.high - welch.low))


def test_a_curve_that_saturates_is_followed() -> None:
    """Error falls as cost to the power -1/4, costs are four times one another: lines are up to 11 % too high."""
    costs = 4.0 ** np.arange(4)
    points = [Point(cost, [1 - 0.2 * cost**-0.25]) for cost in costs]
    truths = np.geomspace(1.01, 63, 50)
    bias = [match(points, 1 - 0.2 * cost**-0.25).cost / cost for cost in truths]
    assert min(bias) > 0.97 and max(bias) < 1.03


def test_isotonic_regression_is_scipys() -> None:
    random = np.random.default_rng(0)
    for points in range(2, 9):
        means, weights = random.normal(size=(points, 20)), random.integers(1, 6, points).astype(float)
        expected = [optimize.isotonic_regression(column, weights=weights).x for column in means.T]
        np.testing.assert_allclose(isotonic(means, weights), np.transpose(expected), atol=1e-12)


def test_the_curve_is_scipys_pchip_of_each_draw() -> None:
    """All draws at once, whatever is pooled in each, and one after the other."""
    random = np.random.default_rng(1)
    logs, weights, means = np.sort(random.normal(size=5)), np.array([3.0, 3, 2, 3, 5]), random.normal(size=(5, 200))
    low, high = crossings(logs, weights, means, targets := random.normal(size=200))
    for i, (column, target) in enumerate(zip(means.T, targets, strict=True)):
        fit = optimize.isotonic_regression(column, weights=weights)
        x = np.add.reduceat(weights * logs, fit.blocks[:-1]) / np.add.reduceat(weights, fit.blocks[:-1])
        y = fit.x[fit.blocks[:-1]]
        if not y[0] <= target <= y[-1]:
            assert (low[i], high[i]) == pytest.approx((-math.inf, x[0]) if target < y[0] else (x[-1], math.inf))
        else:
            assert (
                low[i]
                == high[i]
                == pytest.approx(interpolate.PchipInterpolator(x, y).solve(target, extrapolate=False)[0], abs=1e-9)
            )


def test_the_range_that_two_curves_share() -> None:
    assert common_range(line(0.8, 0.9), line(0.85, 0.95)) == pytest.approx((0.85, 0.9))
    assert common_range(line(0.8, 0.9, 0.86), line(0.7, 0.95)) == pytest.approx((0.8, 0.88))  # pooled at the top
    assert common_range(line(0.8, 0.9), line(0.9, 0.95)) is None
    assert common_range(line(0.8, 0.9), line(0.85)) is None


def test_ratio_by_hand() -> None:
    # .85 at 10 ** .5, against 100 * 10 ** .5 of a curve that is the same at a hundred times the cost.
    assert match_ratio(line(0.8, 0.9), line(0.8, 0.9, first=100.0), 0.85).value == pytest.approx(0.01)
    # .85 at 10 ** .5, against 10 ** .25 of a curve that starts at .825 and rises as fast.
    found = match_ratio(line(0.8, 0.9), line(0.825, 0.925), 0.85)
    assert found == Ratio(pytest.approx(10**0.25), None, None, None, None, False, False)


def test_both_curves_meet_the_same_draws_of_the_target() -> None:
    """Exact curves that rise as fast: their ratio does not depend on the target."""
    found = match_ratio(
        line(0.8, 0.9, 1.0, n=2, spread=1e-8), line(0.82, 0.92, 1.02, n=2, spread=1e-8), [0.88, 0.89, 0.9]
    )
    assert (found.low, found.value, found.high) == pytest.approx((10**0.2, 10**0.2, 10**0.2), rel=1e-5)


REACHED, MISSED, AT_ONCE = (line(*ends, n=3, spread=1e-4) for ends in ((0.8, 0.9), (0.7, 0.8), (0.86, 0.9)))
HALF = math.sqrt(10)  # what the first needs for .85


@pytest.mark.parametrize(
    ("one", "other", "value", "at_most", "at_least"),
    [
        (MISSED, REACHED, 10 / HALF, False, True),  # more than its widest, 10
        (REACHED, MISSED, HALF / 10, True, False),
        (AT_ONCE, REACHED, 1 / HALF, True, False),  # no more than its narrowest, 1
        (REACHED, AT_ONCE, HALF / 1, False, True),
        (MISSED, AT_ONCE, 10 / 1, False, True),
        (AT_ONCE, MISSED, 1 / 10, True, False),
        (MISSED, MISSED, None, False, False),
        (AT_ONCE, AT_ONCE, None, False, False),
    ],
)
def test_ratios_that_are_bounds(
    one: list[Point], other: list[Point], value: float | None, at_most: bool, at_least: bool
) -> None:
    """The end on the open side is not known; the other is, and near the value."""
    found = match_ratio(one, other, 0.85)
    assert found.value == pytest.approx(value)
    assert (found.at_most, found.at_least) == (at_most, at_least)
    assert (found.below, found.above) == (float(value is None or at_most), float(value is None or at_least))
    assert found.low == (pytest.approx(value, rel=0.05) if at_least else None)
    assert found.high == (pytest.approx(value, rel=0.05) if at_most else None)


def test_a_ratio_and_its_inverse() -> None:
    one, other = line(0.8, 0.86, 0.9, n=4, spread=0.002), line(0.78, 0.85, 0.9, n=4, spread=0.002)
    found, inverse = match_ratio(one, other, 0.84), match_ratio(other, one, 0.84)
    assert found.value == pytest.approx(1 / inverse.value)
    assert math.log(found.low) == pytest.approx(-math.log(inverse.high), rel=0.1)
    assert match_ratio(one, other, 0.84) == found  # same seed, same draws
    assert match_ratio(one, other, 0.84, seed=1) != found


@pytest.mark.parametrize(
    ("points", "target", "problem"),
    [
        ([Point(0.0, [0.5]), Point(1.0, [0.6])], 0.5, "costs: 0.0, 1.0: must be different positive numbers"),
        ([Point(2.0, [0.5]), Point(2.0, [0.6])], 0.5, "costs: 2.0, 2.0: must be different positive numbers"),
        ([Point(1.0, [math.nan]), Point(2.0, [0.6])], 0.5, "accuracies at cost 1: .*nan.*: must be finite numbers"),
        (line(0.5, 0.6), [], "target: .*must be finite numbers, at least one"),
        (line(0.5, 0.6), math.inf, "target: inf: must be finite numbers"),
    ],
)
def test_mistakes(points: list[Point], target: list[float] | float, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        match(points, target)
    with pytest.raises(InputError, match=problem):
        match_ratio(line(0.5, 0.6), points, target)
