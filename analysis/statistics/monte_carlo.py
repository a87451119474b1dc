"""Intervals of what is no mean itself but comes from means of cells: they are drawn anew, and it is computed again."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ends = tuple[Array, Array]  # lowest and highest possible value of a quantity, draw by draw; equal where it is known
Quantity = Callable[[Array], Ends]  # of means, (groups, draws)
Group = Sequence[float] | float  # a value a seed, or a number that is exact

DRAWS = 4000
_ROUNDING = 1e-12  # of accuracies: equal ones may differ by this
_TAIL = 0.025  # of draws, on each side of an interval


def varies(values: npt.ArrayLike) -> bool:
    """Whether seeds say how far they scatter: one says nothing, nor do some that have the same value."""
    return bool(np.ptp(values) > _ROUNDING)


def means_of(groups: Sequence[Group]) -> Array:
    """Shape (groups, 1)."""
    return np.array([[np.mean(group)] for group in groups])


def monte_carlo_draws(groups: Sequence[Group], quantity: Quantity, seed: int) -> Ends | None:
    """``DRAWS`` draws of a quantity; None where a group has one seed, or the same value in all, which hides its spread.

    Means are drawn from a multivariate Student t, with the degrees of freedom of Welch and Satterthwaite for the
    quantity (Welch 1947, Biometrika 34, 28-35): one linear in the means gets Welch's t interval. A t distribution of
    its own for each mean, with n - 1 degrees of freedom, is too wide: crossings of 3 seeds were covered in over 99 %.
    An end of the interval moves by about 5 % of half its length from one ``seed`` to another.
    """
    if any(np.ndim(group) and not varies(group) for group in groups):
        return None
    means, random = means_of(groups), np.random.default_rng(seed)
    free = np.array([np.size(group) - 1 or math.inf for group in groups])
    errors = np.array(
        [[np.std(group, ddof=1) / np.sqrt(np.size(group)) if np.ndim(group) else 0.0] for group in groups]
    )
    df = _degrees_of_freedom(means, errors, free, quantity)
    scale = np.sqrt(df / random.chisquare(df, DRAWS))
    return quantity(means + errors * random.standard_normal((len(groups), DRAWS)) * scale)


def _degrees_of_freedom(means: Array, errors: Array, free: Array, quantity: Quantity) -> float:
    """Satterthwaite's, of the quantity made linear: each mean moved by its standard error."""
    steps = np.diag(errors[:, 0])
    low, high = quantity(np.hstack([means + steps, means - steps]))
    told = np.where(np.isfinite(high), high, np.where(np.isfinite(low), low, 0.0))
    variances = (told[: len(means)] - told[len(means) :]) ** 2
    total = float(variances.sum())
    return total**2 / float((variances**2 / free).sum()) if total else float(free.min())


def percentile_interval(ends: Ends) -> tuple[float | None, float | None]:
    """95 %: quantiles of what is lowest and of what is highest; None where they are infinite."""
    low = float(np.quantile(ends[0], _TAIL, method="inverted_cdf"))
    high = float(np.quantile(ends[1], 1 - _TAIL, method="inverted_cdf"))
    return low if math.isfinite(low) else None, high if math.isfinite(high) else None
