"""How many parameters, or bytes, a method needs for the accuracy of another network: a crossing with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.monotone_curves import crossings, isotonic
from analysis.statistics.monte_carlo import Array, Ends, Group, means_of, monte_carlo_draws, percentile_interval
from suite.config import InputError

_NARROW = 1e-9  # of accuracies: a range shorter than this is none


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
        low: Lower end. None: not known, as more than 2.5 % of draws are above the target at the narrowest already, and
            nothing narrower was tried; or no interval (see ``below``). Where nearly all draws miss the target it is the
            widest cost.
        high: Upper end. None: not known, as more than 2.5 % of draws reach the target nowhere; or no interval. Where
            nearly all draws are above it at once it is the narrowest cost.
        below: Share of draws that are above the target at the narrowest already. None: no interval, as a cell or the
            target has one seed, or the same accuracy in all of its seeds.
        above: Share of draws that reach the target nowhere. None: as for ``below``.
        at_most: The means are above the target at the narrowest already: ``cost`` is that one, the true one is lower.
    """

    cost: float | None
    low: float | None
    high: float | None
    below: float | None
    above: float | None
    at_most: bool


@dataclass(frozen=True)
class Ratio:
    """Cost of one curve over that of another, for equal accuracy, with its 95 % interval.

    Attributes:
        value: Of the means. None: nothing can be said, as what was tried bounds it on neither side.
        low: Lower end. None: not known, as ``below`` is more than 2.5 %, or no interval.
        high: Upper end. None: not known, as ``above`` is more than 2.5 %, or no interval.
        below: Share of draws that do not bound the ratio from below: other does not reach the target, or one is above
            it at its narrowest. None: no interval, as a cell or the target has one seed, or the same accuracy in all.
        above: Share of draws that do not bound it from above: one does not reach the target, or other is above it at
            its narrowest. None: as for ``below``.
        at_most: ``value`` is an upper bound: one is above the target at its narrowest, or other reaches it nowhere.
        at_least: ``value`` is a lower bound: one reaches the target nowhere, or other is above it at its narrowest.
    """

    value: float | None
    low: float | None
    high: float | None
    below: float | None
    above: float | None
    at_most: bool
    at_least: bool


def match(points: Sequence[Point], target: Group, *, seed: int = 0) -> Match | None:
    """The smallest cost for the mean accuracy of ``target``: a value a seed, or a number that is exact.

    Accuracy is taken to grow with the logarithm of the cost, along a smooth curve (``monotone_curves.crossings``). For
    the interval cell means and the target's are drawn, independently (``monte_carlo.monte_carlo_draws``).

    Returns:
        None with fewer than two points that have values.

    Raises:
        InputError: A cost is not positive or occurs twice; an accuracy is no finite number; the target is empty.
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
        return Match(cost, None, None, None, None, at_most)
    lowest, highest = percentile_interval(drawn)
    return Match(cost, _exp(lowest), _exp(highest), *_open_ends(drawn), at_most)


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
        return Ratio(value, None, None, None, None, *sides)
    lowest, highest = percentile_interval(drawn)
    return Ratio(value, _exp(lowest), _exp(highest), *_open_ends(drawn), *sides)


def common_range(one: Sequence[Point], other: Sequence[Point]) -> tuple[float, float] | None:
    """The least and the greatest accuracy that the curves of both reach; None where they share none."""
    ends = [_range(cells) for cells in (_cells(one), _cells(other)) if len(cells) > 1]
    if len(ends) < 2:
        return None
    low, high = max(low for low, _ in ends), min(high for _, high in ends)
    return (low, high) if high - low > _NARROW else None


def _range(cells: Sequence[Point]) -> tuple[float, float]:
    fitted = isotonic(means_of([cell.values for cell in cells]), _weights(cells))
    return float(fitted[0, 0]), float(fitted[-1, 0])


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
    return crossings(np.log([cell.cost for cell in cells]), _weights(cells), means, targets)


def _weights(cells: Sequence[Point]) -> Array:
    return np.array([len(cell.values) for cell in cells], dtype=np.float64)


def _open_ends(drawn: Ends) -> tuple[float, float]:
    """Shares of draws that have no lower end, and no upper one."""
    return float(np.isneginf(drawn[0]).mean()), float(np.isposinf(drawn[1]).mean())


def _exp(log: float | None) -> float | None:
    return None if log is None or math.isinf(log) else math.exp(log)
