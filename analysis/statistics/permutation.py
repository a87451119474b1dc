"""A permutation test on the largest standardized difference of two groups of rows, over all columns.

Westfall and Young, "Resampling-based multiple testing", 1993, section 2.5: whatever the distribution of a row, rows are
exchangeable where nothing has changed.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from suite.config import InputError

FALSE_ALARMS, POWER = 1e-3, 0.9  # over all columns
_FENCE = 3.0  # interquartile ranges outside of the quartiles
_MOST = 1_000_000  # arrangements that are looked at
_ROUNDING = 1e-9  # equal statistics differ in their last bits

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PermutationTest:
    """Fresh values (n, k) against reference values (m, k): a row a seed, a column a quantity; clipped together.

    Raises:
        InputError: too few seeds for the false-alarm rate, or too many to look at every arrangement.
    """

    reference: Array
    fresh: Array
    false_alarms: float = FALSE_ALARMS

    def __post_init__(self) -> None:
        count, least = math.comb(self._num, len(self.fresh)), math.ceil(1 / self.false_alarms)
        if not least <= count <= _MOST:
            raise InputError(
                f"{len(self.fresh)} fresh and {len(self.reference)} kept seeds: {count} ways to choose the fresh ones: "
                f"must be {least} to {_MOST}; --set 'seed=[...]' chooses the fresh seeds"
            )

    @property
    def _num(self) -> int:
        return len(self.fresh) + len(self.reference)

    @cached_property
    def rows(self) -> Array:
        """All of them, (m + n, k), the fresh ones last, as they are compared."""
        return clip_outliers(np.concatenate([self.reference, self.fresh]))

    @property
    def groups(self) -> tuple[Array, Array]:
        """Reference and fresh values as they are compared."""
        return self.rows[: len(self.reference)], self.rows[len(self.reference) :]

    @property
    def num_clipped(self) -> int:
        """Values that were too far from the others."""
        return int((self.rows != np.concatenate([self.reference, self.fresh])).sum())

    @property
    def difference(self) -> Array:
        """Fresh mean - reference mean, (k,)."""
        reference, fresh = self.groups
        return np.asarray(fresh.mean(axis=0) - reference.mean(axis=0))

    @cached_property
    def _error(self) -> Array:
        """Standard error of ``difference`` where nothing has changed, (k,): it is equal for all arrangements."""
        return np.asarray(self.rows.std(axis=0, ddof=1) * self._root)

    @cached_property
    def _arranged(self) -> Array:
        return max_statistics(self.rows, len(self.fresh))

    @cached_property
    def critical(self) -> float:
        """The largest |standardized difference| that passes: at most ``false_alarms`` of the arrangements exceed it."""
        descending = np.sort(self._arranged)[::-1]
        return float(descending[math.floor(self.false_alarms * len(descending))])

    @property
    def p_value(self) -> float:
        """The share of the arrangements that differ as much as the actual one."""
        own = np.divide(np.abs(self.difference), self._error, out=np.zeros_like(self._error), where=self._error > 0)
        return float(np.mean(self._arranged >= own.max() * (1 - _ROUNDING)))

    @property
    def significant(self) -> npt.NDArray[np.bool_]:
        """Which quantities differ by more than chance, (k,)."""
        return np.abs(self.difference) > self.critical * self._error * (1 + _ROUNDING)

    @property
    def critical_difference(self) -> Array:
        """The largest |difference| that passes, (k,), in units of the values."""
        return self._quantile * self._error_within

    def detectable_shift(self, power: float = POWER) -> Array:
        """The shift of one column that is found with ``power``, (k,), by the noncentral t distribution."""

        def missing(noncentrality: float) -> float:
            return float(stats.nct.sf(self._quantile, self._num - 2, noncentrality)) - power

        shift = float(optimize.brentq(missing, 0.0, 4 * self._quantile + 20))
        return shift * self._error_within

    @property
    def _error_within(self) -> Array:
        """Standard error of ``difference`` from the spread within the fresh and within the kept seeds, (k,)."""
        squares = sum(((group - group.mean(axis=0)) ** 2).sum(axis=0) for group in self.groups)
        return np.asarray(np.sqrt(squares / (self._num - 2)) * self._root)

    @property
    def _quantile(self) -> float:
        """``critical`` as a t: in units of the spread within both groups, not of that of all values."""
        ratio = self.critical**2 / (self._num - 1 - self.critical**2)
        return math.sqrt((self._num - 2) * ratio)

    @property
    def _root(self) -> float:
        return math.sqrt(1 / len(self.fresh) + 1 / len(self.reference))


def clip_outliers(values: Array) -> Array:
    """Values beyond Tukey's outer fences, 3 interquartile ranges outside of their column's quartiles, set to these.

    Else one network that learned nothing would widen its column until no change is found there. It is done to all rows
    alike, so they stay exchangeable.
    """
    low, high = np.quantile(values, [0.25, 0.75], axis=0)
    reach = np.where(high > low, _FENCE * (high - low), np.inf)
    return np.clip(values, low - reach, high + reach)


def max_statistics(values: Array, num_fresh: int) -> Array:
    """For each way to call ``num_fresh`` of the rows fresh: the largest |standardized difference| over the columns."""
    spread = values.std(axis=0, ddof=1)
    scaled = np.divide(values - values.mean(axis=0), spread, out=np.zeros_like(values), where=spread > 0)
    chosen = np.array(list(combinations(range(len(values)), num_fresh)))
    sums = sum(scaled[chosen[:, i]] for i in range(num_fresh))
    unit = num_fresh * (1 - num_fresh / len(values)) * math.sqrt(1 / num_fresh + 1 / (len(values) - num_fresh))
    return np.asarray(np.abs(sums).max(axis=1) / unit)
