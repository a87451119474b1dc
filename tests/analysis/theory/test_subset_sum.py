"""Subset sums against every subset by loops."""

import itertools

import numpy as np
import pytest

from analysis.theory import subset_sum, weights_table
from analysis.theory.experiment import WidthSearch, search
from analysis.theory.plan import Plan
from analysis.theory.subset_sum import candidates_needed, smallest_error
from analysis.theory.targets import Array


def slow_error(terms: Array, wanted: float) -> float:
    """Each subset, one after the other."""
    chosen = itertools.product([False, True], repeat=len(terms))
    return float(np.abs(np.array(list(chosen)).reshape(2 ** len(terms), -1) @ terms - wanted).min())


@pytest.mark.parametrize("wanted", [0.0, 0.3, -0.8, 1.0, 2.5])
@pytest.mark.parametrize("num", [0, 1, 2, 9])
def test_the_smallest_error_is_that_of_the_best_subset(num: int, wanted: float) -> None:
    for seed in range(5):
        terms = np.random.default_rng(seed).uniform(-1, 1, num)
        assert smallest_error(terms, wanted) == pytest.approx(slow_error(terms, wanted), abs=1e-12)


@pytest.mark.parametrize("wanted", [0.05, 0.5, -0.9, 1.0])
@pytest.mark.parametrize("error", [0.2, 0.03])
def test_the_candidates_needed_are_the_first_that_have_a_good_subset(wanted: float, error: float) -> None:
    missing = 0
    for seed in range(12):
        terms = subset_sum.products(np.random.default_rng(seed), (11,))
        good = [n for n in range(12) if slow_error(terms[:n], wanted) <= error]
        found = candidates_needed(terms, wanted, error)
        assert found == (good[0] if good else None)
        missing += found is None
    assert missing < 12


def test_two_weights_by_hand() -> None:
    assert smallest_error(np.array([0.5, 0.4, -0.2]), 0.7) == pytest.approx(0)  # 0.5 + 0.4 - 0.2
    assert candidates_needed(np.array([0.5, 0.0, 0.4, -0.2]), 0.7, 0.01) == 4
    assert candidates_needed(np.array([0.5, 0.0, 0.4, -0.2]), 0.7, 0.21) == 1
    assert candidates_needed(np.array([0.5]), 0.1, 0.1) == 0  # no candidate is near enough
    assert candidates_needed(np.zeros(60), 0.5, 0.1) is None


def test_each_weight_of_a_network_is_served_by_units_of_its_own() -> None:
    """The search's n, from the same random numbers by the slow search; f(x) = x has two places."""
    cell = WidthSearch("extreme", "per weight", (1, 1), 0.8, 0.3, 1)
    slow = []
    for trial in range(20):
        random = cell.random(7, trial)
        random.integers(1), random.integers(1)  # the target's path
        sign = random.choice([-1.0, 1.0])
        terms = subset_sum.products(random, (2, 200))
        places = [
            next(n for n in range(40) if slow_error(own[:n][own[:n] != 0], w) <= 0.8)
            for own, w in zip(terms, (sign, -sign), strict=True)
        ]
        slow.append(max(places))
    found = search(cell, trials=20, seed=7)
    assert (found.units, found.estimated) == (sorted(slow)[17], sorted(slow)[13])


def test_the_table_of_single_weights() -> None:
    plan = Plan(trials=59, weights=(1.0,), weight_errors=(0.4, 0.2))
    table = weights_table.weights_table(plan).set_index(["weight", "error"])
    assert list(table.columns) == ["units, median", "units, 0.95", "uniform terms, median", "uniform terms, 0.95"]
    assert (table.loc[(1.0, 0.2)] >= table.loc[(1.0, 0.4)]).all()
    assert (table["units, 0.95"] > table["uniform terms, 0.95"]).all()  # half of the units are of the wrong sign
    needed = [
        next(n for n in range(200) if slow_error(np.random.default_rng([0, t]).uniform(-1, 1, 200)[:n], 1.0) <= 0.4)
        for t in range(59)
    ]
    assert table.loc[(1.0, 0.4), "uniform terms, median"] == np.median(needed)
    assert table.loc[(1.0, 0.4), "uniform terms, 0.95"] == max(needed)
