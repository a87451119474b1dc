"""The permutation test: its false alarms and its power are as they are stated."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from analysis.statistics.permutation import PermutationTest, clip_outliers, max_statistics
from suite.config import InputError


def skewed(num: int, seed: int) -> Any:
    """Rows of three correlated quantities with a long left tail, as accuracies of narrow networks: (num, 3)."""
    generator = np.random.default_rng(seed)
    common = generator.exponential(0.03, (num, 1))
    return np.round(0.97 - common - generator.exponential([0.001, 0.01, 0.1], (num, 3)), 2)  # with ties


def test_the_largest_standardized_difference_by_hand() -> None:
    # 3 against 0 and 1: difference 2.5; spread of all sqrt(7 / 3); standard error sqrt(7 / 3 * (1 + 1 / 2)).
    first, *others = max_statistics(np.array([[3.0], [0.0], [1.0]]), 1)
    assert first == pytest.approx(2.5 / np.sqrt(7 / 3 * 1.5))
    assert others == pytest.approx([2.0 / np.sqrt(3.5), 0.5 / np.sqrt(3.5)])


def test_all_ways_to_choose_by_loops() -> None:
    values = skewed(8, seed=0)
    expected = []
    for chosen in combinations(range(8), 3):
        fresh, rest = values[list(chosen)], np.delete(values, chosen, axis=0)
        error = values.std(axis=0, ddof=1) * np.sqrt(1 / 3 + 1 / 5)
        expected.append(np.max(np.abs(fresh.mean(axis=0) - rest.mean(axis=0)) / error))
    assert max_statistics(values, 3) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("false_alarms", [0.05, 0.1])
def test_false_alarms_are_as_rare_as_stated_whatever_the_distribution(seed: int, false_alarms: float) -> None:
    """Over every way in which the same eleven rows could have been kept and fresh ones: no simulation."""
    values = skewed(11, seed)
    alarms = []
    for chosen in combinations(range(11), 3):
        compared = PermutationTest(np.delete(values, chosen, axis=0), values[list(chosen)], false_alarms)
        alarms.append(bool(compared.significant.any()))
        assert alarms[-1] == (compared.p_value <= false_alarms)
    assert false_alarms / 3 < np.mean(alarms) <= false_alarms


def test_false_alarms_of_fresh_draws() -> None:
    """Simulated: 1,000 times 12 kept and 4 fresh rows of one distribution."""
    alarms = sum(
        PermutationTest(values[:12], values[12:], 0.05).significant.any()
        for values in (skewed(16, seed) for seed in range(1000))
    )
    assert 25 <= alarms <= 75  # 50 expected, standard deviation 7


@pytest.mark.slow
def test_the_power_is_that_of_the_noncentral_t() -> None:
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(150):
        kept, fresh = generator.normal(0, 1, (15, 4)), generator.normal(0, 1, (5, 4))
        compared = PermutationTest(kept, fresh)
        within = np.sqrt((14 * kept[:, 0].var(ddof=1) + 4 * fresh[:, 0].var(ddof=1)) / 18)
        shift = compared.detectable_shift()[0] / within  # the true spread is 1
        found += bool(PermutationTest(kept, fresh + np.array([shift, 0, 0, 0])).significant[0])
    assert 0.82 <= found / 150 <= 0.97  # standard deviation 0.025


def test_a_quantity_that_never_varies_has_not_changed() -> None:
    kept, fresh = skewed(15, seed=1), skewed(5, seed=2)
    kept[:, 1] = fresh[:, 1] = 1.0
    compared = PermutationTest(kept, fresh)
    assert not compared.significant.any()
    assert compared.critical_difference[1] == pytest.approx(compared.difference[1], abs=1e-12)


def test_what_exceeds_its_bound_has_changed() -> None:
    """Both are the same comparison, with the spread within both groups and with that of all values."""
    for seed in range(20):
        kept, fresh = skewed(15, seed), skewed(5, seed + 100) - np.array([0.05, 0.0, 0.2])
        compared = PermutationTest(kept, fresh)
        assert np.array_equal(compared.significant, np.abs(compared.difference) > compared.critical_difference)


def test_equal_bits_of_a_statistic_do_not_decide() -> None:
    """All values are equal but for two: many arrangements tie, and none may exceed the bound by a rounding."""
    values = np.full((20, 1), 0.1)
    values[:2] = 0.3
    assert not PermutationTest(values[5:], values[:5]).significant.any()
    assert not PermutationTest(values[:15], values[15:]).significant.any()


@pytest.mark.parametrize(("kept", "fresh"), [(6, 5), (40, 10)])
def test_numbers_of_seeds_that_cannot_be_compared(kept: int, fresh: int) -> None:
    with pytest.raises(InputError, match=f"{fresh} fresh and {kept} kept seeds: .* must be 1000 to 1000000"):
        PermutationTest(np.zeros((kept, 1)), np.zeros((fresh, 1)))


def test_fences_by_hand() -> None:
    """Quartiles 2 and 4, so 3 times 2 outside: -4 and 10."""
    column = np.array([[1.0], [2.0], [3.0], [4.0], [90.0]])
    assert clip_outliers(column).ravel().tolist() == [1, 2, 3, 4, 10]
    assert clip_outliers(-column).ravel().tolist() == [-1, -2, -3, -4, -10]
    mostly_equal = np.array([[1.0]] * 4 + [[9.0]])
    assert clip_outliers(mostly_equal).tolist() == mostly_equal.tolist()  # nothing says how far is far


@pytest.mark.parametrize("where", ["reference", "fresh"])
def test_one_network_that_learned_nothing_hides_no_change_and_is_none(where: str) -> None:
    random = np.random.default_rng(0)
    kept, fresh = random.normal(0.98, 0.005, (25, 1)), random.normal(0.98, 0.005, (5, 1))
    (kept if where == "reference" else fresh)[2] = 0.1
    compared = PermutationTest(kept, fresh)
    assert compared.num_clipped == 1 and not compared.significant.any()
    assert PermutationTest(kept, fresh - 0.02).significant.all()


def test_many_networks_that_learned_nothing_are_a_change() -> None:
    random = np.random.default_rng(0)
    kept, fresh = random.normal(0.98, 0.005, (15, 1)), random.normal(0.1, 0.005, (5, 1))
    assert PermutationTest(kept, fresh).significant.all()
