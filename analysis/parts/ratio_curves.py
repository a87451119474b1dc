"""Ratios of what two methods need, as curves: over the accuracies that both reach."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.parts import ReportTable, without_constant
from analysis.parts.cells import Cell, comparable
from analysis.parts.parameter_efficiency import COMPARED, QUANTITIES, by_series, partner, points
from analysis.parts.seeds import curve_seeds
from analysis.statistics.matching import Ratio, common_range, match_ratio

SHOWN = ("parameters", "stored network, bytes")
_NUM = 12  # accuracies; their first and last are half a step inside of the range
_PARTS = {"a quarter": 3, "half": 6, "three quarters": 9}
_NOTE = (
    "Ratios as curves: over the accuracies that both methods reach (from, to), here a quarter, half and three quarters "
    "of the way, with intervals as of the table of what is needed; `?`: more than 2.5 % of draws of the means do not "
    "bound that end, as one of both is then outside of what was tried. The figure and the CSV file have whole curves."
)


@dataclass(frozen=True)
class RatioCurve:
    """What ``one`` needs over what ``other`` does, in one quantity, by accuracy."""

    quantity: str
    one: list[Cell]
    other: list[Cell]
    ratios: dict[float, Ratio]

    @property
    def name(self) -> str:
        """The ratio in words."""
        return f"{self.one[0].series} / {self.other[0].series}"


def ratio_curves(found: list[Cell], metric: str) -> list[RatioCurve]:
    """Each masked method over the dense network and over edge-popup, in parameters and in stored bytes."""
    return [
        RatioCurve(quantity, one, other, ratios)
        for one, other in _pairs(found, metric)
        for quantity in SHOWN
        if (ratios := _ratios(one, other, metric, quantity))
    ]


def part(found: list[Cell], metric: str) -> ReportTable | None:
    """The table; None where no two methods reach the same accuracies."""
    curves = sorted(ratio_curves(found, metric), key=lambda curve: SHOWN.index(curve.quantity))
    if not curves:
        return None
    numbers = pd.DataFrame([row for curve in curves for row in _numbers(curve, metric)])
    shown = without_constant(pd.DataFrame([_shown(curve) for curve in curves]), found)
    return ReportTable("ratios", "Ratios for equal accuracy", numbers, shown, [_NOTE])


def _pairs(found: list[Cell], metric: str) -> Iterator[tuple[list[Cell], list[Cell]]]:
    for own in comparable(found):
        curves = by_series(own, metric)
        for cells in curves.values():
            for method in COMPARED:
                if other := partner(curves, cells[0], method):
                    yield cells, other


def _ratios(one: list[Cell], other: list[Cell], metric: str, quantity: str) -> dict[float, Ratio]:
    own, others = (points(cells, metric, QUANTITIES[quantity]) for cells in (one, other))
    if (ends := common_range(own, others)) is None:
        return {}
    low, step = ends[0], (ends[1] - ends[0]) / _NUM
    accuracies = [low + step * i for i in range(1, _NUM)]
    return {accuracy: ratio for accuracy in accuracies if (ratio := match_ratio(own, others, accuracy))}


def _numbers(curve: RatioCurve, metric: str) -> Iterator[dict[str, object]]:
    seeds = curve_seeds(curve.one, metric) | {
        f"over_{key}": value for key, value in curve_seeds(curve.other, metric).items()
    }
    for accuracy, ratio in curve.ratios.items():
        yield {**_names(curve), **seeds, "accuracy": accuracy, **vars(ratio)}


def _names(curve: RatioCurve) -> dict[str, str]:
    cell = curve.one[0]
    return {"dataset": cell.dataset, "model": cell.model, "quantity": curve.quantity, "ratio": curve.name}


def _shown(curve: RatioCurve) -> dict[str, str]:
    accuracies = list(curve.ratios)
    step = (accuracies[-1] - accuracies[0]) / (_NUM - 2)
    ends = {"from": accuracies[0] - step, "to": accuracies[-1] + step}
    ratios = {name: _text(curve.ratios[accuracies[place - 1]]) for name, place in _PARTS.items()}
    return {**_names(curve), **{name: f"{100 * end:.2f} %" for name, end in ends.items()}, **ratios}


def _text(ratio: Ratio) -> str:
    low, high = ("?" if end is None else f"{end:.2f}" for end in (ratio.low, ratio.high))
    interval = "" if ratio.below is None else f" ({low} to {high})"
    return ("?" if ratio.value is None else f"{ratio.value:.2f}") + interval
