"""How many parameters, or bytes, a method needs for the accuracy of another network: a crossing with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.monte_carlo import Array, Ends, Group, means_of, monte_carlo_draws, percentile_interval
from suite.config import InputError

_ROUNDING = 1e-12  # of accuracies: equal ones may come out of sums this far apart


@dataclass(frozen=True)
class Point:
    """The accuracies of one cell, in [0, 1], a value a seed, and what they cost (parameters, bytes)."""

    cost: float
    values: Sequence[float]


@dataclass(frozen=True)
class Match:
    """The cost at which a curve reaches its target, and the 95 % interval of that cost.

    Attributes:
        cost: That of the means. None: they do not reach the target at any cost that was tried, so it is above the
            widest.
        low: Lower end. None: not known, as more than 2.5 % of draws reach the target at the narrowest already, and
            nothing narrower was tried; or no interval (see ``censored``). Where nearly all draws miss the target it is
            the widest cost: "> low" is what can be said.
        high: Upper end. None: not known, as more than 2.5 % of draws reach the target nowhere; or no interval. Where
            nearly all draws reach it at once it is the narrowest cost.
        censored: Share of draws that reach the target nowhere. None: no interval, as a cell or the target has one seed.
        at_most: The means reach the target at the narrowest already: ``cost`` is that one, the true one may be lower.
    """

    cost: float | None
    low: float | None
    high: float | None
    censored: float | None
    at_most: bool


@dataclass(frozen=True)
class Ratio:
    """Cost of one curve over that of another, for equal accuracy, with its 95 % interval.

    Attributes:
        value: Of the means. None: nothing can be said, as what was tried bounds it on neither side.
        low: Lower end. None: not known (other does not reach the target, or one does at its narrowest, in more than
            2.5 % of draws), or no interval (see ``censored``).
        high: Upper end. None: not known (one does not reach the target, or other does at its narrowest, in more than
            2.5 % of draws), or no interval.
        censored: Share of draws in which either cost is outside those tried. None: no interval, as a cell or the target
            has one seed.
        at_most: ``value`` is an upper bound: one reaches the target at its narrowest, or other nowhere.
        at_least: ``value`` is a lower bound: one reaches the target nowhere, or other at its narrowest.
    """

    value: float | None
    low: float | None
    high: float | None
    censored: float | None
    at_most: bool
    at_least: bool


def match(points: Sequence[Point], target: Group, *, seed: int = 0) -> Match | None:
    """The smallest cost for the mean accuracy of ``target``: a value a seed, or a number that is exact.

    Accuracy is taken to grow with the logarithm of the cost: cell means are made monotone by least squares, and joined
    by lines. For the interval cell means and the target's are drawn, independently (``monte_carlo.monte_carlo_draws``).
    Where the true curve bends down between cells, as accuracies do that saturate, lines lie below it and the cost comes
    out too high.

    Returns:
        None with fewer than two points that have values.

    Raises:
        InputError: A cost is not positive or stands twice; an accuracy is no finite number; the target is empty.
    """
    cells = _cells(points)
    groups = [*(cell.values for cell in cells), _checked(target, "target")]
    if len(cells) < 2:
        return None

    def logs(means: Array) -> Ends:
        return _crossings(cells, means[:-1], means[-1])

    low, high = logs(means_of(groups))
    cost, at_most = _exp(float(high[0])), bool(np.isneginf(low[0]))
    drawn = monte_carlo_draws(groups, logs, seed)
    if drawn is None:
        return Match(cost, None, None, None, at_most)
    lowest, highest = percentile_interval(drawn)
    return Match(cost, _exp(lowest), _exp(highest), float(np.isposinf(drawn[1]).mean()), at_most)


def match_ratio(one: Sequence[Point], other: Sequence[Point], target: Group, *, seed: int = 0) -> Ratio | None:
    """Cost of ``one`` over cost of ``other`` for the mean accuracy of ``target``; all else as in :func:`match`.

    Both meet the same draws of the target. Cells are drawn independently: where the target is itself a cell of
    ``other`` the cost there is known, so divide :func:`match` of ``one`` by it instead. A cost outside those tried is
    known to be below the narrowest or above the widest; each draw so bounds the ratio, and the interval holds all that
    is possible.

    Returns:
        None where either has fewer than two points that have values.

    Raises:
        InputError: As in :func:`match`.
    """
    tops, bottoms = _cells(one), _cells(other)
    groups = [*(cell.values for cell in tops + bottoms), _checked(target, "target")]
    if min(len(tops), len(bottoms)) < 2:
        return None

    def logs(means: Array) -> Ends:
        top = _crossings(tops, means[: len(tops)], means[-1])
        bottom = _crossings(bottoms, means[len(tops) : -1], means[-1])
        return top[0] - bottom[1], top[1] - bottom[0]

    low, high = (float(end[0]) for end in logs(means_of(groups)))
    value = _exp(high if math.isfinite(high) else low)
    sides = value is not None and math.isinf(low), value is not None and math.isinf(high)
    drawn = monte_carlo_draws(groups, logs, seed)
    if drawn is None:
        return Ratio(value, None, None, None, *sides)
    lowest, highest = percentile_interval(drawn)
    return Ratio(value, _exp(lowest), _exp(highest), float(np.isinf(drawn).any(axis=0).mean()), *sides)


def _cells(points: Sequence[Point]) -> list[Point]:
    """Those that have values, in order of cost."""
    cells = sorted((point for point in points if len(point.values)), key=lambda point: point.cost)
    costs = [cell.cost for cell in cells]
    if not all(0 < cost < math.inf for cost in costs) or len(set(costs)) < len(costs):
        raise InputError(f"costs: {', '.join(map(str, costs))}: must be different positive numbers")
    for cell in cells:
        _checked(cell.values, f"accuracies at cost {cell.cost:g}")
    return cells


def _checked(values: Group, name: str) -> Group:
    if np.size(values) == 0 or not np.isfinite(values).all():
        raise InputError(f"{name}: {values}: must be finite numbers, at least one")
    return values


def _crossings(cells: Sequence[Point], means: Array, targets: Array) -> Ends:
    """Of (cells, draws) means and (draws,) targets: lowest and highest possible logarithm of a cost, (draws,) each."""
    logs = np.log([cell.cost for cell in cells])
    fitted = _monotone(means, np.array([len(cell.values) for cell in cells], dtype=np.float64))
    reached = fitted >= targets - _ROUNDING
    after = np.clip(reached.argmax(axis=0), 1, None)
    draw = np.arange(len(targets))
    left, right = fitted[after - 1, draw], fitted[after, draw]
    share = np.minimum((targets - left) / np.where(right > left, right - left, 1.0), 1.0)
    inside = logs[after - 1] + share * (logs[after] - logs[after - 1])
    low = np.where(reached[0], -math.inf, np.where(reached[-1], inside, logs[-1]))
    high = np.where(reached[0], logs[0], np.where(reached[-1], inside, math.inf))
    return low, high


def _monotone(means: Array, weights: Array) -> Array:
    """Isotonic regression along axis 0, all draws at once: largest over starts of the least average up to an end.

    Source: Robertson, Wright and Dykstra (1988), Order Restricted Statistical Inference, section 1.4.
    """
    sums = np.cumsum(np.vstack([np.zeros(means.shape[1]), weights[:, None] * means]), axis=0)
    totals = np.cumsum([0.0, *weights])
    fitted = np.full_like(means, -math.inf)
    for start in range(len(means)):
        averages = (sums[start + 1 :] - sums[start]) / (totals[start + 1 :] - totals[start])[:, None]
        least = np.minimum.accumulate(averages[::-1], axis=0)[::-1]  # over ends from each place on
        fitted[start:] = np.maximum(fitted[start:], least)
    return fitted


def _exp(log: float | None) -> float | None:
    return None if log is None or math.isinf(log) else math.exp(log)
