"""The figures of ``python -m analysis.theory``: readable without colour, as wide as a page's text (6.8 inch)."""

import math
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from suite import environment

with environment.without("matplotlib"):
    import matplotlib
matplotlib.use("Agg")  # files only: no screen is needed
import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.theory import bounds, targets, theory_tables
from analysis.theory.plan import Plan

_STYLES: dict[str, dict[str, Any]] = {  # colour-blind safe, told apart by marker and line
    "(a)": {"color": "#0072b2", "marker": "o", "label": "(a) one unit"},
    "(b)": {"color": "#d55e00", "marker": "^", "label": "(b) subset sum"},
    "(c)": {"color": "#009e73", "marker": "s", "label": "(c) subset sum per weight, R = 1"},
}
_LINES: dict[str, dict[str, Any]] = {
    "theorem": {"color": "black", "linestyle": "-", "label": "theorem 4.1"},
    "proved": {"color": "#666666", "linestyle": "--", "label": "bound proved here"},
}
_CROSSING: dict[str, Any] = {
    "marker": "X",
    "markersize": 8,
    "color": "white",
    "markeredgecolor": "black",
    "linestyle": "none",
    "zorder": 5,
}
_NAMES = ("theory", "theory_widths")


def make(plan: Plan, draws: pd.DataFrame, errors: pd.DataFrame, fits: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw both figures, PNG and SVG, into a folder that exists; returns the files."""
    over_draws, over_errors = (_panels(plan, name) for name in _NAMES)
    with pyplot.style.context(["default", {"font.size": 8, "svg.hashsalt": "theory"}]):  # not as a matplotlibrc has it
        return [
            *over_draws(folder, lambda panel, kind: _over_draws(panel, plan, draws[draws["target"] == kind])),
            *over_errors(folder, lambda panel, kind: _over_errors(panel, errors, fits, kind)),
        ]


def _panels(plan: Plan, name: str) -> Callable[[Path, Callable[[Axes, str], None]], list[Path]]:
    """What draws a panel for each kind of target, one legend for both."""

    def drawn(folder: Path, fill: Callable[[Axes, str], None]) -> list[Path]:
        figure, axes = pyplot.subplots(1, 2, figsize=(6.8, 3.1), sharey=True, layout="constrained")
        for panel, kind in zip(axes, targets.KINDS, strict=True):
            panel.set(xscale="log", yscale="log")
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_locator(LogLocator(numticks=12))
                axis.set_minor_formatter(NullFormatter())
            panel.xaxis.set_major_formatter("{x:g}")
            panel.grid(alpha=0.3, linewidth=0.5)
            fill(panel, kind)
            panel.set_title(f"{kind} target, {plan.widths[0]} inputs, {plan.widths[1]} output", fontsize=8)
        axes[0].set_ylabel("smallest width")
        handles = {
            label: line for panel in axes for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
        files = [folder / f"{name}.png", folder / f"{name}.svg"]
        for file in files:
            figure.savefig(file, dpi=200, metadata={"Date": None} if file.suffix == ".svg" else None)
        pyplot.close(figure)
        return files

    return drawn


def _over_draws(panel: Axes, plan: Plan, own: pd.DataFrame) -> None:
    last = bounds.proved_threshold(*plan.widths, eps=plan.eps, delta=plan.delta)
    formulas = theory_tables.curve(plan, (int(r) for r in np.unique(np.geomspace(1, 1.5 * last, 300).astype(int))))
    for name, style in _LINES.items():
        panel.plot(formulas["R"], formulas[name], linewidth=1.2, **style)
    _points(panel, own, "R", ("(a)", "(b)"), joined=True)
    if own["(c)"].notna().all():
        style = {name: _STYLES["(c)"][name] for name in ("color", "label")}
        panel.axhline(own["(c)"].iloc[0], linestyle=(0, (5, 2)), linewidth=1, **style)
    if (crossing := theory_tables.first_below(plan)) is not None:
        width = theory_tables.curve(plan, [crossing])["theorem"][0]
        panel.plot(crossing, width, label=f"they cross, R = {crossing}", **_CROSSING)
    panel.axhline(2 * math.prod(plan.widths), color="black", linestyle=":", linewidth=0.8, label="one unit a place")
    meeting = own[own["(a)"] <= own["(b)"]]
    if len(meeting):
        draws, width = meeting[["R", "(a)"]].iloc[0]
        arrow = {"arrowstyle": "->", "linewidth": 0.8}
        text, below = f"(a) meets (b), R = {draws:g}", (draws, math.prod(plan.widths) / 1.6)
        panel.annotate(text, (draws, width), xytext=below, ha="center", va="top", fontsize=7, arrowprops=arrow)
        panel.set_ylim(bottom=math.prod(plan.widths) / 4)
    panel.set_xlabel("R, values that each weight may choose from")


def _over_errors(panel: Axes, errors: pd.DataFrame, fits: pd.DataFrame, kind: str) -> None:
    own = errors[errors["target"] == kind]
    for name, style in _LINES.items():
        panel.plot(own["eps"], own[name], linewidth=1.2, **style)
    _points(panel, own, "eps", tuple(_STYLES), joined=False)
    grid = np.geomspace(own["eps"].max(), own["eps"].min(), 100)
    for fit in fits[fits["target"] == kind].to_dict("records"):
        _fit(panel, grid, fit)
    panel.invert_xaxis()
    panel.set_xlabel("eps, allowed error (R = 1)")


def _fit(panel: Axes, grid: targets.Array, fit: dict[Hashable, Any]) -> None:
    """A fitted line, its b written below."""
    power = fit["mask"] == "(a)"
    values = fit["c"] * grid ** -fit["b"] if power else fit["c"] - fit["b"] * np.log(grid)
    label = "fit: c eps$^{-b}$" if power else "fit: c + b ln(1/eps)"
    panel.plot(grid, values, "-." if power else ":", color=_STYLES[fit["mask"]]["color"], linewidth=1, label=label)
    text = "b = {b:.3g} [{low:.3g}, {high:.3g}]".format(**{name: fit[name] for name in ("b", "low", "high")})
    place = (grid[45], values[45])
    panel.annotate(text, place, xytext=(4, 6 if not power else -12), textcoords="offset points", fontsize=7)


def _points(panel: Axes, own: pd.DataFrame, over: str, columns: tuple[str, ...], *, joined: bool) -> None:
    for column, style in ((column, _STYLES[column]) for column in columns):
        by_law = (own["(a) by"] == "law") & (column == "(a)")
        line: dict[str, Any] = style | {"linestyle": "-" if joined else "none", "markersize": 4, "linewidth": 1}
        panel.plot(own[over], own[column].where(~by_law), **line)
        if by_law.any():
            hollow = line | {"fillstyle": "none", "label": "(a) by its exact law"}
            panel.plot(own[over], own[column].where(by_law), **hollow)
