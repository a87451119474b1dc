"""Intervals, against numbers worked out by hand and against scipy's own."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals import Estimate, image_interval, paired_difference, paired_image_interval, t_interval
from suite.config import InputError


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


def test_bounds_are_those_of_accuracies_and_of_differences() -> None:
    assert t_interval([0.9, 1.0]).bounds == (pytest.approx(0.95 - 0.6353102), 1.0)
    assert t_interval([0.5]).bounds is None
    low, high = paired_difference({1: 0.90, 2: 0.95}, {1: 0.92, 2: 0.99}).bounds  # -0.03 +- 0.12706205
    assert (low, high) == pytest.approx((-0.15706205, 0.09706205), rel=1e-6)
    assert paired_difference({1: 0.0, 2: 0.9}, {1: 0.9, 2: 0.0}).bounds == (-1.0, 1.0)


def test_pairs_take_out_what_seeds_share() -> None:
    left = {seed: 0.5 + seed / 10 for seed in range(4)}
    right = {seed: value - 0.01 for seed, value in left.items()}
    assert paired_difference(left, right).half_width < 1e-9 < t_interval(list(left.values())).half_width


@pytest.mark.parametrize(("right", "n"), [({}, 0), ({5: 0.1}, 0), ({1: 0.3}, 1)])
def test_too_few_pairs(right: dict[int, float], n: int) -> None:
    estimate = paired_difference({1: 0.5, 2: 0.6}, right)
    assert (estimate.n, estimate.half_width) == (n, None)
    assert math.isnan(estimate.mean) == (n == 0)


TWO_BY_FOUR = np.array([[1, 1, 1, 0], [1, 0, 1, 0]], dtype=bool)


def test_image_interval_by_hand() -> None:
    """Seeds .75 and .5, images 1 .5 1 0, mean .625.

    Mean squares: seeds 4 * .03125 = .125; images 2 * .6875 / 3 = .458333; the rest (four residuals of +-.125 on images
    1, 3 and 4 each, two of .375 on image 2: 6 / 64 + 2 * 9 / 64) / 3 = .125. Variance (.125 + .333333) / 8 = .0572917.
    """
    estimate = image_interval(TWO_BY_FOUR)
    quantile = stats.t.ppf(0.975, (0.458333333 / 0.125) ** 2)
    count = 0.625 * 0.375 / 0.0572916667
    centre = (0.625 + quantile**2 / (2 * count)) / (1 + quantile**2 / count)
    assert (estimate.n, estimate.mean) == (2, 0.625)
    assert estimate.bounds == pytest.approx((centre - estimate.half_width, centre + estimate.half_width), rel=1e-6)
    for end in estimate.bounds:  # Wilson's ends: as far from the mean as their own standard error times the quantile
        assert abs(end - 0.625) == pytest.approx(quantile * math.sqrt(end * (1 - end) / count), rel=1e-6)


def test_seeds_that_agree_are_one_sample_of_images() -> None:
    """Then nothing is left but images, and the interval is Wilson's of scipy but for its variance with n - 1."""
    row = np.arange(200) < 180
    low, high = image_interval(np.array([row, row, row])).bounds
    expected = stats.binomtest(180, 200).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=2e-4)


def test_without_a_mistake_the_images_of_one_seed_are_counted() -> None:
    low, high = image_interval(np.ones((3, 96), dtype=bool)).bounds
    assert (low, high) == (pytest.approx(1 / (1 + 1.959964**2 / 96)), 1.0)  # Wilson's: n / (n + z squared)


def test_paired_image_interval_by_hand() -> None:
    """Differences 0 0 0 -1 and 0 -1 0 -1: as :func:`test_image_interval_by_hand`, turned round."""
    estimate = paired_image_interval(TWO_BY_FOUR, np.ones((2, 4), dtype=bool))
    quantile = stats.t.ppf(0.975, (0.458333333 / 0.125) ** 2)
    assert (estimate.n, estimate.mean) == (2, -0.375)
    assert estimate.half_width == pytest.approx(quantile * math.sqrt(0.0572916667), rel=1e-6)
    assert estimate.bounds == pytest.approx((-0.375 - estimate.half_width, -0.375 + estimate.half_width))


def test_pairs_take_out_what_images_share() -> None:
    random = np.random.default_rng(0)
    left = (random.random(360) < 0.8) & (random.random((5, 360)) < 0.99)
    right = left & (random.random((5, 360)) < 0.99)
    assert 3 * paired_image_interval(left, right).half_width < image_interval(left).half_width


def test_one_seed_has_no_interval_over_images() -> None:
    assert image_interval(TWO_BY_FOUR[:1]) == Estimate(1, 0.75, None)
    assert paired_image_interval(TWO_BY_FOUR[:1], TWO_BY_FOUR[1:]) == Estimate(1, 0.25, None)
    assert paired_image_interval(TWO_BY_FOUR, TWO_BY_FOUR) == Estimate(2, 0.0, None)  # nothing varies


@pytest.mark.parametrize("shape", [(4,), (0, 4), (2, 1), (2, 2, 2)])
def test_no_matrix_of_seeds_and_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"correct: shape .* must be \(seeds, images\)"):
        image_interval(np.ones(shape, dtype=bool))


def test_pairs_of_other_images() -> None:
    with pytest.raises(InputError, match=r"\(2, 4\) and \(2, 3\): must be the same seeds and images"):
        paired_image_interval(TWO_BY_FOUR, TWO_BY_FOUR[:, 1:])
