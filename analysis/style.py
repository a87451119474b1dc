"""How figures look: one colour, marker and line a method everywhere, told apart without colours too."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: no screen is needed
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

from analysis.rows import Cell

STYLES = {
    "weights": {"color": "#444444", "marker": "s", "linestyle": "--"},
    "edge_popup": {"color": "#0072b2", "marker": "o", "linestyle": ":"},
    "iterand": {"color": "#d55e00", "marker": "^", "linestyle": "-"},
}
MAX_NAMED = 10  # a longer legend would hide the curves
WIDTH = 6.8  # inches: two columns of a paper
_OTHERS = itertools.cycle("DvPX*")
_FURTHER = [(line, filling) for filling in ("none", "left", "bottom") for line in ("-.", "-", "--", ":")]


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
        by_name.setdefault(name if one_net else f"{name}, {cell.model}, {cell.dataset}", []).append(cell)
    made: list[Curve] = []
    for name, own in by_name.items():
        method = own[0].method
        style: dict[str, Any] = STYLES.setdefault(method, {"marker": next(_OTHERS), "linestyle": "-"})
        if earlier := sum(curve.cells[0].method == method for curve in made):
            line, filling = _FURTHER[(earlier - 1) % len(_FURTHER)]
            style = {**style, "linestyle": line, "fillstyle": filling}
        made.append(Curve(name, own, style))
    return made


@contextmanager
def panels(num: int, title: str) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of some panels side by side, which share their vertical axis: accuracies."""
    with pyplot.rc_context({"font.size": 8, "svg.hashsalt": title}):
        figure, axes = pyplot.subplots(1, num, figsize=(WIDTH, 2.9), sharey=True, squeeze=False, layout="constrained")
        for panel in axes[0]:
            panel.grid(alpha=0.3, linewidth=0.5)
            panel.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
        figure.suptitle(title, fontsize=9)
        yield figure, list(axes[0])
        pyplot.close(figure)


def logarithmic(panel: Axes, label: str) -> None:
    """A horizontal axis of counts."""
    panel.set(xscale="log", xlabel=label)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_minor_formatter(NullFormatter())


def legend(axes: list[Axes], **place: Any) -> None:
    """In the last panel, what stands in any; none where it would hide the curves."""
    drawn = {name: line for panel in axes for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    if 0 < len(drawn) <= MAX_NAMED:
        axes[-1].legend(drawn.values(), drawn.keys(), **{"loc": "lower right", **place})


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG and SVG; equal figures give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{stem}.png", folder / f"{stem}.svg"]
    for file in files:
        figure.savefig(file, dpi=200, metadata={"Date": None} if file.suffix == ".svg" else None)
    return files
