"""What a sweep found, in a sentence or two and in a grid, from the numbers of its tables: it cannot contradict them."""

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from analysis.parts import ReportTable, format_interval, format_percent
from analysis.parts.differences import SIGNIFICANT
from analysis.parts.failures import SUFFIX
from analysis.parts.style import METRICS
from suite.config.method_looks import readable

_MOST_NAMED = 4  # pairs of methods in a sentence: the table has all


def sentence(tables: Sequence[ReportTable], metric: str) -> str:
    """What was found: the best mean, and how many differences between methods are significant."""
    accuracy = next(part.numbers for part in tables if part.stem == "table")
    accuracy = accuracy[~accuracy["method"].str.endswith(SUFFIX)]
    done = accuracy.dropna(subset=["mean"])
    if done.empty:
        return "No trial is done yet: there is nothing to compare."
    found = [_best(done, metric)]
    if differences := [part.numbers for part in tables if part.stem == "differences"]:
        found.append(_differences(differences[0].dropna(subset=["p_holm"])))
    if missing := int((accuracy["planned"] - accuracy["n"]).sum()):
        found.append(f"{missing} of {int(accuracy['planned'].sum())} trials have no accuracy.")
    return " ".join(found)


def _best(done: pd.DataFrame, metric: str) -> str:
    """The cell of the best mean, on each data set."""
    best = done.loc[done.groupby("dataset", sort=False)["mean"].idxmax()]
    return " ".join(_of_best(row, metric) for row in best.to_dict("records"))


def _of_best(row: dict[Any, Any], metric: str) -> str:
    interval = format_interval(row["low"], row["high"])
    shown = f" (95 % interval {interval})" if interval else ""
    place = f"{row['model']} of width {row['width']:g} on {row['dataset']}"
    return f"Best {METRICS[metric]}: {readable(row['method'])}, {place}, {format_percent(row['mean'])} %{shown}."


def _differences(rows: pd.DataFrame) -> str:
    """How many differences are significant, and which."""
    if rows.empty:
        return "No difference between methods can be tested yet."
    clear = rows[rows["p_holm"] < SIGNIFICANT]
    verb = "is" if len(clear) == 1 else "are"
    counted = f"{len(clear)} of {len(rows)} differences between methods at equal width {verb} significant"
    if clear.empty:
        return f"None of {len(rows)} differences between methods at equal width is significant."
    several = len(rows[["dataset", "model"]].drop_duplicates()) > 1
    above: dict[tuple[str, str], list[str]] = {}
    for row in clear.to_dict("records"):
        pair = (row["method"], row["minus"]) if row["mean"] > 0 else (row["minus"], row["method"])
        where = f" ({row['model']}, {row['dataset']})" if several else ""
        above.setdefault((readable(pair[0]), readable(pair[1]) + where), []).append(f"{row['width']:g}")
    if len(above) > _MOST_NAMED:
        return f"{counted}."
    named = (f"{one} above {other} at width {', '.join(widths)}" for (one, other), widths in above.items())
    return f"{counted}: {'; '.join(named)}."


def grid(accuracy: pd.DataFrame) -> str:
    """Methods by widths as HTML, a table a data set and network: means in percent, the best of each width in bold."""
    parts = []
    for (dataset, model), own in accuracy.groupby(["dataset", "model"], sort=False):
        best = own.groupby("width")["mean"].max()
        widths = sorted(own["width"].unique())
        head = "".join(f"<th>x{width:g}</th>" for width in widths)
        rows = "".join(_grid_row(method, own, widths, best) for method in own["method"].unique())
        caption = f"<caption>{escape(str(model))} on {escape(str(dataset))}: mean accuracy by width, %</caption>"
        parts.append(f"<table class='grid'>{caption}<thead><tr><th>method</th>{head}</tr></thead>{rows}</table>")
    return f'<div class="wide">{"".join(parts)}</div>'


def _grid_row(method: str, own: pd.DataFrame, widths: Sequence[float], best: "pd.Series[float]") -> str:
    means = own[own["method"] == method].set_index("width")["mean"]
    shown = []
    for width in widths:
        mean = means.get(width)
        text = format_percent(mean) or "-"
        shown.append(f"<td><b>{text}</b></td>" if text != "-" and mean == best[width] else f"<td>{text}</td>")
    return f"<tr><td>{escape(readable(method))}</td>{''.join(shown)}</tr>"
