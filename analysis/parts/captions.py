"""What intervals of a table are about: other seeds, and these test images or others too."""

from analysis.parts.cells import Cell
from analysis.parts.estimates import has_few_images
from analysis.statistics.monte_carlo import varies
from suite.records import SMALL_TEST

_SMALL = (
    f"Intervals, 95 %: for other seeds and other test images (test sets below {SMALL_TEST} images are a sample too)."
)
_LARGE = "Intervals, 95 %: Student t over seeds, on this test set."
_WIDER = "On new images: the same interval for other test images too, which can be several times as wide."
_UNKNOWN = (
    "On this test set alone, as records do not say which of its images were right (for new images, intervals can be "
    "several times as wide): {names}."
)
_VALIDATION = "Intervals, 95 %: Student t over seeds, on these validation images."
_SAME = "No interval, as all seeds have the same accuracy, which hides how far others would be from it: {names}."


def interval_notes(found: list[Cell], metric: str) -> list[str]:
    """The lines under the table of accuracies."""
    own = [cell for cell in found if cell.values(metric)]
    if metric != "test/top1":
        return [_VALIDATION, *_same(own, metric)]
    few = [cell for cell in own if has_few_images(cell) and cell.correct(metric)]
    large = [cell for cell in own if not has_few_images(cell) and cell.correct(metric)]
    unknown = [cell.name for cell in own if not cell.correct(metric)]
    notes = [_SMALL] * bool(few) + [_LARGE] * (len(few) < max(len(own), 1)) + [_WIDER] * bool(large)
    return notes + [_UNKNOWN.format(names=_listed(unknown, len(own)))] * bool(unknown) + _same(own, metric)


def _same(own: list[Cell], metric: str) -> list[str]:
    over_seeds = [cell for cell in own if not cell.correct(metric) and len(cell.values(metric)) > 1]
    names = [cell.name for cell in over_seeds if not varies(list(cell.values(metric).values()))]
    return [_SAME.format(names="; ".join(names))] * bool(names)


def _listed(names: list[str], num: int) -> str:
    return "all" if len(names) == num else "; ".join(names)
