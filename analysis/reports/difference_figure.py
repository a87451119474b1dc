"""The figure of differences between methods: a panel a pair, a point a width, with its 95 % interval."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from analysis.parts import differences, style
from analysis.parts.cells import Cell
from suite.config.method_looks import readable

_MOST_PANELS = 6
_SIGNIFICANT, _OPEN = "significant (Holm)", "not significant"


def draw(found: list[Cell], metric: str, folder: Path, label: str) -> list[Path]:
    """Draw it; returns its files: none where no two methods share a width, or where all pairs would be too many."""
    part = differences.part(found, metric)
    rows = [] if part is None else part.numbers.dropna(subset=["low", "p_holm"]).to_dict("records")
    pairs: dict[str, list[dict[Hashable, Any]]] = {}
    for row in rows:
        pairs.setdefault(_title(row, found), []).append(row)
    if not 0 < len(pairs) <= _MOST_PANELS:
        return []
    with style.panels(len(pairs), f"{label}: differences between methods, 95 % intervals") as (figure, axes):
        for panel, (title, points) in zip(axes, pairs.items(), strict=True):
            _points(panel, points)
            panel.set_title(title)
            panel.set_xlabel("width")
        axes[0].set_ylabel("difference of accuracies, points")
        style.legend(figure)
        return style.save(figure, folder, "differences")


def _title(row: dict[Hashable, Any], found: list[Cell]) -> str:
    several = len({(cell.dataset, cell.model) for cell in found}) > 1
    title = f"{readable(row['method'])}\n- {readable(row['minus'])}"
    return f"{title}\n{row['model']}, {row['dataset']}" if several else title


def _points(panel: Axes, points: list[dict[Hashable, Any]]) -> None:
    """Evenly spaced, as widths lie close; filled where the difference is significant."""
    panel.axhline(0, color="#999999", linewidth=0.8)
    for place, each in enumerate(sorted(points, key=lambda point: point["width"])):
        clear = each["p_holm"] < differences.SIGNIFICANT
        reach = [[each["mean"] - each["low"]], [each["high"] - each["mean"]]]
        panel.errorbar(
            [place],
            [each["mean"]],
            yerr=reach,
            fmt="o",
            color="#0072b2",
            markersize=4,
            linewidth=1.2,
            markerfacecolor="#0072b2" if clear else "white",
            label=_SIGNIFICANT if clear else _OPEN,
        )
    panel.set_xticks(range(len(points)), [f"{each['width']:g}" for each in sorted(points, key=lambda p: p["width"])])
    panel.set_xlim(-0.5, len(points) - 0.5)
    panel.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=""))
