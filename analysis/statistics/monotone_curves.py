"""Monotone, smooth curves of accuracy over the logarithm of cost, of many draws at once: where they reach a target."""

import math

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from analysis.statistics.monte_carlo import Array, Ends

_ROUNDING = 1e-12  # of accuracies: equal ones may come out of sums this far apart
_HALVINGS = 40  # of a piece: its crossing is then known to 1e-11 of its length


def crossings(logs: Array, weights: Array, means: Array, targets: Array) -> Ends:
    """The lowest and the highest possible logarithm of the cost that each draw needs, (draws,) each.

    The means are made monotone by least squares. Cells that this pools become one point, at their mean logarithm, and
    PCHIP joins the points (Fritsch and Carlson 1980, SIAM Journal on Numerical Analysis 17, 238-246). The crossing is
    the smallest cost at which that curve reaches the target. Nothing is extrapolated: a target below the first point
    has no lower end, one above the last point no upper end.

    Args:
        logs: (cells,) logarithms of costs, ascending.
        weights: (cells,) seeds of each cell.
        means: (cells, draws) accuracies.
        targets: (draws,) accuracies.
    """
    fitted = isotonic(means, weights)
    pooled = _pooled(means, fitted)
    patterns = pooled.T @ (1 << np.arange(len(pooled)))  # a number for each way to pool; 0 for a single cell
    low, high = np.empty_like(targets), np.empty_like(targets)
    for pattern in np.unique(patterns):
        draws = np.flatnonzero(patterns == pattern)
        starts = np.flatnonzero(np.concatenate([[True], ~pooled[:, draws[0]]]))
        points = np.add.reduceat(weights * logs, starts) / np.add.reduceat(weights, starts)
        low[draws], high[draws] = _reach(points, fitted[np.ix_(starts, draws)], targets[draws])
    return low, high


def isotonic(means: Array, weights: Array) -> Array:
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


def _pooled(means: Array, fitted: Array) -> npt.NDArray[np.bool_]:
    """Whether a cell and the next one became one, (cells - 1, draws). Equal means that were not moved are a plateau."""
    moved = np.abs(means - fitted) > _ROUNDING
    return np.asarray((np.diff(fitted, axis=0) <= _ROUNDING) & (moved[:-1] | moved[1:]))


def _reach(points: Array, heights: Array, targets: Array) -> Ends:
    """Of curves through (points, draws) ``heights`` at (points,) logarithms."""
    inside = _inverse(points, heights, targets) if len(points) > 1 else np.full_like(targets, points[0])
    below, above = heights[0] > targets + _ROUNDING, heights[-1] < targets - _ROUNDING
    low = np.where(below, -math.inf, np.where(above, points[-1], inside))
    return low, np.where(below, points[0], np.where(above, math.inf, inside))


def _inverse(points: Array, heights: Array, targets: Array) -> Array:
    """Where a curve first reaches its target, by halving the piece that does."""
    after = np.clip((heights >= targets - _ROUNDING).argmax(axis=0), 1, None)
    cubic = PchipInterpolator(points, heights, axis=0).c[:, after - 1, np.arange(len(targets))]
    start, end = np.zeros_like(targets), points[after] - points[after - 1]
    for _ in range(_HALVINGS):
        middle = (start + end) / 2
        reached = ((cubic[0] * middle + cubic[1]) * middle + cubic[2]) * middle + cubic[3] >= targets
        start, end = np.where(reached, start, middle), np.where(reached, middle, end)
    return np.asarray(points[after - 1] + end)
