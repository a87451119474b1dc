"""How figures look: one colour, marker and line a method everywhere, told apart without colours too."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from suite import environment

with environment.without("matplotlib"):
    import matplotlib
matplotlib.use("Agg")  # files only: no screen is needed
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from analysis.parts.cells import Cell
from suite.config import METHODS
from suite.config.method_looks import look_of, readable

METRICS = {"test/top1": "test accuracy", "val/top1": "validation accuracy"}  # as people read them
WIDTH, HEIGHT = 6.8, 2.9  # inches: two columns of a paper; a legend comes below
_LETTERS = 100  # on a line as wide as the figure
_CROWDED = 0.9  # where half of the accuracies are above, their errors get a logarithmic axis
_ACCURACIES = (0.1, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)
_FURTHER = [(("-.", "-", "--", ":")[i % 4], ("none", "left", "bottom")[i % 3]) for i in range(12)]  # all different


@dataclass(frozen=True)
class Curve:
    """The cells of one curve, its name in the legend and how it is drawn."""

    name: str
    cells: list[Cell]
    style: dict[str, Any]


def curves(found: list[Cell], *, whatever_sparsity: bool = False) -> list[Curve]:
    """One curve a series; those of one method share colour and marker and differ by line and filling."""
    one_net = len({(cell.dataset, cell.model) for cell in found}) == 1
    by_name: dict[str, list[Cell]] = {}
    for cell in found:
        name = cell.curve if whatever_sparsity else cell.series
        name = readable(name)
        by_name.setdefault(name if one_net else f"{name}, {cell.model}, {cell.dataset}", []).append(cell)
    made: list[Curve] = []
    for name, own in by_name.items():
        method = own[0].method
        style = style_of(method)
        if earlier := sum(curve.cells[0].method == method for curve in made):
            line, filling = _FURTHER[(earlier - 1) % len(_FURTHER)]
            style = {**style, "linestyle": line, "fillstyle": filling}
        made.append(Curve(name, own, style))
    return made


def style_of(method: str) -> dict[str, Any]:
    """The same in all figures, whatever else is in them."""
    look = look_of(method, list(METHODS))
    return {"color": look.color, "marker": look.marker, "linestyle": look.linestyle}


@contextmanager
def panels(num: int, title: str) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of some panels side by side, which share their vertical axis: accuracies."""
    with pyplot.style.context(
        ["default", {"font.size": 8, "axes.titlesize": 8, "svg.hashsalt": title}]
    ):  # not as a matplotlibrc has it
        figure, axes = pyplot.subplots(
            1, num, figsize=(WIDTH, HEIGHT), sharey=True, squeeze=False, layout="constrained"
        )
        for panel in axes[0]:
            panel.grid(alpha=0.3, linewidth=0.5)
            panel.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
        figure.suptitle(title, fontsize=9)
        yield figure, list(axes[0])
        pyplot.close(figure)


def logarithmic(panel: Axes, label: str) -> None:
    """A horizontal axis of counts, of what is drawn already: as many labels as there is room for."""
    panel.set(xscale="log", xlabel=label)
    low, high = panel.get_xlim()
    decades = np.log10(high / low)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.3 else (1, 3) if decades < 2.2 else (1,)))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_minor_formatter(NullFormatter())


def spread_errors(panels: Sequence[Axes], values: Sequence[float]) -> bool:
    """Where accuracies crowd near 1: a vertical axis that is logarithmic in the error; labels stay accuracies.

    Args:
        values: all that is drawn, in [0, 1]. An error of 0 is drawn at half of the smallest other one.

    Returns:
        Whether the axis was changed.
    """
    errors = [1 - value for value in values if value < 1]
    if not errors or float(np.median(values)) < _CROWDED or max(errors) < 2 * min(errors):
        return False
    least = min(errors) / 2
    for panel in panels:
        panel.set_yscale("function", functions=(lambda y: -np.log10(np.maximum(1 - y, least)), lambda e: 1 - 10.0**-e))
        panel.set_ylim(1 - 1.3 * max(errors), 1 - least / 1.05)
        panel.yaxis.set_major_locator(FixedLocator([each for each in _ACCURACIES if each < 1 - least]))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda accuracy, _: f"{100 * accuracy:.6g}%"))
    return True


def legend(figure: Figure) -> None:
    """Below the panels, where it hides no curve: what stands in any; the figure grows by it."""
    drawn = {name: line for panel in figure.axes for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    if drawn:
        columns = max(1, min(len(drawn), _LETTERS // (max(map(len, drawn)) + 8)))  # 8 for the line before a name
        figure.set_figheight(HEIGHT + 0.17 * math.ceil(len(drawn) / columns))
        figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=columns, frameon=False)


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG and SVG; equal figures give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{stem}.png", folder / f"{stem}.svg"]
    for file in files:
        figure.savefig(file, dpi=200, metadata={"Date": None} if file.suffix == ".svg" else None)
    return files
