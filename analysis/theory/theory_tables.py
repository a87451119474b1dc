"""The tables of ``python -m analysis.theory``: each a DataFrame, numbers as they are."""

import functools
import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

from analysis.theory import bounds, exact_probabilities
from analysis.theory.experiment import (
    Method,
    WidthSearch,
    hidden_units,
    proved_width,
    search,
    theorem_width,
)
from analysis.theory.plan import Plan
from analysis.theory.targets import KINDS, Kind
from analysis.theory.weights_table import weights_table

_Row = dict[str, str | int | float | None]
_search = functools.cache(search)  # several tables have the same cells
METHODS: tuple[Method, ...] = ("one unit", "subset sum")
_TITLES = {
    "theorem": "Theorem 4.1: width of each random layer, and the R from which 2 d_{i-1} is enough",
    "draws": "Smallest width over R",
    "crossings": "Where the curves cross or meet",
    "errors": "Smallest width over eps, R = 1",
    "fits": "Fits to the widths over eps, with 95 % intervals of b",
    "shapes": "Other targets, one and two layers",
    "weights": "Subset sum without redraws: candidates that one weight needs, by exact search",
    "optimism": "The theorem's threshold for f(x) = x and width 2, against the exact probability of failure",
}


def _cell(plan: Plan, kind: Kind, method: Method, *, draws: int = 1, eps: float | None = None) -> WidthSearch:
    """A search for the figures' target."""
    return WidthSearch(kind, method, plan.widths, eps or plan.eps, plan.delta, draws)


def theorem_table(plan: Plan) -> pd.DataFrame:
    """The theorem's width and threshold on R, and those of the proved bound, for each layer of each shape."""
    rows = []
    for widths in plan.shapes:
        for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths), start=1):
            wanted, depth = {"eps": plan.eps, "delta": plan.delta}, len(widths) - 1
            row = {"target": _named(widths), "layer": layer}
            for draws in (1, 10, 100):
                units = bounds.theorem_units(inputs, outputs, **wanted, draws=draws, depth=depth)
                row[f"width, R = {draws}"] = 2 * inputs * units
            row |= {"width 2 d from R": bounds.theorem_threshold(inputs, outputs, **wanted, depth=depth)}
            proved = bounds.proved_threshold(inputs, outputs, **wanted) if depth == 1 else None
            rows.append(row | {"proved from R": proved})
    return pd.DataFrame(rows).astype({"proved from R": "Int64"})


def draws_table(plan: Plan) -> pd.DataFrame:
    """Smallest widths over R: found, proved, and the theorem's; (c) has no redraws, so it is the same for each R."""
    rows = []
    for kind in KINDS:
        for draws in plan.draws:
            cells = [_cell(plan, kind, method, draws=draws) for method in METHODS] + [_cell(plan, kind, "per weight")]
            rows.append({"target": kind, "R": draws, **_found(plan, *cells)})
    return _whole(rows, "needed (a)")


def errors_table(plan: Plan) -> pd.DataFrame:
    """Smallest widths over eps, R = 1."""
    rows = []
    for kind in KINDS:
        for eps in plan.errors:
            cells = [_cell(plan, kind, method, eps=eps) for method in (*METHODS, "per weight")]
            rows.append({"target": kind, "eps": eps, **_found(plan, *cells)})
    return _whole(rows, "needed (a)")


def fit_table(errors: pd.DataFrame) -> pd.DataFrame:
    """Least squares over eps below 0.5, 95 % t intervals: (a) width = c eps^-b; (b) width = c + b log(1 / eps)."""
    rows = []
    for kind in KINDS:
        own = errors[(errors["target"] == kind) & (errors["eps"] < 0.5)]
        for column, form in (("(a)", "c eps^-b"), ("(b)", "c + b ln(1/eps)")):
            width = own[column].dropna().to_numpy(dtype=np.float64)
            logs = -np.log(own.loc[own[column].notna(), "eps"].to_numpy(dtype=np.float64))
            if len(width) < 3:
                continue
            line = stats.linregress(logs, np.log(width) if column == "(a)" else width)
            half = float(stats.t.ppf(0.975, len(width) - 2)) * line.stderr
            c = np.exp(line.intercept) if column == "(a)" else line.intercept
            row = {"target": kind, "mask": column, "form": form, "points": len(width), "c": c, "b": line.slope}
            rows.append(row | {"low": line.slope - half, "high": line.slope + half})
    return pd.DataFrame(rows)


def shapes_table(plan: Plan) -> pd.DataFrame:
    """Other targets, l = 1 and 2: hidden random units in all; for l = 2 once by each side of the norm."""
    rows = []
    for widths, kind, draws in ((w, k, r) for w in plan.shapes for k in KINDS for r in plan.shape_draws):
        row: _Row = {"target": _named(widths), "kind": kind, "R": draws}
        cells = [WidthSearch(kind, method, widths, plan.eps, plan.delta, draws) for method in METHODS]
        for name, cell in zip(("(a)", "(b)"), cells, strict=True):
            row[name] = _width(cell, plan)
            lower = WidthSearch(kind, cell.method, widths, plan.eps, plan.delta, draws, by="lower")
            found = row[name] if len(widths) == 2 else _width(lower, plan)
            row[f"{name} at least"] = found
        row |= _success_and_need(plan, cells[0])
        rows.append(row | _formulas(cells[0], row["needed (a)"]))
    return _whole(rows, "(a)", "(a) at least", "needed (a)", "(b)", "(b) at least", "proved")


