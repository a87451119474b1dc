"""How often intervals hold the truth where curves bend, spreads differ, networks are perfect or dead, simulated:

    python -m benchmarks.interval_coverage [--num 250] [--out PATH]

Each sweep has four costs, four times one another, and two methods with the same curve, one at 0.6 times the cost. The
target is exact, and in the middle of a piece, each piece in turn. No trial is trained.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.statistics import monte_carlo
from analysis.statistics.intervals import Estimate, t_interval, welch_difference
from analysis.statistics.matching import Match, Point, Ratio, match, match_ratio
from benchmarks.report import write_table

Array = npt.NDArray[np.float64]
COSTS = 4.0 ** np.arange(4)
RATIO = 0.6
SEEDS = (3, 5, 8)
DEAD, CHANCE = 1 / 12, 0.1
_DRAWS = 1000  # of each interval, a quarter of those of tables, for speed


def power_law(cost: Array) -> Array:
    """Errors of 20 to 7 %."""
    return 1 - 0.2 * cost**-0.25


def logistic(cost: Array) -> Array:
    """Accuracies of 37 to 95 %, steepest in the middle."""
    return 0.1 + 0.87 / (1 + np.exp(-1.3 * (np.log(cost) - 0.6)))


def dip(cost: Array) -> Array:
    """The power law with a bump that makes the third mean less than the second."""
    return power_law(cost) - 0.05 * np.exp(-(((np.log(cost) - np.log(16)) / 0.8) ** 2))


def near_one(cost: Array) -> Array:
    """Errors of 2 to 0.25 %."""
    return 1 - 0.02 * cost**-0.5


@dataclass(frozen=True)
class Scenario:
    """A truth, the standard deviation of seeds at the first and at the last cost, and the share of dead networks."""

    name: str
    truth: Callable[[Array], Array]
    spreads: tuple[float, float] = (0.002, 0.002)
    dead: float = 0.0

    def mean(self, cost: Array) -> Array:
        """Of all seeds, dead ones too."""
        return (1 - self.dead) * self.truth(cost) + self.dead * CHANCE

    def values(self, random: np.random.Generator, scale: float, n: int) -> Array:
        """Accuracies of a method that needs ``scale`` times the cost, (costs, seeds)."""
        spread = np.geomspace(*self.spreads, len(COSTS))[:, None]
        values = self.truth(COSTS / scale)[:, None] + spread * random.standard_normal((len(COSTS), n))
        return np.where(random.random(values.shape) < self.dead, CHANCE, np.minimum(values, 1.0))


SCENARIOS = [
    Scenario("power law", power_law),
    Scenario("power law, sd 0.1 points", power_law, (0.001, 0.001)),
    Scenario("power law, sd 0.8 to 0.1 points", power_law, (0.008, 0.001)),
    Scenario("logistic", logistic),
    Scenario("a dip", dip),
    Scenario("near 100 %", near_one, (0.002, 0.0005)),
    Scenario("one dead seed in twelve", power_law, dead=DEAD),
]


def _points(values: Array) -> list[Point]:
    return [Point(float(cost), own.tolist()) for cost, own in zip(COSTS, values, strict=True)]


def _true_cost(scenario: Scenario, target: float) -> float:
    """The smallest one at which the truth reaches the target."""
    costs = np.geomspace(COSTS[0], COSTS[-1], 20001)
    return float(costs[(scenario.mean(costs) >= target).argmax()])


def _holds(found: Match | Ratio | None, truth: float) -> bool:
    """An end that is not known holds everything; no interval holds nothing."""
    if found is None or (found.low is None and found.high is None):
        return False
    return (found.low or 0.0) <= truth <= (found.high or np.inf)


def crossings(scenario: Scenario, n: int, num: int) -> dict[str, float]:
    """Shares of sweeps whose intervals of a cost and of a ratio hold the truth, and how far both are off."""
    random, held, off = np.random.default_rng(n), [], []
    for i in range(num):
        target = float(scenario.mean(np.array(2.0 * COSTS[i % 3])))
        one, other = (_points(scenario.values(random, scale, n)) for scale in (1.0, 1 / RATIO))
        needed, ratio = match(one, target), match_ratio(one, other, target)
        truths = _true_cost(scenario, target), RATIO
        held.append([_holds(needed, truths[0]), _holds(ratio, truths[1])])
        if needed and needed.cost and ratio and ratio.value:
            off.append([np.log(needed.cost / truths[0]), np.log(ratio.value / truths[1])])
    cost, ratios = np.mean(held, axis=0)
    bias = np.exp(np.median(off, axis=0))
    return {"cost": cost, "ratio": ratios, "cost x": bias[0], "ratio x": bias[1]}


def means(scenario: Scenario, n: int, num: int) -> dict[str, float]:
    """Shares of sweeps in which the mean of the widest and its difference to the next hold the truth."""
    random, held, widths = np.random.default_rng(n), [], []
    truths = scenario.mean(COSTS)
    for _ in range(num):
        values = scenario.values(random, 1.0, n)
        mean, difference = t_interval(values[3].tolist()), welch_difference(values[3].tolist(), values[2].tolist())
        held.append([_within(mean, truths[3]), _within(difference, truths[3] - truths[2])])
        widths.append(difference.half_width or np.nan)
    mean_held, difference_held = np.mean(held, axis=0)
    return {"mean": mean_held, "difference": difference_held, "half width, points": 100 * float(np.nanmean(widths))}


def _within(estimate: Estimate, truth: float) -> bool:
    return estimate.bounds is not None and estimate.bounds[0] <= truth <= estimate.bounds[1]


def rows(num: int) -> Iterator[dict[str, object]]:
    """A row a scenario and number of seeds."""
    for scenario in SCENARIOS:
        for n in SEEDS:
            yield {"truth": scenario.name, "n": n, **means(scenario, n, 4 * num), **crossings(scenario, n, num)}


def main() -> None:
    """Simulate all, print and keep the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interval_coverage")
    parser.add_argument("--num", type=int, default=250, help="sweeps of each kind, four times as many for means")
    parser.add_argument("--out", help="path of the table, without ending")
    args = parser.parse_args()
    monte_carlo.DRAWS = _DRAWS
    write_table(pd.DataFrame(list(rows(args.num))), args.out)


if __name__ == "__main__":
    main()
