"""Intervals of cells: over seeds, and over test images too where those are few."""

import numpy as np

from analysis.parts.cells import Bits, Cell
from analysis.statistics.intervals import Estimate, image_interval, paired_difference, paired_image_interval, t_interval


def of_cell(cell: Cell, metric: str) -> Estimate:
    """The mean of a cell, in [0, 1], with its 95 % interval."""
    correct = cell.correct(metric)
    return image_interval(_stack(correct)) if correct else t_interval(list(cell.values(metric).values()))


def of_difference(left: Cell, right: Cell, metric: str) -> Estimate:
    """The mean of ``left - right`` over the seeds that both have, in [-1, 1], with its 95 % interval."""
    one, other = left.correct(metric), right.correct(metric)
    common = sorted(one.keys() & other.keys())
    if not common:
        return paired_difference(left.values(metric), right.values(metric))
    return paired_image_interval(_stack({seed: one[seed] for seed in common}), _stack({s: other[s] for s in common}))


def _stack(correct: dict[int, Bits]) -> Bits:
    return np.stack([correct[seed] for seed in sorted(correct)])
