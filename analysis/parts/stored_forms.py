"""How many bytes a trained network takes in a file: the smallest form that costs no accuracy on validation images."""

from dataclasses import dataclass
from statistics import fmean
from typing import get_args

from analysis.parts.cells import Cell
from suite.records import Stored, StoredForm, Summary

MAX_ACCURACY_LOSS = (
    0.001  # of an accuracy on validation images, mean over the trials: a form that loses more is not counted
)

_CHOSEN_BY = "val/top1"  # no form is chosen by the images that its accuracy is reported on
_ROUNDING = 1e-9  # of differences of accuracies: 0.9 - 0.899 is more than 0.001


@dataclass(frozen=True)
class Size:
    """Means over the seeds of a cell. ``parts`` are bytes; ``accuracy_loss`` is against float32, in [-1, 1].

    The loss is that of the metric that is reported.
    """

    form: str
    bytes: float
    fp32: float
    parts: dict[str, float]
    accuracy_loss: float

    @property
    def net(self) -> float:
        """Bytes without the header: two formats say the same about a network in headers of different lengths."""
        return self.bytes - self.parts.get("header", 0.0)


def smallest_form(cell: Cell, metric: str) -> Size | None:
    """The smallest form, without its header, that loses at most ``MAX_ACCURACY_LOSS`` of the float32 accuracy.

    It is chosen by the mean accuracy on validation images, and comes with what it loses in ``metric``. None where a
    trial that is done kept no network.
    """
    done = [result for result in cell.results.values() if result.status == "done"]
    lost = {form: _mean_loss(done, form, _CHOSEN_BY) for form in get_args(StoredForm)}
    allowed = [form for form, loss in lost.items() if loss is not None and loss <= MAX_ACCURACY_LOSS + _ROUNDING]
    sizes = [size for form in allowed if (size := _size(done, form, metric))]
    return min(sizes, key=lambda size: size.net, default=None)


def _size(results: list[Summary], form: str, metric: str) -> Size | None:
    """A form that all of some trials have, and of which all say how accurate it is."""
    loss = _mean_loss(results, form, metric)
    if loss is None:
        return None
    own = [stored for result in results if (stored := _of(result, form))]
    exact = [stored for result in results if (stored := _of(result, "fp32"))]
    return Size(
        form=form,
        bytes=fmean(each.bytes for each in own),
        fp32=fmean(each.bytes for each in exact),
        parts={name: fmean(each.parts.get(name, 0) for each in own) for name in own[0].parts},
        accuracy_loss=loss,
    )


def _mean_loss(results: list[Summary], form: str, metric: str) -> float | None:
    """Of accuracy against float32; None where a trial does not tell it."""
    losses = [_loss(result, form, metric) for result in results]
    told = [loss for loss in losses if loss is not None]
    return fmean(told) if told and len(told) == len(losses) else None


def _loss(result: Summary, form: str, metric: str) -> float | None:
    """The ticket is the network itself, and so is a mask with its weights."""
    one, exact = _of(result, form), _of(result, "fp32")
    if one is None or exact is None:
        return None
    if form in ("ticket", "fp32", "sparse-fp32"):
        return 0.0
    before, after = exact.metrics.get(metric), one.metrics.get(metric)
    return None if before is None or after is None else before - after


def _of(result: Summary, form: str) -> Stored | None:
    return next((stored for stored in result.stored if stored.form == form), None)
