"""Intervals. Student's t over seeds, and paired by seed for differences between methods (DESIGN, section 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` seeds and the half-width of its interval; None where n < 2 gives no interval."""

    n: int
    mean: float
    half_width: float | None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval of an accuracy: cut at 0 and 1, which it may reach over."""
        if self.half_width is None:
            return None
        return max(self.mean - self.half_width, 0.0), min(self.mean + self.half_width, 1.0)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Mean of independent ``values`` with a two-sided Student t interval."""
    n = len(values)
    if n < 2:
        return Estimate(n, float(np.mean(values)) if n else float("nan"), None)
    quantile = float(stats.t.ppf((1 + confidence) / 2, df=n - 1))
    return Estimate(n, float(np.mean(values)), quantile * float(stats.sem(values)))


def paired_difference(left: Mapping[int, float], right: Mapping[int, float], confidence: float = 0.95) -> Estimate:
    """Mean of ``left - right`` over the seeds that both have (they saw the same batches), with its t interval."""
    seeds = sorted(left.keys() & right.keys())
    return t_interval([left[seed] - right[seed] for seed in seeds], confidence)
