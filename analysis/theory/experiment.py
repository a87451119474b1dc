"""The smallest widths that are enough in experiments, for two ways to mask; one hidden layer (l = 1).

Each weight w of the target gets units of its own, for each sign of its input: n of them, each with R values of u (the
weight into it) and R of v (the weight out of it).

(a) *one unit*: of all units the one is kept, with those values, whose |u| v comes closest to the signed weight.
(b) *subset sum*: any units may be kept, each with any of its values; their products are added.

Errors are those of the theorem, exactly: f - g is linear in each orthant, so ||f(x) - g(x)||_2 has its maximum where
each x_i is -1, 0 or 1. A width is enough where at least 1 - delta of all draws have a mask of error eps or less; of
``trials`` draws so many succeed that the lower Clopper-Pearson bound (95 %) is 1 - delta.
"""

import itertools
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
TargetKind = Literal["random", "extreme"]
_PRODUCTS = 1 << 22  # made at once
_GRID = 1e-3  # of the wanted error: how finely sums are told apart


def target(kind: TargetKind, inputs: int, outputs: int, random: np.random.Generator) -> Array:
    """A target's weights (outputs, inputs), of Frobenius norm 1: of random direction, or a single entry +-1."""
    if kind == "random":
        weights = random.standard_normal((outputs, inputs))
        return weights / np.linalg.norm(weights)
    weights = np.zeros((outputs, inputs))
    weights[random.integers(outputs), random.integers(inputs)] = random.choice([-1.0, 1.0])
    return weights


def error_norm(errors: Array) -> float:
    """The largest ||f(x) - g(x)||_2 over ||x||_inf <= 1; ``errors`` (outputs, inputs, 2) are off by sign of input."""
    inputs = errors.shape[1]
    choices = np.concatenate([errors, np.zeros((*errors.shape[:2], 1))], axis=2)
    corners = np.array(list(itertools.product(range(3), repeat=inputs)))
    sums = sum(choices[:, i, corners[:, i]] for i in range(inputs))
    return float(np.sqrt((np.asarray(sums) ** 2).sum(axis=0)).max())


def certified(num_needed: npt.NDArray[np.int64], delta: float) -> int | None:
    """The smallest n that is enough, as far as these draws can say; None where they are too few.

    Args:
        num_needed: for each draw the smallest n that is enough for it.
        delta: the probability of failure that is allowed.
    """
    num = len(num_needed)
    lower = [stats.beta.ppf(0.05, k, num - k + 1) for k in range(1, num + 1)]
    enough = next((k for k, bound in enumerate(lower, start=1) if bound >= 1 - delta), None)
    return None if enough is None else int(np.sort(num_needed)[enough - 1])


def needed_one_unit(weights: Array, eps: float, draws: int, random: np.random.Generator, most: int) -> int:
    """The smallest n for which one draw of the network has masks (a) of error ``eps``; ``most + 1`` if above."""
    wanted = np.stack([weights, -weights], axis=2)
    best, before = -wanted, 0  # no unit is kept
    while before < most:
        found = _closest(wanted, draws, random, most - before)
        smallest = np.minimum.accumulate(np.abs(np.concatenate([best[None], found])), axis=0)
        better = (smallest[1:] < smallest[:-1]).reshape(len(found), -1).any(axis=1)
        for place in np.flatnonzero(better):
            best = np.where(np.abs(found[place]) < np.abs(best), found[place], best)
            if error_norm(best) <= eps:
                return before + int(place) + 1
        before += len(found)
    return most + 1


def needed_subset(weights: Array, eps: float, draws: int, random: np.random.Generator, most: int) -> int:
    """The smallest n for which one draw of the network has masks (b) of error ``eps``; ``most + 1`` if above."""
    wanted = np.stack([weights, -weights], axis=2)
    fineness = _GRID * eps / np.sqrt(wanted.shape[0]) / wanted.shape[1]
    sums = {place: np.zeros(1) for place in np.ndindex(wanted.shape)}
    for n in range(1, most + 1):
        errors = np.empty(wanted.shape)
        for place, known in sums.items():
            products = _distinct(_products(1, draws, random).ravel(), fineness)
            sums[place] = _distinct(np.concatenate([known, (known[:, None] + products).ravel()]), fineness)
            errors[place] = min(sums[place] - wanted[place], key=abs)
        if error_norm(errors) <= eps:
            return n
    return most + 1


def _closest(wanted: Array, draws: int, random: np.random.Generator, most: int) -> Array:
    """How far the best product of each of some units is off: (units, *wanted's shape)."""
    units = max(1, min(most, _PRODUCTS // (wanted.size * draws**2)))
    off = _products(units * wanted.size, draws, random).reshape(units, *wanted.shape, -1) - wanted[..., None]
    nearest: Array = np.take_along_axis(off, np.abs(off).argmin(axis=-1)[..., None], axis=-1)[..., 0]
    return nearest


def _products(units: int, draws: int, random: np.random.Generator) -> Array:
    """|u| v of each pair of values of some units, 0 where u has the wrong sign: (units, draws, draws)."""
    u = np.maximum(random.uniform(-1, 1, (units, draws, 1)), 0.0)
    products: Array = u * random.uniform(-1, 1, (units, 1, draws))
    return products


def _distinct(sums: Array, fineness: float) -> Array:
    """One of those that lie within ``fineness``, and none so large that it is of no use."""
    near = sums[np.abs(sums) <= 2.0]
    return near[np.unique(np.round(near / fineness), return_index=True)[1]]
