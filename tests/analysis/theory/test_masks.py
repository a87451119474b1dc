"""Masks that are found, against all masks of tiny networks."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from analysis.theory import masks, targets

Function = Callable[..., targets.Array]


class Recorded:
    """A generator that hands out numbers and keeps them."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.given: list[np.ndarray] = []

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
        self.given.append(self._random.uniform(low, high, size))
        return self.given[-1]


def units(recorded: Recorded, places: int, draws: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """u and v, (units, places, R) each, chunk by chunk."""
    pairs = zip(recorded.given[::2], recorded.given[1::2], strict=True)
    return [(u.reshape(-1, places, draws), v.reshape(-1, places, draws)) for u, v in pairs]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("draws", [1, 2])
def test_subset_sum_is_the_best_of_all_masks(seed: int, draws: int, box: Function, relu_network: Function) -> None:
    """f(x) = w x: every choice of values and units, as a real network on points."""
    random, weight = Recorded(seed), 0.7
    wanted, most = np.array([weight, -weight]), 3 if draws == 2 else 5
    steps = dict(masks.subset_sum(wanted, draws, random, most, 1e-6))
    drawn, x = units(random, 1, draws), box(0, 1)
    for place, sign in enumerate((1.0, -1.0)):
        own = drawn[place::2]
        for n in range(most + 1):
            choices = [[(0.0, 0.0), *itertools.product(u[0, 0], v[0, 0])] for u, v in own[:n]]
            best = np.inf
            for chosen in itertools.product(*choices):
                w_in = np.array([[u if u * sign > 0 else 0.0] for u, _ in _signed(chosen, sign)]).reshape(-1, 1)
                w_out = np.array([[v for _, v in chosen]]).reshape(1, -1)
                off = relu_network(x, w_in, w_out) - weight * x
                best = min(best, abs(off[x[:, 0] * sign > 0]).max())
            assert abs(steps[n][place]) == pytest.approx(best, abs=1e-7)


def _signed(chosen: tuple[tuple[float, float], ...], sign: float) -> list[tuple[float, float]]:
    """The code draws u with the place's sign as positive: turned for the other place, which has the same law."""
    return [(sign * u, v) for u, v in chosen]


@pytest.mark.parametrize("draws", [1, 3])
def test_one_unit_is_the_nearest_product(draws: int) -> None:
    random, wanted = Recorded(1), np.array([0.6, -0.6, 0.0, 0.0])
    steps = list(masks.one_unit(wanted, draws, random, 100))
    (u, v), *more = units(random, 2, draws)
    u, v = (np.concatenate([first, *(pair[k] for pair in more)])[:100] for k, first in ((0, u), (1, v)))
    assert steps[0][1].tolist() == (-wanted).tolist()
    for n, errors in steps:
        for place in range(2):
            products = [0.0, *(max(a, 0) * b for k in range(n) for a in u[k, place] for b in v[k, place])]
            assert abs(errors[place]) == pytest.approx(min(abs(p - wanted[place]) for p in products))
        assert errors[2:].tolist() == [0, 0]
    assert len(steps) > 3


def test_more_masks_need_no_more_units() -> None:
    wanted, norm = targets.draw("random", (2, 1), np.random.default_rng(3)).wanted, lambda errors: abs(errors).max()
    needed = [
        np.mean([masks.first_sufficient_units(make(seed), norm, 0.05) for seed in range(40)])
        for make in (
            lambda seed: masks.one_unit(wanted, 1, np.random.default_rng(seed), 10**5),
            lambda seed: masks.one_unit(wanted, 3, np.random.default_rng(seed), 10**5),
            lambda seed: masks.subset_sum(wanted, 3, np.random.default_rng(seed), 100, 0.05),
        )
    ]
    assert needed[0] > 2 * needed[1] > 4 * needed[2]


def test_what_is_out_of_reach_has_no_width() -> None:
    wanted = np.array([1.0, -1.0])
    assert (
        masks.first_sufficient_units(
            masks.one_unit(wanted, 1, np.random.default_rng(0), 20), lambda e: abs(e).max(), 1e-9
        )
        is None
    )
    assert (
        masks.first_sufficient_units(
            masks.one_unit(wanted, 1, np.random.default_rng(0), 20), lambda e: abs(e).max(), 1.0
        )
        == 0
    )
