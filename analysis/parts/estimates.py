"""Intervals of cells: over seeds, and over test images too where those are few."""

import numpy as np

from analysis.parts.cells import Bits, Cell
from analysis.statistics.intervals import Estimate, contrast, image_contrast, image_interval, t_interval
from suite.records import SMALL_TEST

Term = tuple[float, Cell]  # a factor, and the cell whose mean it multiplies


def of_cell(cell: Cell, metric: str) -> Estimate:
    """The mean of a cell, in [0, 1], with its 95 % interval: on these test images, or on others where these are few."""
    few = _over_images(cell, metric) if has_few_images(cell) else None
    return few or t_interval(list(cell.values(metric).values()))


def of_cell_on_new_images(cell: Cell, metric: str) -> Estimate | None:
    """The same on other images, of a large test set; None where records do not say which were right."""
    return None if has_few_images(cell) else _over_images(cell, metric)


def of_contrast(metric: str, *terms: Term) -> Estimate:
    """A sum of means of cells, each times a factor, as 1 and -1 for a difference, with its 95 % interval."""
    few = _contrast_over_images(metric, *terms) if all(has_few_images(cell) for _, cell in terms) else None
    return few or contrast(*((factor, list(cell.values(metric).values())) for factor, cell in terms))


def of_contrast_on_new_images(metric: str, *terms: Term) -> Estimate | None:
    """The same on other images, of a large test set; None where records do not say which were right."""
    few = any(has_few_images(cell) for _, cell in terms)
    return None if few else _contrast_over_images(metric, *terms)


def has_few_images(cell: Cell) -> bool:
    """Whether its test images are so few that they are always counted as a sample."""
    return all(result.num_test_images < SMALL_TEST for result in cell.results.values())


def _over_images(cell: Cell, metric: str) -> Estimate | None:
    correct = cell.correct(metric)
    return image_interval(_stack(correct)) if correct else None


def _contrast_over_images(metric: str, *terms: Term) -> Estimate | None:
    correct = [(factor, cell.correct(metric)) for factor, cell in terms]
    if not all(own for _, own in correct):
        return None
    return image_contrast(*((factor, _stack(own)) for factor, own in correct))


def _stack(correct: dict[int, Bits]) -> Bits:
    return np.stack([correct[seed] for seed in sorted(correct)])
