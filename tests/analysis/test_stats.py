"""Intervals, against numbers worked out by hand and against scipy's own."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats import Estimate, paired_difference, t_interval


def test_t_interval_by_hand() -> None:
    # Mean 0.93; squares of deviations 0.0009 + 0.0001 + 0.0016; t(0.975, 2) = 4.302653.
    estimate = t_interval([0.90, 0.92, 0.97])
    assert estimate.n == 3
    assert estimate.mean == pytest.approx(0.93)
    assert estimate.half_width == pytest.approx(4.302653 * math.sqrt(0.0026 / 2) / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_t_interval_is_scipys(n: int, confidence: float) -> None:
    values = np.random.default_rng(n).normal(0.9, 0.02, n).tolist()
    estimate = t_interval(values, confidence)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    assert estimate.n == n
    assert (estimate.mean - estimate.half_width, estimate.mean + estimate.half_width) == pytest.approx((low, high))


def test_without_two_values_there_is_no_interval() -> None:
    assert t_interval([0.5]) == Estimate(1, 0.5, None)
    empty = t_interval([])
    assert (empty.n, empty.half_width) == (0, None)
    assert math.isnan(empty.mean)
    assert t_interval([0.5, 0.5]) == Estimate(2, 0.5, 0.0)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(0.9, 0.02, (2000, 4))
    covered = sum(abs(e.mean - 0.9) <= e.half_width for e in map(t_interval, samples.tolist()))
    assert abs(covered - 1900) < 4 * math.sqrt(2000 * 0.95 * 0.05)


def test_paired_difference_by_hand() -> None:
    # Differences 0.02 and 0.04: mean 0.03, standard error 0.01, t(0.975, 1) = 12.706205.
    estimate = paired_difference({1: 0.90, 2: 0.95, 7: 0.1}, {2: 0.91, 1: 0.88, 9: 0.5})
    assert estimate.n == 2
    assert estimate.mean == pytest.approx(0.03)
    assert estimate.half_width == pytest.approx(0.12706205, rel=1e-6)


def test_paired_difference_is_scipys_related_test() -> None:
    rng = np.random.default_rng(1)
    left, right = (dict(enumerate(rng.normal(0.9, 0.02, 5).tolist())) for _ in range(2))
    estimate = paired_difference(left, right, 0.9)
    low, high = stats.ttest_rel(list(left.values()), list(right.values())).confidence_interval(0.9)
    assert (estimate.mean - estimate.half_width, estimate.mean + estimate.half_width) == pytest.approx((low, high))
    assert paired_difference(right, left, 0.9).mean == -estimate.mean


def test_pairs_take_out_what_seeds_share() -> None:
    left = {seed: 0.5 + seed / 10 for seed in range(4)}
    right = {seed: value - 0.01 for seed, value in left.items()}
    assert paired_difference(left, right).half_width < 1e-9 < t_interval(list(left.values())).half_width


@pytest.mark.parametrize(("right", "n"), [({}, 0), ({5: 0.1}, 0), ({1: 0.3}, 1)])
def test_too_few_pairs(right: dict[int, float], n: int) -> None:
    estimate = paired_difference({1: 0.5, 2: 0.6}, right)
    assert (estimate.n, estimate.half_width) == (n, None)
    assert math.isnan(estimate.mean) == (n == 0)