def optimism_table(plan: Plan) -> pd.DataFrame:
    """f(x) = x, width 2, R at the theorem's threshold: how often no mask is good, against delta; exact.

    One row more has the largest delta at which that is too often.
    """
    rows = []
    for delta in sorted([*plan.deltas, exact_probabilities.optimistic_below(plan.eps)], reverse=True):
        draws = int(bounds.theorem_threshold(1, 1, eps=plan.eps, delta=delta)) + 1
        failure = exact_probabilities.failure_of_two(plan.eps, draws)
        row = {"delta": delta, "R": draws, "fails": failure, "fails / delta": failure / delta}
        rows.append(row | {"proved from R": bounds.proved_threshold(1, 1, eps=plan.eps, delta=delta)})
    return pd.DataFrame(rows)


def crossing_table(plan: Plan, draws: pd.DataFrame) -> pd.DataFrame:
    """Where curves of the first figure cross or meet: the first R, of all or of those that were tried."""
    rows = [("theorem falls below the proved bound", "both", first_below(plan))]
    for kind, own in draws.groupby("target", sort=False):
        for other in ("(b)", "(c)"):
            meeting = own[own["(a)"] <= own[other]]["R"]
            rows.append((f"(a) meets {other}", str(kind), int(meeting.min()) if len(meeting) else None))
        for column in ("(a)", "(b)"):
            least = own[own[column] == 2 * np.prod(plan.widths)]["R"]
            rows.append((f"{column} needs one unit a place", str(kind), int(least.min()) if len(least) else None))
    return pd.DataFrame(rows, columns=["what", "target", "R"]).astype({"R": "Int64"})


def first_below(plan: Plan) -> int | None:
    """The first R at which the theorem asks for less than the proved bound; None where it never does."""
    last = bounds.proved_threshold(*plan.widths, eps=plan.eps, delta=plan.delta)
    below = (draws for draws in range(1, last) if _gap(plan, draws) < 0)
    return next(below, None)


def curve(plan: Plan, draws: Iterable[int]) -> pd.DataFrame:
    """The two formulas' widths over R."""
    cells = [_cell(plan, "random", "one unit", draws=r) for r in draws]
    rows = [{"R": cell.draws, "proved": proved_width(cell), "theorem": theorem_width(cell)} for cell in cells]
    return pd.DataFrame(rows)


def _gap(plan: Plan, draws: int) -> int:
    cell = _cell(plan, "random", "one unit", draws=draws)
    return theorem_width(cell) - (proved_width(cell) or 0)


def _width(cell: WidthSearch, plan: Plan) -> int | None:
    return _search(cell, trials=plan.trials, seed=plan.seed).width(cell.widths)


def _found(plan: Plan, one: WidthSearch, several: WidthSearch, fixed: WidthSearch) -> _Row:
    """Certified widths of masks (a), (b) and (c), what (a) needs, and the formulas."""
    row: _Row = {"(a)": _width(one, plan), "(a) by": _search(one, trials=plan.trials, seed=plan.seed).how}
    row |= _success_and_need(plan, one) | {"(b)": _width(several, plan), "(c)": _width(fixed, plan)}
    return row | _formulas(one, row["needed (a)"])


def _success_and_need(plan: Plan, cell: WidthSearch) -> _Row:
    """How often the certified width of (a) succeeds, where that is known, and the smallest that is enough.

    Exact for extreme targets of one layer, and for any with one weight, which is +-1. For others the estimate.
    """
    found = _search(cell, trials=plan.trials, seed=plan.seed)
    if len(cell.widths) > 2 or not (cell.kind == "extreme" or cell.widths == (1, 1)):
        return {"success (a)": None, "needed (a)": hidden_units(cell.widths, found.estimated)}
    units = exact_probabilities.units_for_one(cell.eps, cell.delta, cell.draws)
    success = None if found.units is None else exact_probabilities.success_of_one(cell.eps, cell.draws, found.units)
    return {"success (a)": success, "needed (a)": hidden_units(cell.widths, units)}


def _formulas(cell: WidthSearch, needed: object) -> _Row:
    theorem = theorem_width(cell)
    ratio = theorem / needed if isinstance(needed, int) and needed else None
    return {"proved": proved_width(cell), "theorem": theorem, "theorem / needed": ratio}


def _whole(rows: list[_Row], *columns: str) -> pd.DataFrame:
    """A table with whole numbers, or none, in some columns, and numbers or none in the ratios."""
    ratios = ("success (a)", "theorem / needed")
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(columns, "Int64") | {c: "float64" for c in ratios if c in table})


def _named(widths: tuple[int, ...]) -> str:
    return "-".join(map(str, widths))


def all_tables(plan: Plan) -> dict[str, pd.DataFrame]:
    """All tables, by the names of their files."""
    draws, errors = draws_table(plan), errors_table(plan)
    return {
        "theorem": theorem_table(plan),
        "draws": draws,
        "crossings": crossing_table(plan, draws),
        "errors": errors,
        "fits": fit_table(errors),
        "shapes": shapes_table(plan),
        "weights": weights_table(plan),
        "optimism": optimism_table(plan),
    }


def markdown(plan: Plan, made: dict[str, pd.DataFrame]) -> str:
    """What is printed: the tables with their titles, and what they were computed from."""
    parts = [f"## Theory: eps {plan.eps:g}, delta {plan.delta:g}, {plan.trials} draws a cell, seed {plan.seed}"]
    for name, table in made.items():
        shown = table.map(_shown).to_markdown(index=False, disable_numparse=True)
        parts += [f"### {_TITLES[name]}", shown]
    return "\n\n".join(parts) + "\n"


def _shown(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
