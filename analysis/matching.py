"""How many parameters, or bytes, a method needs for the accuracy of another network: a crossing with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

_DRAWS = 4000
_MOST_CENSORED = 0.05  # of draws: above, an interval has no upper end

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """The accuracies of one cell, in [0, 1], a value a seed, and what they cost (parameters, bytes)."""

    cost: float
    values: Sequence[float]


@dataclass(frozen=True)
class Match:
    """The cost at which a curve reaches its target.

    ``cost`` is that of the means; None where they do not reach it. ``low`` and ``high`` bound 95 % of draws; ``high`` is
    None where more than 5 % of them do not reach the target at any cost that was tried, ``low`` where hardly any does.
    Below ``narrowest`` nothing was tried: a lower cost is told as that one, and ``at_most`` is true.
    """

    cost: float | None
    low: float | None
    high: float | None
    censored: float
    at_most: bool


def match(points: Sequence[Point], target: Sequence[float], *, seed: int = 0) -> Match | None:
    """The smallest cost for the mean accuracy of ``target`` (a value a seed; a single one is exact).

    Accuracy is taken to grow with the logarithm of the cost: cell means are made monotone by least squares, and joined
    by lines. For the interval each mean, and the target's, is drawn from its Student t distribution (n - 1 degrees of
    freedom); cells of one seed give none, and are left as they are.

    Returns:
        None with fewer than two points.
    """
    points = sorted((point for point in points if point.values), key=lambda point: point.cost)
    if len(points) < 2:
        return None
    logs = np.log([point.cost for point in points])
    means = np.array([np.mean(point.values) for point in points])
    weights = np.array([len(point.values) for point in points], dtype=np.float64)
    found = _crossing(logs, means, weights, float(np.mean(target)))
    random = np.random.default_rng(seed)
    drawn = np.stack([_draws(point.values, random) for point in points])
    targets = _draws(target, random)
    crossings = np.array([_crossing(logs, drawn[:, i], weights, targets[i]) for i in range(_DRAWS)])
    low, high = (float(np.quantile(crossings, q, method="inverted_cdf")) for q in (0.025, 0.975))
    censored = float(np.isinf(crossings).mean())
    known = len(points[0].values) > 1
    return Match(
        cost=_cost(found),
        low=_cost(low) if known else None,
        high=_cost(high) if known and censored <= _MOST_CENSORED else None,
        censored=censored,
        at_most=found <= logs[0],
    )


def _crossing(logs: Array, means: Array, weights: Array, target: float) -> float:
    """The smallest logarithm of a cost whose fitted accuracy is the target; inf where none is."""
    fitted = optimize.isotonic_regression(means, weights=weights).x
    if fitted[-1] < target:
        return math.inf
    place = int(np.argmax(fitted >= target))
    if place == 0:
        return float(logs[0])
    share = (target - fitted[place - 1]) / (fitted[place] - fitted[place - 1])
    return float(logs[place - 1] + share * (logs[place] - logs[place - 1]))


def _draws(values: Sequence[float], random: np.random.Generator) -> Array:
    n = len(values)
    if n < 2:
        return np.full(_DRAWS, np.mean(values))
    return np.mean(values) + stats.sem(values) * random.standard_t(n - 1, _DRAWS)


def _cost(log: float) -> float | None:
    return None if math.isinf(log) else math.exp(log)
