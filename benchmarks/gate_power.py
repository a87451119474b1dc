"""What the gate finds and how often it is wrong, simulated with its kept trials:

    python -m benchmarks.gate_power sweeps/width_vs_acc.yaml [--num 200] [--out PATH]

Kept and fresh rows are both drawn from the kept ones, with replacement, plus a little normal noise. One quantity of the
fresh rows is shifted; found is what makes the gate fail. No trial is trained.
"""

from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.gate import REFERENCE
from analysis.parts.cells import cells
from analysis.reports import gate
from analysis.statistics.permutation import FALSE_ALARMS, POWER, Array, clip_outliers
from benchmarks.report import write_table
from suite import cli

FRESH = 5
SHIFTS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)  # in standard deviations of the kept rows
RATES = (0.001, 0.01, 0.05)
_NOISE = 0.1  # standard deviations: rows drawn twice are not quite equal


class Simulated:
    """One draw of kept and fresh rows, (kept + fresh, k), the fresh ones last."""

    def __init__(self, rows: Array, chosen: npt.NDArray[np.int64], random: np.random.Generator) -> None:
        drawn = rows[random.integers(len(rows), size=len(rows) + FRESH)]
        self.spread = clip_outliers(rows).std(axis=0, ddof=1)
        self.values = drawn + _NOISE * self.spread * random.standard_normal(drawn.shape)
        self._chosen = chosen

    def statistic(self, column: Array) -> Array:
        """|standardized difference| of a column, up to a factor: for each arrangement, the actual one last."""
        near = clip_outliers(column)
        scaled = (near - near.mean()) / near.std()
        return np.asarray(np.abs(sum(scaled[self._chosen[:, i]] for i in range(FRESH))))

    @cached_property
    def statistics(self) -> Array:
        """Of all columns, (k, arrangements)."""
        return np.stack([self.statistic(column) for column in self.values.T])

    def p_value(self) -> float:
        """Of the rows as they are: nothing has changed."""
        return _share(self.statistics.max(axis=0))

    def found(self, column: int, others: Array, shift: float) -> bool:
        """Whether the gate fails where one column is shifted; ``others``: the maximum over the other columns."""
        moved = self.values[:, column].copy()
        moved[-FRESH:] += shift * self.spread[column]
        return _share(np.maximum(others, self.statistic(moved))) <= FALSE_ALARMS


def _share(largest: Array) -> float:
    """Of the arrangements that differ as much as the actual one, the last."""
    return float(np.mean(largest >= largest[-1] * (1 - 1e-9)))


def false_alarms(rows: Array, chosen: npt.NDArray[np.int64], num: int, seed: int) -> pd.DataFrame:
    """How often the gate would fail at some rates where nothing has changed."""
    random = np.random.default_rng(seed)
    p_values = np.array([Simulated(rows, chosen, random).p_value() for _ in range(num)])
    return pd.DataFrame({"rate": RATES, "alarms": [int((p_values <= rate).sum()) for rate in RATES], "of": num})


def power(rows: Array, chosen: npt.NDArray[np.int64], num: int, seed: int) -> Array:
    """The share of draws in which each shift of each column is found, (k, shifts)."""
    random, found = np.random.default_rng(seed), np.zeros((rows.shape[1], len(SHIFTS)))
    for _ in range(num):
        drawn = Simulated(rows, chosen, random)
        for column in range(rows.shape[1]):
            others = np.delete(drawn.statistics, column, axis=0).max(axis=0)
            found[column] += [drawn.found(column, others, sign * shift) for sign, shift in _signed(random)]
    return found / num


def _signed(random: np.random.Generator) -> list[tuple[int, float]]:
    """Each shift up or down: tails differ."""
    return list(zip(random.choice([-1, 1], len(SHIFTS)), SHIFTS, strict=True))


def power_table(compared: gate.PermutationTest, columns: list[str], shares: Array) -> pd.DataFrame:
    """A row a quantity: shares by shift, and the shift that is found in 90 %, in its own unit."""
    spread = compared.groups[0].std(axis=0, ddof=1)
    rows = []
    for name, own, sd in zip(columns, shares, spread, strict=True):
        told = {f"{shift:g} sd": share for shift, share in zip(SHIFTS, own, strict=True)}
        shift = (
            float(np.interp(POWER, np.maximum.accumulate(own), SHIFTS)) * sd
        )  # the largest, where that is not enough
        factor = any(name.endswith(measure) for measure in gate.MEASURES)
        text = ("" if own.max() >= POWER else "> ") + (f"x {np.exp(shift):.2f}" if factor else f"{100 * shift:.2f}")
        rows.append({"": name} | told | {"found 90 %": text})
    return pd.DataFrame(rows)


def main() -> None:
    """Simulate both, print and keep the tables."""
    parser = cli.sweep_parser("python -m benchmarks.gate_power", "False alarms and power of the gate, on kept trials.")
    parser.add_argument("--num", type=int, default=200, help="draws for the power, ten times as many for false alarms")
    parser.add_argument("--out", help="path of the tables, without ending")
    args = parser.parse_args()
    sweep, ledger = cli.load(args)
    compared, columns = gate.compare(sweep, cells(sweep, ledger), gate.read(REFERENCE))
    rows = compared.reference
    chosen = np.array(list(combinations(range(len(rows) + FRESH), FRESH)))
    write_table(power_table(compared, columns, power(rows, chosen, args.num, seed=0)), args.out)
    write_table(false_alarms(rows, chosen, 10 * args.num, seed=1), None)


if __name__ == "__main__":
    main()
