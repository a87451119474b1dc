"""Closed forms against Monte Carlo and numerical integrals."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from analysis.theory import bounds, exact_probabilities, masks


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


def test_success_of_one_is_that_of_both_places() -> None:
    for draws in (1, 3):
        n = exact_probabilities.units_for_one(0.2, 0.1, draws)
        enough, too_few = (exact_probabilities.success_of_one(0.2, draws, units) for units in (n, n - 1))
        assert too_few < 0.9 <= enough


@pytest.mark.parametrize("eps", [0.05, 0.3, 0.9])
def test_one_value_cannot_serve_both_signs(eps: float) -> None:
    """With R = 1 the two sides exclude each other: missed by both is what neither serves."""
    missed = exact_probabilities.missed_one(eps, 1)
    assert exact_probabilities.missed_both(eps, 1) == pytest.approx(2 * missed - 1, rel=1e-9)
    assert exact_probabilities.failure_of_two(eps, 1) == pytest.approx(1 - 2 * (1 - missed) ** 2, rel=1e-9)


@pytest.mark.parametrize(("eps", "draws"), [(0.3, 2), (0.3, 12), (0.1, 60)])
def test_failure_of_two_is_how_often_two_units_fail(eps: float, draws: int) -> None:
    """f(x) = x with two units: either may serve either sign."""
    trials = 10_000
    values = np.random.default_rng(4).uniform(-1, 1, (trials, 2, 2, draws))  # unit, u or v
    high, low = values.max(axis=3), -values.min(axis=3)
    serves = {}
    for sign, best in (("+", high), ("-", low)):  # x > 0: u, v near 1; x < 0: both near -1
        serves[sign] = np.maximum(best[:, :, 0], 0) * best[:, :, 1] >= 1 - eps
    good = (serves["+"][:, 0] & serves["-"][:, 1]) | (serves["-"][:, 0] & serves["+"][:, 1])
    neither = ~(serves["+"] | serves["-"])
    for found, exact in (
        (1 - good.mean(), exact_probabilities.failure_of_two(eps, draws)),
        (neither.mean(), exact_probabilities.missed_both(eps, draws)),
    ):
        assert abs(found - exact) < 4 * math.sqrt(exact * (1 - exact) / trials)


def test_missed_both_by_adaptive_integrals_where_it_is_tiny() -> None:
    """The same three parts, by other rules of integration."""
    eps, draws = 0.1, 590
    c = 1 - eps

    def served_by_none(b: float, a: float) -> float:
        density = draws * (draws - 1) / 4 * math.exp((draws - 2) * math.log((a + b) / 2))
        return density * math.exp(draws * math.log((c / a + c / b) / 2))

    both, _ = integrate.dblquad(served_by_none, c, 1, c, 1, epsabs=0, epsrel=1e-9)
    one, _ = integrate.quad(lambda a: draws * ((a + c) / 2) ** (draws - 1) * ((1 + c / a) / 2) ** draws, c, 1, epsabs=0)
    assert exact_probabilities.missed_both(eps, draws) == pytest.approx(c**draws + one + both, rel=1e-7)


@pytest.mark.parametrize("eps", [0.1, 0.001])
def test_the_threshold_is_too_low_just_below_its_delta(eps: float) -> None:
    limit = exact_probabilities.optimistic_below(eps)
    too_often = []
    for delta in (limit / 1e6, limit * 0.999, limit * 1.001, limit * 1e6):
        draws = math.floor(bounds.theorem_threshold(1, 1, eps=eps, delta=delta)) + 1
        too_often.append(exact_probabilities.failure_of_two(eps, draws) > delta)
    assert too_often == [True, True, False, False]


def test_the_threshold_of_a_tenth_is_too_low_below() -> None:
    assert exact_probabilities.optimistic_below(0.1) == pytest.approx(1.65e-23, rel=2e-3)
