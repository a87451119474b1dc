"""Closed forms against Monte Carlo and numerical integrals."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from analysis.theory import exact_probabilities, masks


@pytest.mark.parametrize("weight", [0.0, 0.3, -0.8, 1.0])
@pytest.mark.parametrize("error", [0.01, 0.3, 1.5])
def test_product_probability_is_an_integral(weight: float, error: float) -> None:
    # Given v, u v lies in a band of length 2 error / |v|, cut at +-1.
    def given(v: float) -> float:
        low, high = sorted(((weight - error) / v, (weight + error) / v))
        return max(min(high, 1) - max(low, -1), 0.0) / 2

    edges = sorted({min(abs(weight + side * error), 1.0) for side in (-1, 1)} | {0.0, 1.0})
    parts = [integrate.quad(given, a, b, epsabs=1e-12)[0] for a, b in itertools.pairwise(edges) if b > a]
    assert float(exact_probabilities.product_probability(weight, error)) == pytest.approx(sum(parts), abs=1e-7)


def test_the_law_of_the_closest_unit_is_that_of_drawn_units() -> None:
    wanted, units, trials = np.array([0.05, -0.5, 1.0]), 30, 3000
    by_law = exact_probabilities.closest_errors(wanted, units, np.random.default_rng(0).random((trials, 3, 2)))
    random = np.random.default_rng(1)
    u, v = np.maximum(random.uniform(-1, 1, (trials, units, 3)), 0), random.uniform(-1, 1, (trials, units, 3))
    off = np.concatenate([u * v, np.zeros((trials, 1, 3))], axis=1) - wanted
    drawn = np.take_along_axis(off, np.abs(off).argmin(axis=1)[:, None], axis=1)[:, 0]
    for place in range(3):
        assert stats.ks_2samp(by_law[:, place], drawn[:, place]).pvalue > 1e-3
        assert (by_law[:, place] > 0).any() == (wanted[place] < 1)


@pytest.mark.parametrize(("eps", "draws"), [(0.3, 1), (0.3, 4), (0.1, 30)])
def test_missed_one_is_how_often_one_unit_misses(eps: float, draws: int) -> None:
    random, trials = np.random.default_rng(2), 20_000
    u, v = random.uniform(-1, 1, (2, trials, draws)).max(axis=2)
    missed = ((np.maximum(u, 0) * v) < 1 - eps).mean()
    exact = exact_probabilities.missed_one(eps, draws)
    assert abs(missed - exact) < 4 * math.sqrt(exact * (1 - exact) / trials)


def test_missed_one_is_the_product_law_for_one_draw() -> None:
    assert 1 - exact_probabilities.missed_one(0.1, 1) == pytest.approx(
        float(exact_probabilities.product_probability(1.0, 0.1)) / 2
    )


def test_units_for_one_by_simulation() -> None:
    n, wanted = exact_probabilities.units_for_one(0.2, 0.1, 3), np.array([1.0, -1.0])
    needed = [
        masks.first_sufficient_units(
            masks.one_unit(wanted, 3, np.random.default_rng(seed), 10_000), lambda e: abs(e).max(), 0.2
        )
        for seed in range(600)
    ]
    share = np.mean([units <= n for units in needed])
    assert abs(share - 0.9) < 4 * math.sqrt(0.9 * 0.1 / 600)


def test_failure_of_two_is_below_how_often_two_units_fail() -> None:
    """f(x) = x with two units: either may serve either sign."""
    eps, draws, trials = 0.3, 12, 20_000
    values = np.random.default_rng(4).uniform(-1, 1, (trials, 2, 2, draws))  # unit, u or v
    high, low = values.max(axis=3), -values.min(axis=3)
    serves = {}
    for sign, best in (("+", high), ("-", low)):  # x > 0: u, v near 1; x < 0: both near -1
        serves[sign] = np.maximum(best[:, :, 0], 0) * best[:, :, 1] >= 1 - eps
    good = (serves["+"][:, 0] & serves["-"][:, 1]) | (serves["-"][:, 0] & serves["+"][:, 1])
    failed, bound = 1 - good.mean(), exact_probabilities.failure_of_two(eps, draws)
    assert 0.25 * failed < bound < failed
    assert exact_probabilities.failure_of_two(eps, 1) == 0.0
