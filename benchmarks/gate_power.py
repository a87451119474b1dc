"""What the gate finds and how often it is wrong, simulated with its kept trials:

    python -m benchmarks.gate_power sweeps/width_vs_acc.yaml [--num 200] [--false-alarms 20000] [--out PATH]

Kept and fresh rows are both drawn from the kept ones, with replacement, plus a little normal noise. For the power one
quantity of the fresh rows is shifted; found is what makes the gate fail. No trial is trained, and none must be there.
"""

import sys
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from analysis.gate import REFERENCE
from analysis.parts.cells import cells
from analysis.reports import gate
from analysis.statistics.permutation import FALSE_ALARMS, POWER, Array, clip_outliers
from benchmarks.report import write_table
from suite import cli

FRESH = 5
SHIFTS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)  # in standard deviations of the kept rows
RATES = (0.001, 0.01)
_NOISE = 0.1  # standard deviations: rows drawn twice are not quite equal
_PARTS = 100  # of the arrangements: most draws need only the first few
_ROUNDING = 1 - 1e-9


class Simulated:
    """One draw of kept and fresh rows, (kept + fresh, k), the fresh ones last.

    Args:
        rows: (kept, k), what is drawn from.
        members: (arrangements, kept + fresh), 1 where a row is one of the fresh; the actual arrangement last.
        random: where the draw comes from.
    """

    def __init__(self, rows: Array, members: Array, random: np.random.Generator) -> None:
        drawn = rows[random.integers(len(rows), size=len(rows) + FRESH)]
        self.spread = clip_outliers(rows).std(axis=0, ddof=1)
        self.values = drawn + _NOISE * self.spread * random.standard_normal(drawn.shape)
        self._members = members

    @cached_property
    def statistics(self) -> Array:
        """Of all columns, (k, arrangements)."""
        return np.abs(self._members @ _standardized(self.values)).T

    def p_value(self, highest: float = 1.0) -> float:
        """Of the rows as they are: nothing has changed. Exact up to ``highest``; above that, some number above it."""
        scaled, reached = _standardized(self.values), 0
        actual = _largest(self._members[-1:] @ scaled)[0] * _ROUNDING
        for part in range(_PARTS):
            reached += int((_largest(self._members[part::_PARTS] @ scaled) >= actual).sum())
            if reached > highest * len(self._members):
                break
        return reached / len(self._members)

    def found(self, column: int, others: Array, shift: float) -> bool:
        """Whether the gate fails where one column is shifted; ``others``: the maximum over the other columns."""
        moved = self.values[:, [column]].copy()
        moved[-FRESH:] += shift * self.spread[column]
        largest = np.maximum(others, np.abs(self._members @ _standardized(moved))[:, 0])
        return float(np.mean(largest >= largest[-1] * _ROUNDING)) <= FALSE_ALARMS


def _standardized(values: Array) -> Array:
    """Columns of mean 0 and spread 1: sums of fresh rows are then differences of means, up to one factor."""
    near = clip_outliers(values)
    return np.asarray((near - near.mean(axis=0)) / near.std(axis=0))


def _largest(sums: Array) -> Array:
    return np.asarray(np.abs(sums).max(axis=1))


def arrangements(num: int) -> Array:
    """Every way to call ``FRESH`` of ``num`` rows the fresh ones: (ways, num) of 0 and 1, the last rows last."""
    chosen = np.array(list(combinations(range(num), FRESH)))
    members = np.zeros((len(chosen), num))
    np.put_along_axis(members, chosen, 1.0, axis=1)
    return members


def false_alarms(rows: Array, members: Array, num: int, seed: int) -> pd.DataFrame:
    """How often the gate would fail at some rates where nothing has changed, with exact 95 % intervals."""
    random, found = np.random.default_rng(seed), []
    p_values = np.array([Simulated(rows, members, random).p_value(max(RATES)) for _ in range(num)])
    for rate in RATES:
        alarms = int((p_values <= rate).sum())
        share = stats.binomtest(alarms, num).proportion_ci(0.95, "exact")
        row = {"rate": rate, "alarms": alarms, "of": num, "expected": rate * num}
        found.append(row | {"share": alarms / num, "low": share.low, "high": share.high})
    return pd.DataFrame(found)


def power(rows: Array, members: Array, num: int, seed: int) -> Array:
    """The share of draws in which each shift of each column is found, (k, shifts)."""
    random, found = np.random.default_rng(seed), np.zeros((rows.shape[1], len(SHIFTS)))
    for _ in range(num):
        drawn = Simulated(rows, members, random)
        for column in range(rows.shape[1]):
            others = np.delete(drawn.statistics, column, axis=0).max(axis=0)
            found[column] += [drawn.found(column, others, sign * shift) for sign, shift in _signed(random)]
    return found / num


def _signed(random: np.random.Generator) -> list[tuple[int, float]]:
    """Each shift up or down: tails differ."""
    return list(zip(random.choice([-1, 1], len(SHIFTS)), SHIFTS, strict=True))


def power_table(kept: pd.DataFrame, shares: Array) -> pd.DataFrame:
    """A row a quantity: shares by shift, and the shift that is found in 90 %, in its own unit."""
    spread = clip_outliers(kept.to_numpy()).std(axis=0, ddof=1)
    rows = []
    for name, own, sd in zip(kept.columns, shares, spread, strict=True):
        told = {f"{shift:g} sd": share for shift, share in zip(SHIFTS, own, strict=True)}
        shift = (
            float(np.interp(POWER, np.maximum.accumulate(own), SHIFTS)) * sd
        )  # the largest, where that is not enough
        factor = any(name.endswith(measure) for measure in gate.MEASURES)
        text = ("" if own.max() >= POWER else "> ") + (f"x {np.exp(shift):.2f}" if factor else f"{100 * shift:.2f}")
        rows.append({"": name} | told | {"found 90 %": text})
    return pd.DataFrame(rows)


def parser() -> cli.CommandParser:
    """The arguments: how much is drawn, and where tables go."""
    made = cli.sweep_parser(
        "benchmarks.gate_power",
        "False alarms and power of the gate, simulated with its kept trials.",
        example="python -m benchmarks.gate_power sweeps/width_vs_acc.yaml",
    )
    made.add_argument("--num", type=int, default=200, help="draws for the power; 0: none; default: %(default)s")
    made.add_argument("--false-alarms", type=int, default=20_000, help="draws without a shift; default: %(default)s")
    made.add_argument("--out", help="path of the tables, without ending")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate both, print and keep the tables."""
    args = parser().parse_args(argv)
    sweep, ledger = cli.load(args, may_be_absent=True)
    kept = gate.kept_quantities(sweep, cells(sweep, ledger), gate.read(REFERENCE))
    rows = kept.to_numpy()
    members = arrangements(len(rows) + FRESH)
    if args.num:
        write_table(power_table(kept, power(rows, members, args.num, seed=0)), args.out)
    alarms = false_alarms(rows, members, args.false_alarms, seed=1)
    write_table(alarms, f"{args.out}_false_alarms" if args.out else None)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
