"""Figures of a sweep: ``python -m analysis.figures FILE.yaml``, as PNG and SVG."""

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: no screen is needed
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

from analysis.rows import Cell, cells, metric_of
from analysis.stats import t_interval
from suite import cli
from suite.ledger import Ledger
from suite.records import Result
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
_PANELS: dict[str, Callable[[Result], int]] = {
    "parameters of the network": lambda result: result.params_total,
    "parameters kept after pruning": lambda result: result.params_kept,
}


def make(sweep: Sweep, ledger: Ledger) -> list[Path]:
    """Draw accuracy against parameters, with the 95 % band over seeds; returns the PNG and the SVG."""
    found, metric = cells(sweep, ledger), metric_of(sweep)
    with pyplot.rc_context({"font.size": 8, "svg.hashsalt": sweep.name}):
        figure, axes = pyplot.subplots(1, len(_PANELS), figsize=(6.8, 2.9), sharey=True, layout="constrained")
        for panel, (name, count) in zip(axes, _PANELS.items(), strict=True):
            for name_of_series, own in _series(found).items():
                _draw(panel, own, name_of_series, _style(own[0], found), metric, count)
            panel.set(xscale="log", xlabel=name)
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.grid(alpha=0.3, linewidth=0.5)
        axes[0].set_ylabel(f"{metric}, 95 % band over seeds")
        axes[0].yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
        if 0 < len(axes[-1].get_legend_handles_labels()[0]) <= MAX_NAMED:
            axes[-1].legend(loc="lower right")
        figure.suptitle(sweep.label, fontsize=9)
        folder = cli.report_folder(sweep, ledger)
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "figure.png", folder / "figure.svg"]
        for file in files:
            figure.savefig(file, dpi=200, metadata={"Date": None} if file.suffix == ".svg" else None)
        pyplot.close(figure)
    return files


def _series(found: list[Cell]) -> dict[str, list[Cell]]:
    """The cells of each curve, by its name in the legend."""
    one_net = len({(cell.dataset, cell.model) for cell in found}) == 1
    curves: dict[str, list[Cell]] = {}
    for cell in found:
        curves.setdefault(cell.series if one_net else f"{cell.series}, {cell.model}, {cell.dataset}", []).append(cell)
    return curves


def _style(cell: Cell, found: list[Cell]) -> dict[str, str]:
    """Colour and marker of the method; its further curves differ by line and filling."""
    own = STYLES.setdefault(cell.method, {"marker": next(_OTHERS), "linestyle": "-"})
    curves = [c for c in _series(found).values() if c[0].method == cell.method]
    number = next(i for i, cells_of_curve in enumerate(curves) if cell in cells_of_curve)
    if number == 0:
        return own
    line, filling = _FURTHER[(number - 1) % len(_FURTHER)]
    return {**own, "linestyle": line, "fillstyle": filling}


def _draw(
    panel: Axes, own: list[Cell], name: str, style: dict[str, str], metric: str, count: Callable[[Result], int]
) -> None:
    points = []
    for cell in own:
        values = list(cell.values(metric).values())
        if values:
            estimate = t_interval(values)
            half = estimate.half_width or 0.0
            low, high = max(estimate.mean - half, 0.0), min(estimate.mean + half, 1.0)
            points.append((count(next(iter(cell.results.values()))), estimate.mean, low, high))
    if not points:
        return
    x, mean, low_line, high_line = zip(*sorted(points), strict=True)
    (line,) = panel.plot(x, mean, label=name, markersize=4, linewidth=1.2, **style)  # type: ignore[arg-type]
    panel.fill_between(x, low_line, high_line, color=line.get_color(), alpha=0.15, linewidth=0)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the figures of a sweep into its report folder."""
    args = cli.sweep_parser("python -m analysis.figures", "Figures of a sweep from its records.").parse_args(argv)
    print("written:", *make(*cli.load(args)))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
