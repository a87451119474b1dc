"""A table as numbers and as people read it, and the three formats that it is written in."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.parts.cells import Cell

_TEXT = ("method", "difference", "dataset", "model", "form", "quantity", "device", "source", "layer")


@dataclass(frozen=True)
class ReportTable:
    """One table of a sweep. ``stem`` names its files; ``numbers`` go into the CSV; ``shown`` has only text."""

    stem: str
    title: str
    numbers: pd.DataFrame
    shown: pd.DataFrame
    notes: Sequence[str] = field(default_factory=list)

    def files(self) -> dict[str, str]:
        """Contents by file name."""
        latex = self.shown.to_latex(index=False, escape=True)
        return {f"{self.stem}.csv": self.numbers.to_csv(index=False), f"{self.stem}.tex": latex}

    def markdown(self) -> str:
        """Title and table."""
        return f"### {self.title}\n\n{markdown(self.shown)}"


def markdown(table: pd.DataFrame) -> str:
    """A table of text, numbers to the right."""
    align = ["left" if column in _TEXT else "right" for column in table.columns]
    return str(table.to_markdown(index=False, disable_numparse=True, colalign=align))


def without_constant(shown: pd.DataFrame, found: Sequence[Cell]) -> pd.DataFrame:
    """Without dataset and network, where the whole sweep has one: a part of it may have fewer than the sweep."""
    one = [column for column in ("dataset", "model") if len({getattr(cell, column) for cell in found}) == 1]
    return shown.drop(columns=one)


def cell_columns(table: pd.DataFrame) -> dict[str, "pd.Series[str]"]:
    """The columns that say which cell a row is of."""
    width = table["width"].map("{:g}".format)
    return {"dataset": table["dataset"], "model": table["model"], "width": width, "method": table["method"]}


def format_points(difference: float | None, half_width: float | None) -> str:
    """+1.08 ± 0.94 for a difference of accuracies in [-1, 1], never -0.00; "missing" for none."""
    if pd.isna(difference):
        return "missing"
    return f"{100 * difference:+z.2f}" + ("" if pd.isna(half_width) else f" ± {100 * half_width:.2f}")


def format_probability(p_value: float | None) -> str:
    """0.034, or < 0.001; empty for none."""
    return "" if pd.isna(p_value) else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def format_percent(share: float | None) -> str:
    """83.33 for 0.8333; empty for nothing."""
    return "" if pd.isna(share) else f"{100 * share:z.2f}"


def format_interval(low: float | None, high: float | None) -> str:
    """Both ends in percent; empty where there are none."""
    return "" if pd.isna(low) or pd.isna(high) else f"{format_percent(low)} to {format_percent(high)}"
