"""Two ways to mask, found draw by draw as the network grows; units are drawn until a mask is good enough.

Each place (see ``targets``) has n units of its own, each with R values of u (the weight into it) and R of v (the weight
out of it); u must have the sign of the place. Outputs do not share units here, so the width is 2 d_0 d_1 n.

(a) *one unit*: the unit and values are kept whose |u| v comes closest to what is wanted; none, if 0 is closer.
(b) *subset sum*: any units may be kept, each with any of its values; their products are added.
"""

from collections.abc import Callable, Iterator

import numpy as np

from analysis.theory.targets import Array

Steps = Iterator[tuple[int, Array]]  # n, and the errors (places,) of the best mask with n units a place
_PRODUCTS = 1 << 21  # made at once, at most
_FINENESS = 1 / 200  # of the error a place may have: sums nearer to each other are taken as one


def first_sufficient_units(steps: Steps, norm: Callable[[Array], float], eps: float) -> int | None:
    """The first n whose errors are at most ``eps`` in a norm; None where the steps end before."""
    return next((n for n, errors in steps if norm(errors) <= eps), None)


def one_unit(wanted: Array, draws: int, random: np.random.Generator, most: int) -> Steps:
    """Masks (a) of up to ``most`` units a place; a step where an error shrinks."""
    places = np.flatnonzero(wanted)  # elsewhere no unit is kept, and nothing is off
    best, before, chunk = -wanted, 0, 16
    yield 0, best
    while before < most:
        units = max(1, min(chunk, most - before, _PRODUCTS // (len(places) * draws**2)))
        found = _closest(wanted[places], units, draws, random)
        smallest_so_far = np.minimum.accumulate(np.abs(np.concatenate([best[None, places], found])), axis=0)
        for unit in np.flatnonzero((smallest_so_far[1:] < smallest_so_far[:-1]).any(axis=1)):
            best = best.copy()
            best[places] = np.where(np.abs(found[unit]) < np.abs(best[places]), found[unit], best[places])
            yield before + int(unit) + 1, best
        before, chunk = before + units, 2 * chunk


def subset_sum(wanted: Array, draws: int, random: np.random.Generator, most: int, tolerance: float) -> Steps:
    """Masks (b) of up to ``most`` units a place; a step for each n.

    Units go to two halves of about as many sums each, so all sums of both are searched without being listed (Horowitz
    and Sahni 1974, Journal of the ACM 21, 277-292). In a half, sums within ``tolerance`` / 200 of each other are
    taken as one that is reached, and those beyond +-2 are left out: what is found exists, so n may come out too large,
    never too small.

    Args:
        tolerance: what one place may be off.
    """
    fineness = tolerance * _FINENESS
    halves = {int(place): (np.zeros(1), np.zeros(1)) for place in np.flatnonzero(wanted)}
    errors = -wanted
    yield 0, errors
    for n in range(1, most + 1):
        errors = errors.copy()
        for place, pair in halves.items():
            one, other = sorted(pair, key=len)
            products = _distinct(_products(1, draws, random).ravel(), fineness)
            more = _distinct((one[:, None] + products).ravel(), fineness)
            errors[place] = min(errors[place], _nearest(other, wanted[place] - more), key=abs)
            halves[place] = _distinct(np.concatenate([one, more]), fineness), other
        yield n, errors


def _closest(wanted: Array, units: int, draws: int, random: np.random.Generator) -> Array:
    """How far the best product of each of some units is off: (units, places)."""
    off = _products(units * wanted.size, draws, random).reshape(units, wanted.size, -1) - wanted[:, None]
    nearest: Array = np.take_along_axis(off, np.abs(off).argmin(axis=-1)[..., None], axis=-1)[..., 0]
    return nearest


def _nearest(known: Array, aims: Array) -> float:
    """The smallest difference between a number of ``known`` (sorted) and one of ``aims``."""
    after = np.searchsorted(known, aims)
    off = np.concatenate([known[np.minimum(after, len(known) - 1)] - aims, known[np.maximum(after - 1, 0)] - aims])
    return float(off[np.abs(off).argmin()])


def _products(units: int, draws: int, random: np.random.Generator) -> Array:
    """|u| v of each pair of values of some units, 0 where u has the wrong sign: (units, draws, draws)."""
    u = np.maximum(random.uniform(-1, 1, (units, draws, 1)), 0.0)
    products: Array = u * random.uniform(-1, 1, (units, 1, draws))
    return products


def _distinct(sums: Array, fineness: float) -> Array:
    """One of those that share a cell of this size, sorted, and none beyond +-2."""
    near = np.sort(sums[np.abs(sums) <= 2.0])
    return near[np.flatnonzero(np.diff(np.floor(near / fineness), prepend=-np.inf))]
