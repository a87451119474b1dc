"""Intervals, against numbers worked out by hand and against scipy's own."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals import (
    Estimate,
    contrast,
    holm,
    image_contrast,
    image_interval,
    t_interval,
    welch_difference,
)
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


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3])
def test_seeds_without_spread_have_no_interval(value: float) -> None:
    """Three dead networks at 10 % do not say that a fourth one is dead: nothing with them is significant."""
    alive, dead = [0.84, 0.85, 0.87], [value, (value + 0.1) - 0.1, value]
    assert t_interval(dead) == Estimate(3, pytest.approx(value), None)
    for estimate in (welch_difference(alive, dead), welch_difference(dead, dead)):
        assert (estimate.half_width, estimate.p_value, estimate.bounds) == (None, None, None)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_welch_difference_is_scipys(confidence: float) -> None:
    """Of different numbers of seeds, which spread differently: none is left out."""
    rng = np.random.default_rng(1)
    left, right = rng.normal(0.9, 0.02, 5).tolist(), rng.normal(0.88, 0.005, 8).tolist()
    estimate = welch_difference(left, right, confidence)
    test = stats.ttest_ind(left, right, equal_var=False)
    low, high = test.confidence_interval(confidence)
    assert (estimate.mean - estimate.half_width, estimate.mean + estimate.half_width) == pytest.approx((low, high))
    assert estimate.p_value == pytest.approx(test.pvalue)
    assert (estimate.n, welch_difference(right, left).mean) == (5, -estimate.mean)


def test_a_contrast_of_four_by_hand() -> None:
    """Variances of means 1 and 4, each twice, with 1 and 2 degrees of freedom: 10 and 100 / (1 + 1 + 16 / 2 * 2)."""
    two, three = [-1.0, 1.0], [-math.sqrt(12), 0.0, math.sqrt(12)]
    estimate = contrast((1.0, two), (-1.0, three), (-1.0, two), (1.0, three))
    assert (estimate.n, estimate.mean) == (2, pytest.approx(0))
    assert estimate.half_width == pytest.approx(stats.t.ppf(0.975, 100 / 18) * math.sqrt(10), rel=1e-6)


def test_bounds_are_those_of_accuracies_and_of_differences() -> None:
    assert t_interval([0.9, 1.0]).bounds == (pytest.approx(0.95 - 0.6353102), 1.0)
    assert t_interval([0.5]).bounds is None
    low, high = welch_difference([0.90, 0.95], [0.92, 0.99]).bounds
    assert -1.0 < low < -0.03 < high < 1.0
    assert welch_difference([0.0, 0.9], [0.9, 0.0]).bounds == (-1.0, 1.0)


@pytest.mark.parametrize(("right", "n"), [([], 0), ([0.3], 1)])
def test_too_few_seeds(right: list[float], n: int) -> None:
    estimate = welch_difference([0.5, 0.6], right)
    assert (estimate.n, estimate.half_width, estimate.p_value) == (n, None, None)
    assert math.isnan(estimate.mean) == (n == 0)


def test_holm_by_hand() -> None:
    """Smallest first: 4 x .01, 3 x .02 (less than .04 is never adjusted to), 2 x .04, and one that is not there yet."""
    assert holm([0.04, None, 0.01, 0.012]) == [pytest.approx(0.08), None, pytest.approx(0.04), pytest.approx(0.04)]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


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


def test_image_contrast_by_hand() -> None:
    """Seeds .75 .5 and .25 .5, images 1 .5 1 0 less 0 .5 1 0.

    Of each mean, of seeds .03125 / 2, of the rest .125 / 8: so .03125 of seeds. By image 1 0 0 0: variance .25 / 4,
    less the rest .03125: .03125 of images.
    """
    right = np.array([[0, 0, 1, 0], [0, 1, 1, 0]], dtype=bool)
    estimate = image_contrast((1.0, TWO_BY_FOUR), (-1.0, right))
    variance = 0.03125 + (0.0625 - 0.03125)
    quantile = stats.t.ppf(0.975, variance**2 / (2 * 0.015625**2))
    assert (estimate.n, estimate.mean) == (2, 0.25)
    assert estimate.half_width == pytest.approx(quantile * math.sqrt(variance), rel=1e-6)


def test_seeds_of_two_methods_make_no_pairs() -> None:
    """The order of seeds, and how many there are, does not matter; the images are the same ones."""
    random = np.random.default_rng(0)
    images = random.random(360) < 0.8
    left, right = images & (random.random((5, 360)) < 0.99), images & (random.random((4, 360)) < 0.98)
    estimate = image_contrast((1.0, left), (-1.0, right))
    other = image_contrast((1.0, left[::-1]), (-1.0, right))
    assert (other.half_width, other.p_value) == pytest.approx((estimate.half_width, estimate.p_value))
    assert 2 * estimate.half_width < image_interval(left).half_width  # images are taken out


def test_one_seed_has_no_interval_over_images() -> None:
    assert image_interval(TWO_BY_FOUR[:1]) == Estimate(1, 0.75, None)
    assert image_contrast((1.0, TWO_BY_FOUR), (-1.0, TWO_BY_FOUR[1:])) == Estimate(1, 0.125, None)


def test_seeds_that_are_right_on_the_same_images_have_no_interval() -> None:
    """Dead networks call all images a nine."""
    dead = np.tile(np.arange(4) == 3, (3, 1))
    assert image_contrast((1.0, TWO_BY_FOUR), (-1.0, dead)) == Estimate(2, 0.375, None)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (2, 1), (2, 2, 2)])
def test_no_matrix_of_seeds_and_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"correct: shape .* must be \(seeds, images\)"):
        image_interval(np.ones(shape, dtype=bool))


def test_a_difference_of_other_images() -> None:
    with pytest.raises(InputError, match=r"\(2, 4\) and \(2, 3\): must be the same images"):
        image_contrast((1.0, TWO_BY_FOUR), (-1.0, TWO_BY_FOUR[:, 1:]))
