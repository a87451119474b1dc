"""Figures of a sweep, as PNG and SVG.

``figure``: accuracy against parameters and bytes. ``pareto``: which networks no other one beats in both.
``differences``: between methods, with intervals. ``ratios``: what methods need for equal accuracy, one over another.
``learning``: validation accuracy over the epochs. ``sparsity``: accuracy against the share of weights removed, where
that varies. ``layers``: the share that each layer loses, where layers differ. Small dots are seeds.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.parts import estimates, sparsity
from analysis.parts.cells import Cell, cells, metric_of
from analysis.parts.parameter_efficiency import QUANTITIES, Quantity
from analysis.parts.style import METRICS, Curve, curves, legend, logarithmic, panels, save, spread_errors
from analysis.reports import difference_figure, layer_figure, ratio_figure
from suite import cli, records
from suite.config.sweep_file import Sweep
from suite.records.ledger import Ledger

_LABELS = {
    "parameters": "parameters of the network",
    "parameters kept": "parameters kept after pruning",
    "training state, bytes": "bytes of training state",
    "stored network, bytes": "bytes of the stored network",
}
_FIGURE = ("parameters", "parameters kept", "stored network, bytes")
_PARETO = ("parameters kept", "training state, bytes", "stored network, bytes")
_MOST_PANELS = 4
_NOT_ALWAYS = ("pareto", "differences", "ratios", "sparsity", "layers", "learning*")
_FRONT: dict[str, Any] = {"color": "#999999", "linewidth": 0.8, "zorder": 0}


def make(sweep: Sweep, ledger: Ledger) -> list[Path]:
    """Draw the figures of a sweep into its report folder; returns the PNGs and SVGs."""
    found, metric, folder = cells(sweep, ledger), metric_of(sweep), cli.report_folder(sweep, ledger)
    files = _accuracy(found, metric, folder, sweep.label)
    if any(cell.values(metric) for cell in found):
        files += _pareto(found, metric, folder, sweep.label)
        files += difference_figure.draw(found, metric, folder, sweep.label)
    files += ratio_figure.draw(found, metric, folder, sweep.label)
    if sparsity.varies(found):
        files += _sparsity(found, metric, folder, sweep.label)
    files += layer_figure.draw(found, folder, sweep.label, _MOST_PANELS)
    files += _learning(sweep, found, ledger, folder)
    own = (path for stem in _NOT_ALWAYS for path in folder.glob(f"{stem}.[ps][nv]g"))
    for stale in set(own) - set(files):
        stale.unlink()
    return files


def _accuracy(found: list[Cell], metric: str, folder: Path, label: str) -> list[Path]:
    """Accuracy against parameters, with the 95 % band and a dot a seed."""
    shown = _known(found, metric, _FIGURE)
    with panels(len(shown), label) as (figure, axes):
        for panel, name in zip(axes, shown, strict=True):
            for curve in curves(found):
                points = _points(curve, metric, QUANTITIES[name])
                _draw(panel, curve, points)
                _dots(panel, curve, metric, QUANTITIES[name])
            logarithmic(panel, _LABELS[name])
        _vertical(axes, found, metric, f"{METRICS[metric]}, 95 % band")
        legend(figure)
        return save(figure, folder, "figure")


def _vertical(axes: Sequence[Axes], found: list[Cell], metric: str, label: str) -> None:
    """The axis of accuracies: by the logarithm of the error where they crowd near 1."""
    values = [value for cell in found for value in cell.values(metric).values()]
    lows = [_heights(cell, metric)[1] for cell in found if cell.values(metric)]
    spread = spread_errors(axes, values + lows)
    axes[0].set_ylabel(f"{label}\n(logarithmic in the error)" if spread else label)


def _dots(panel: Axes, curve: Curve, metric: str, quantity: Quantity) -> None:
    """A dot for each seed, behind the means; without a name, as "_" keeps it out of the legend."""
    for cell in curve.cells:
        if len(values := list(cell.values(metric).values())) > 1 and (cost := quantity(cell, metric)) is not None:
            style = {"color": curve.style["color"], "alpha": 0.4, "markersize": 2.5, "zorder": 1}
            panel.plot([cost] * len(values), values, ".", label="_seeds", **style)


def _known(found: list[Cell], metric: str, names: Sequence[str]) -> list[str]:
    """Those quantities that some cell has; the parameters always."""
    have = [cell for cell in found if cell.values(metric)]
    return [name for name in names if "parameters" in name or any(QUANTITIES[name](cell, metric) for cell in have)]


def _points(curve: Curve, metric: str, quantity: Quantity) -> list[tuple[float, ...]]:
    """Cost, mean and the interval's ends of each cell."""
    points = []
    for cell in curve.cells:
        if cell.values(metric) and (cost := quantity(cell, metric)) is not None:
            points.append((cost, *_heights(cell, metric)))
    return sorted(points)


def _heights(cell: Cell, metric: str) -> tuple[float, float, float]:
    estimate = estimates.of_cell(cell, metric)
    return (estimate.mean, *(estimate.bounds or (estimate.mean, estimate.mean)))


def _draw(panel: Axes, curve: Curve, points: list[tuple[float, ...]]) -> None:
    if not points:
        return
    x, mean, low, high = zip(*points, strict=True)
    (line,) = panel.plot(x, mean, label=curve.name, markersize=4, linewidth=1.2, **curve.style)
    if len(x) == 1:
        panel.vlines(x, low, high, color=line.get_color(), linewidth=1.2)  # a band of one point cannot be seen
    else:
        panel.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


