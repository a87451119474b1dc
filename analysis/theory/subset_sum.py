"""Subset sums solved exactly, one weight at a time: how many random candidates a weight needs, without redraws.

Pensia et al. (NeurIPS 2020) approximate each weight of a target by a subset of candidates of its own: products |u| v of
units that see the weight's input alone. The best subset is found among all 2^n by meeting in the middle, so no sum is
left out; this is for small n.
"""

import numpy as np

from analysis.theory.targets import Array

MOST_TERMS = 48  # 2^24 sums in each half


def subset_sums(terms: Array) -> Array:
    """The sums of all subsets: (n,) to (2^n,)."""
    sums = np.zeros(1)
    for term in terms:
        sums = np.concatenate([sums, sums + term])
    return sums


def smallest_error(terms: Array, wanted: float) -> float:
    """The smallest |sum of a subset - wanted|: each sum of one half of the terms is completed by one of the other."""
    one, other = (subset_sums(half) for half in np.array_split(terms, 2))
    known, aims = np.sort(one), wanted - other
    after = np.searchsorted(known, aims)
    above = np.abs(known[np.minimum(after, len(known) - 1)] - aims)
    below = np.abs(known[np.maximum(after - 1, 0)] - aims)
    return float(min(above.min(), below.min()))


def candidates_needed(terms: Array, wanted: float, error: float) -> int | None:
    """The smallest n such that some of the first n terms add up to ``wanted`` within ``error``.

    Returns:
        n; None where all terms, or the first ``MOST_TERMS`` that are not 0, are too few.
    """
    if abs(wanted) <= error:
        return 0
    signed = terms * np.sign(wanted)
    reached = np.maximum(signed, 0).cumsum() >= abs(wanted) - error  # before that no subset is near
    useful = np.flatnonzero(terms)[:MOST_TERMS]
    for count, place in enumerate(useful, start=1):
        if reached[place] and smallest_error(signed[useful[:count]], abs(wanted)) <= error:
            return int(place) + 1
    return None


def products(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """|u| v of units, u and v uniform on [-1, 1]: 0 where u has the wrong sign, as for every other unit."""
    u = np.maximum(random.uniform(-1, 1, shape), 0.0)
    drawn: Array = u * random.uniform(-1, 1, shape)
    return drawn
