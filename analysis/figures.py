"""Figures of a sweep: ``python -m analysis.figures FILE.yaml``, as PNG and SVG."""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: no screen is needed
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

from analysis.rows import Cell, cells, metric_of
from analysis.stats import t_interval
from analysis.stored import smallest
from suite import cli
from suite.ledger import Ledger
from suite.sweepfile import Sweep

# One colour, marker and line per method everywhere; told apart in black and white by marker and line.
STYLES = {
    "weights": {"color": "#444444", "marker": "s", "linestyle": "--"},
    "edge_popup": {"color": "#0072b2", "marker": "o", "linestyle": ":"},
    "iterand": {"color": "#d55e00", "marker": "^", "linestyle": "-"},
}
MAX_NAMED = 10  # a longer legend would hide the curves
_OTHERS = itertools.cycle("DvPX*")
_FURTHER = [(line, filling) for filling in ("none", "left", "bottom") for line in ("-.", "-", "--", ":")]
_Count = Callable[[Cell, str], float | None]
_PANELS: dict[str, _Count] = {
    "parameters of the network": lambda cell, _: next(iter(cell.results.values())).params_total,
    "parameters kept after pruning": lambda cell, _: next(iter(cell.results.values())).params_kept,
}
_STORED = "bytes of the stored network"


def _stored(cell: Cell, metric: str) -> float | None:
    size = smallest(cell, metric)
    return None if size is None else size.bytes


def make(sweep: Sweep, ledger: Ledger) -> list[Path]:
    """Draw accuracy against parameters, with the 95 % band over seeds; returns the PNG and the SVG."""
    found, metric = cells(sweep, ledger), metric_of(sweep)
    curves = _curves(found)
    panels = _PANELS | ({_STORED: _stored} if any(_stored(cell, metric) for cell in found) else {})
    with pyplot.rc_context({"font.size": 8, "svg.hashsalt": sweep.name}):
        figure, axes = pyplot.subplots(1, len(panels), figsize=(6.8, 2.9), sharey=True, layout="constrained")
        for panel, (name, count) in zip(axes, panels.items(), strict=True):
            for curve in curves:
                _draw(panel, curve, metric, count)
            panel.set(xscale="log", xlabel=name)
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.grid(alpha=0.3, linewidth=0.5)
        axes[0].set_ylabel(f"{metric}, 95 % band over seeds")
        axes[0].yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
        drawn = {name: line for panel in axes for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
        if 0 < len(drawn) <= MAX_NAMED:
            axes[-1].legend(drawn.values(), drawn.keys(), loc="lower right")
        figure.suptitle(sweep.label, fontsize=9)
        folder = cli.report_folder(sweep, ledger)
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "figure.png", folder / "figure.svg"]
        for file in files:
            figure.savefig(file, dpi=200, metadata={"Date": None} if file.suffix == ".svg" else None)
        pyplot.close(figure)
    return files


@dataclass(frozen=True)
class Curve:
    """The cells of one curve, its name in the legend and how it is drawn."""

    name: str
    cells: list[Cell]
    style: dict[str, str]


def _curves(found: list[Cell]) -> list[Curve]:
    """One curve a series; those of one method share colour and marker and differ by line and filling."""
    one_net = len({(cell.dataset, cell.model) for cell in found}) == 1
    by_name: dict[str, list[Cell]] = {}
    for cell in found:
        by_name.setdefault(cell.series if one_net else f"{cell.series}, {cell.model}, {cell.dataset}", []).append(cell)
    curves: list[Curve] = []
    for name, own in by_name.items():
        method = own[0].method
        style = STYLES.setdefault(method, {"marker": next(_OTHERS), "linestyle": "-"})
        if earlier := sum(curve.cells[0].method == method for curve in curves):
            line, filling = _FURTHER[(earlier - 1) % len(_FURTHER)]
            style = {**style, "linestyle": line, "fillstyle": filling}
        curves.append(Curve(name, own, style))
    return curves


def _draw(panel: Axes, curve: Curve, metric: str, count: _Count) -> None:
    points = []
    for cell in curve.cells:
        values = list(cell.values(metric).values())
        if values and (place := count(cell, metric)) is not None:
            estimate = t_interval(values)
            low, high = estimate.bounds or (estimate.mean, estimate.mean)
            points.append((place, estimate.mean, low, high))
    if not points:
        return
    x, mean, low_line, high_line = zip(*sorted(points), strict=True)
    (line,) = panel.plot(x, mean, label=curve.name, markersize=4, linewidth=1.2, **curve.style)  # type: ignore[arg-type]
    panel.fill_between(x, low_line, high_line, color=line.get_color(), alpha=0.15, linewidth=0)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the figures of a sweep into its report folder."""
    args = cli.sweep_parser("python -m analysis.figures", "Figures of a sweep from its records.").parse_args(argv)
    print("written:", *make(*cli.load(args)))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
