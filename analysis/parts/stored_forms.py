"""How many bytes a trained network takes in a file: the smallest form that costs no accuracy."""

from dataclasses import dataclass
from statistics import fmean

from analysis.parts.cells import Cell
from suite.records import Stored, Summary

MAX_ACCURACY_LOSS = 0.001  # of an accuracy: a form that loses more is not counted, but for one image a trial

_ROUNDING = 1e-9  # of differences of accuracies: 0.9 - 0.899 is more than 0.001


@dataclass(frozen=True)
class Size:
    """Means over the seeds of a cell. ``parts`` are bytes; ``accuracy_loss`` is against float32, in [-1, 1]."""

    form: str
    bytes: float
    fp32: float
    parts: dict[str, float]
    accuracy_loss: float


def smallest_form(cell: Cell, metric: str) -> Size | None:
    """The smallest form whose mean accuracy is at most ``MAX_ACCURACY_LOSS``, or one test image, below that in float32.

    None where a trial that is done kept no network.
    """
    done = [result for result in cell.results.values() if result.status == "done"]
    found = [size for form in ("ticket", "int8", "bf16", "fp32") if (size := _size(done, form, metric))]
    images = min((result.num_test_images for result in done), default=0)
    allowed = max(MAX_ACCURACY_LOSS, 1 / images if images else 0.0)
    return min(
        (size for size in found if size.accuracy_loss <= allowed + _ROUNDING), key=lambda size: size.bytes, default=None
    )


def _size(results: list[Summary], form: str, metric: str) -> Size | None:
    """A form that all of some trials have, and of which all say how accurate it is."""
    own, exact = [_of(result, form) for result in results], [_of(result, "fp32") for result in results]
    pairs = [(one, other) for one, other in zip(own, exact, strict=True) if one is not None and other is not None]
    losses = [accuracy_loss for one, other in pairs if (accuracy_loss := _loss(one, other, metric)) is not None]
    if not pairs or len(losses) < len(results):
        return None
    names = pairs[0][0].parts
    return Size(
        form=form,
        bytes=fmean(one.bytes for one, _ in pairs),
        fp32=fmean(other.bytes for _, other in pairs),
        parts={name: fmean(one.parts.get(name, 0) for one, _ in pairs) for name in names},
        accuracy_loss=fmean(losses),
    )


def _of(result: Summary, form: str) -> Stored | None:
    return next((stored for stored in result.stored if stored.form == form), None)


def _loss(one: Stored, exact: Stored, metric: str) -> float | None:
    """Of accuracy; None where it is not told. The ticket is the network itself."""
    if one.form in ("ticket", exact.form):
        return 0.0
    before, after = exact.metrics.get(metric), one.metrics.get(metric)
    return None if before is None or after is None else before - after
