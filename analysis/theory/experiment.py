"""The smallest width that is enough in experiments: draws of the network, each with its best masks.

A width is enough where at least 1 - delta of all draws have a mask of error eps or less. Two widths come out of the
draws: one that is enough with 95 % confidence, for this cell alone, and an estimate of the smallest that is enough.
"""

import itertools
import math
import zlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.theory import masks, subset_sum, targets
from analysis.theory.bounds import proved_units, theorem_units
from analysis.theory.exact_probabilities import closest_errors
from suite.config import InputError

Method = Literal["one unit", "subset sum", "per weight"]
MOST_DRAWN = 100_000  # units a place; above, the exact law is used
_MOST_SUMMED = 200
_MOST_CANDIDATES = 200
_POINTS = 500
_CONFIDENCE = 0.95
_MOST_BY_LAW = 1 << 60


@dataclass(frozen=True)
class WidthSearch:
    """One search. ``widths``: d_0 ... d_l of the target; ``draws``: R; ``by``: which bound of the norm, if l > 1.

    Method "per weight" (l = 1, R = 1) asks more than the norm: each place within eps / (d_0 sqrt(d_1)) of its weight.
    """

    kind: targets.Kind
    method: Method
    widths: tuple[int, ...]
    eps: float
    delta: float
    draws: int
    by: Literal["upper", "lower"] = "upper"

    def random(self, seed: int, trial: int) -> np.random.Generator:
        """Random numbers of one trial of this cell, whatever else is searched for; the same for both bounds.

        The word "Cell" is part of the seed, not the name of this class, which may change: kept tables were drawn so.
        """
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(replace(self, by="upper")).items())
        return np.random.default_rng([seed, zlib.crc32(f"Cell({settings})".encode()), trial])


@dataclass(frozen=True)
class Found:
    """What draws say of the smallest n a place; None above what was tried.

    Args:
        units: certified, see ``successes``.
        how: "drawn" unit by unit, or by the "law".
        estimated: the quantile 1 - delta of the n that the draws need.
    """

    units: int | None
    how: Literal["drawn", "law"]
    estimated: int | None = None

    def width(self, widths: tuple[int, ...]) -> int | None:
        """The certified width."""
        return hidden_units(widths, self.units)


def hidden_units(widths: tuple[int, ...], units: int | None) -> int | None:
    """Random hidden units in all, 2 d_{i-1} d_i n summed over layers; for l = 1 the width."""
    return None if units is None else sum(2 * a * b * units for a, b in itertools.pairwise(widths))


def theorem_width(cell: WidthSearch) -> int:
    """The theorem's, 2 d_{i-1} units each, summed over layers."""
    wanted = {"eps": cell.eps, "delta": cell.delta}
    pairs, depth = list(itertools.pairwise(cell.widths)), len(cell.widths) - 1
    return sum(2 * a * theorem_units(a, b, **wanted, draws=cell.draws, depth=depth) for a, b in pairs)


def proved_width(cell: WidthSearch) -> int | None:
    """That of the bound proved in ``bounds``; None for l > 1."""
    if len(cell.widths) > 2:
        return None
    inputs, outputs = cell.widths
    return 2 * inputs * proved_units(inputs, outputs, eps=cell.eps, delta=cell.delta, draws=cell.draws)


def search(cell: WidthSearch, *, trials: int, seed: int) -> Found:
    """The smallest n that ``trials`` draws certify; each has its own target.

    Raises:
        InputError: too few trials for delta.
    """
    ranks = successes(trials, cell.delta), math.ceil((1 - cell.delta) * trials - 1e-9)
    by_law = cell.method == "one unit" and cell.draws == 1 and len(cell.widths) == 2
    if by_law and (units := _by_law(cell, trials, ranks[0], seed)) > MOST_DRAWN:
        return Found(units, "law", _by_law(cell, trials, ranks[1], seed))
    needed = np.sort([_one_draw(cell, cell.random(seed, trial)) for trial in range(trials)])
    certified, estimated = (None if np.isinf(needed[rank - 1]) else int(needed[rank - 1]) for rank in ranks)
    return Found(certified, "drawn", estimated)


def successes(trials: int, delta: float) -> int:
    """Of so many draws so many must succeed: the lower Clopper-Pearson bound (95 %) of their share is 1 - delta.

    Sorting the n that each draw needs and taking this one is a tolerance bound, so choosing n by these same draws costs
    no confidence (the share of draws that n serves is at least Beta(k, trials - k + 1) distributed).

    Raises:
        InputError: even if all succeed they are too few.
    """
    counts = np.arange(1, trials + 1)
    enough = np.flatnonzero(stats.beta.ppf(1 - _CONFIDENCE, counts, trials - counts + 1) >= 1 - delta)
    if not len(enough):
        least = math.ceil(math.log(1 - _CONFIDENCE) / math.log1p(-delta))
        raise InputError(f"trials: {trials}: must be {least} or more, for delta {delta:g} at 95 % confidence")
    return int(counts[enough[0]])


def _one_draw(cell: WidthSearch, random: np.random.Generator) -> float:
    """The n that one draw of a target and a network needs; infinite where that is out of reach."""
    target = targets.draw(cell.kind, cell.widths, random)
    if cell.method == "per weight":
        return _per_weight(target.wanted, _tolerance(cell), random)
    points = targets.surface_points(cell.widths[0], _POINTS, np.random.default_rng(0))

    def norm(errors: targets.Array) -> float:
        if cell.by == "lower":
            return targets.lower_bound(target, errors, points)
        return targets.upper_bound(target, errors)

    if cell.method == "one unit":
        steps = masks.one_unit(target.wanted, cell.draws, random, MOST_DRAWN)
    else:
        steps = masks.subset_sum(target.wanted, cell.draws, random, _MOST_SUMMED, _tolerance(cell))
    units = masks.first_sufficient_units(steps, norm, cell.eps)
    return math.inf if units is None else float(units)


def _per_weight(wanted: targets.Array, error: float, random: np.random.Generator) -> float:
    """The n with which every place has a subset of its own candidates near enough; infinite where out of reach."""
    terms = subset_sum.products(random, (len(wanted), _MOST_CANDIDATES))
    needed = [subset_sum.candidates_needed(own, float(w), error) for own, w in zip(terms, wanted, strict=True)]
    return max(math.inf if units is None else float(units) for units in needed)


def _tolerance(cell: WidthSearch) -> float:
    """What a place may be off, such that all may: eps / (l d_0 sqrt(d_1)) of the strictest layer."""
    strictest = max(a * math.sqrt(b) for a, b in itertools.pairwise(cell.widths))
    return cell.eps / ((len(cell.widths) - 1) * strictest)


def _by_law(cell: WidthSearch, trials: int, rank: int, seed: int) -> int:
    """The smallest n with which ``rank`` of the trials succeed, by bisection: all n see the same uniform numbers."""
    random = cell.random(seed, 0)
    drawn = [targets.draw(cell.kind, cell.widths, random) for _ in range(trials)]
    wanted = np.stack([target.wanted for target in drawn])
    uniform = random.random((*wanted.shape, 2))

    def enough(units: int) -> bool:
        errors = closest_errors(wanted, units, uniform).reshape(trials, *drawn[0].layers[0].shape, 2)
        good: npt.NDArray[np.bool_] = targets.error_norm(errors) <= cell.eps
        return int(good.sum()) >= rank

    high = 1
    while not enough(high) and high < _MOST_BY_LAW:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
