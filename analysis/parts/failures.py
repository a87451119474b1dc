"""Trials that gave no accuracy: cells with them left out, and with each of them as a network that guesses."""

from collections.abc import Iterator
from dataclasses import replace

from analysis.parts.cells import Cell

_IN_OLDER_RECORDS = {"digits": 10, "mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100, "imagenet": 1000}
SUFFIX = ", failures at chance"
CHANCE = (
    "Failures at chance: a trial that diverged or failed counts as a network that guesses; "
    "intervals of these rows are over seeds alone, and there is none where all seeds failed."
)


def failed_seeds(cell: Cell) -> list[int]:
    """Seeds whose trial diverged or failed."""
    return sorted(seed for seed, state in cell.missing.items() if state in ("diverged", "failed"))


def at_chance(cell: Cell) -> Cell | None:
    """The cell with its failures at the accuracy of chance; None where it has none, or where that is not known."""
    failed, classes = failed_seeds(cell), cell.num_classes or _IN_OLDER_RECORDS.get(cell.dataset)
    if not failed or classes is None:
        return None
    return replace(cell, series=cell.series + SUFFIX, guesses=dict.fromkeys(failed, 1 / classes))


def with_failures(found: list[Cell]) -> Iterator[Cell]:
    """Each cell; one that has failures a second time, with these at chance."""
    for cell in found:
        yield cell
        if (other := at_chance(cell)) is not None:
            yield other
