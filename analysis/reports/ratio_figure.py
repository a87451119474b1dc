"""The figure of ratios: what each method needs over what another does, by accuracy, with its 95 % band."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.parts.cells import Cell
from analysis.parts.ratio_curves import SHOWN, RatioCurve, ratio_curves
from analysis.parts.style import METRICS, legend, panels, save, style_of
from suite.config.method_looks import readable

_ONE: dict[str, Any] = {"color": "#999999", "linewidth": 0.8, "zorder": 0}


def draw(found: list[Cell], metric: str, folder: Path, label: str) -> list[Path]:
    """A panel a quantity; nothing where no two methods reach the same accuracies."""
    curves = ratio_curves(found, metric)
    quantities = [quantity for quantity in SHOWN if any(curve.quantity == quantity for curve in curves)]
    if not curves:
        return []
    with panels(len(quantities), f"{label}: ratios for equal accuracy, 95 % band") as (figure, axes):
        for panel, quantity in zip(axes, quantities, strict=True):
            for curve in curves:
                if curve.quantity == quantity:
                    _draw(panel, curve)
            panel.axhline(1.0, **_ONE)
            _scale(panel, metric)
            panel.set_title(quantity)
        axes[0].set_ylabel("ratio")
        legend(figure)
        return save(figure, folder, "ratios")


def _draw(panel: Axes, curve: RatioCurve) -> None:
    """The line, and the band where both its ends are known."""
    accuracies, nan = list(curve.ratios), float("nan")
    told = [
        [nan if end is None else end for end in (each.low, each.value, each.high)] for each in curve.ratios.values()
    ]
    low, value, high = np.array(told, dtype=float).T
    style = {**style_of(curve.one[0].method), "linestyle": "--" if curve.other[0].method == "weights" else "-"}
    name = " / ".join(map(readable, curve.name.split(" / ")))
    (line,) = panel.plot(accuracies, value, label=name, markersize=3, linewidth=1.2, **style)
    panel.fill_between(accuracies, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


def _scale(panel: Axes, metric: str) -> None:
    panel.set(yscale="log", xlabel=METRICS[metric])
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda accuracy, _: f"{100 * accuracy:.6g}%"))
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