def _pareto(found: list[Cell], metric: str, folder: Path, label: str) -> list[Path]:
    """All cells, and the front of those that no other one beats in accuracy and cost."""
    shown = _known(found, metric, _PARETO)
    with panels(len(shown), f"{label}: Pareto fronts") as (figure, axes):
        for panel, name in zip(axes, shown, strict=True):
            reached: dict[str, list[tuple[float, ...]]] = {}  # by data: accuracies on two are not compared
            for curve in curves(found):
                points = _points(curve, metric, QUANTITIES[name])
                reached.setdefault(curve.cells[0].data, []).extend(point[:2] for point in points)
                style = {**curve.style, "linestyle": ""}
                panel.plot([p[0] for p in points], [p[1] for p in points], label=curve.name, markersize=4, **style)
            for best in filter(None, map(front, reached.values())):
                panel.step(*zip(*best, strict=True), where="post", label="front", **_FRONT)
                _name_points(panel, best, found, metric, QUANTITIES[name])
            logarithmic(panel, _LABELS[name])
            low, high = panel.get_xlim()
            panel.set_xlim(low * (low / high) ** 0.2, high)  # room for the first name
        axes[0].set_ylabel(METRICS[metric])
        spread_errors(axes, [mean for cell in found if cell.values(metric) for mean in _heights(cell, metric)[:1]])
        legend(figure)
        return save(figure, folder, "pareto")


def _name_points(
    panel: Axes, best: Sequence[tuple[float, ...]], found: list[Cell], metric: str, cost: Quantity
) -> None:
    """The width beside each point of a front: up and left, where no other point can be."""
    for cell in found:
        if cell.values(metric) and (cost(cell, metric), _heights(cell, metric)[0]) in best:
            place = (cost(cell, metric) or 0.0, _heights(cell, metric)[0])
            panel.annotate(f"x{cell.width_mult:g}", place, (-3, 2), textcoords="offset points", ha="right", fontsize=6)


def front(points: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Those (cost, accuracy) that no other point beats: none is better in one of both and as good in the other."""
    best: list[tuple[float, ...]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best


def _sparsity(found: list[Cell], metric: str, folder: Path, label: str) -> list[Path]:
    """Accuracy against the share of weights removed, a panel a width."""
    widths = _few(sorted({cell.width_mult for cell in found if cell.sparsity is not None}))
    with panels(len(widths), label) as (figure, axes):
        for panel, width in zip(axes, widths, strict=True):
            for curve in curves(found, whatever_sparsity=True):
                own = [cell for cell in curve.cells if cell.width_mult == width and cell.values(metric)]
                _draw(panel, curve, sorted((c.sparsity, *_heights(c, metric)) for c in own if c.sparsity is not None))
                for cell in own:
                    if cell.sparsity is None:
                        panel.axhline(_heights(cell, metric)[0], label=curve.name, **_line(curve))
            panel.set(xlabel="share of weights removed", title=f"width {width:g}" if len(widths) > 1 else "")
        _vertical(axes, found, metric, f"{METRICS[metric]}, 95 % band")
        legend(figure)
        return save(figure, folder, "sparsity")


def _line(curve: Curve) -> dict[str, Any]:
    return {key: value for key, value in curve.style.items() if key in ("color", "linestyle")}


def _few(values: list[float]) -> list[float]:
    """At most as many as there is room for, the ends among them."""
    if len(values) <= _MOST_PANELS:
        return values
    return [values[i] for i in np.linspace(0, len(values) - 1, _MOST_PANELS).round().astype(int)]


def _learning(sweep: Sweep, found: list[Cell], ledger: Ledger, folder: Path) -> list[Path]:
    """Validation accuracy over the epochs, the mean over seeds: a file a network, a panel a width."""
    files = []
    nets = sorted({(cell.dataset, cell.model) for cell in found})
    for net in nets:
        own = [cell for cell in found if (cell.dataset, cell.model) == net]
        stem = "learning" if len(nets) == 1 else f"learning_{'_'.join(net)}"
        files += _learning_of(own, ledger, folder, stem, sweep.label if len(nets) == 1 else ", ".join(net))
    return files


def _learning_of(own: list[Cell], ledger: Ledger, folder: Path, stem: str, label: str) -> list[Path]:
    widths = _few(sorted({cell.width_mult for cell in own}))
    lines = {id(cell): _mean_line(cell, ledger) for cell in own if cell.width_mult in widths}
    if not any(lines.values()):
        return []
    with panels(len(widths), f"{label}: learning") as (figure, axes):
        for panel, width in zip(axes, widths, strict=True):
            for curve in curves(own):
                for cell in curve.cells:
                    if cell.width_mult == width and (line := lines[id(cell)]):
                        epochs = range(1, len(line) + 1)
                        panel.plot(epochs, line, label=curve.name, linewidth=1, **_marked(curve, len(line)))
            panel.set(xlabel="epoch", title=f"width {width:g}")
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes[0].set_ylabel("validation accuracy, mean over seeds")
        legend(figure)
        return save(figure, folder, stem)


def _marked(curve: Curve, num: int) -> dict[str, Any]:
    """A few markers on a line of many points."""
    return {**curve.style, "markersize": 3, "markevery": max(1, num // 6)}


def _mean_line(cell: Cell, ledger: Ledger) -> list[float]:
    """By epoch, as far as all trials of a cell went that did not diverge; nan where one of them has no value."""
    done = [result for result in cell.results.values() if result.status == "done"]
    runs = [records.read_metrics(ledger.folder(result.trial_id)) for result in done]
    values = [[line.get("val/top1") for line in run] for run in runs]
    return [float(np.mean(np.array(epoch, dtype=float))) for epoch in zip(*values, strict=False)]
