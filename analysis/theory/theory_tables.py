"""The tables of ``python -m analysis.theory``: each a DataFrame, numbers as they are."""

import functools
import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

from analysis.theory import bounds, exact_probabilities
from analysis.theory.experiment import Found, Method, WidthSearch, proved_width, search, theorem_width
from analysis.theory.plan import Plan
from analysis.theory.targets import KINDS, Kind

_search = functools.cache(search)  # several tables have the same cells
METHODS: tuple[Method, ...] = ("one unit", "subset sum")
_TITLES = {
    "theorem": "Theorem 4.1: width of each random layer, and the R from which 2 d_{i-1} is enough",
    "draws": "Smallest width over R",
    "crossings": "Where the curves cross or meet",
    "errors": "Smallest width over eps, R = 1",
    "fits": "Fits to the widths over eps, with 95 % intervals of b",
    "shapes": "Other targets, one and two layers",
    "optimism": "The theorem's threshold for f(x) = x and width 2, against a lower bound of the probability of failure",
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
    """Smallest widths over R: found, proved, and the theorem's; ``exact``: (a) for extreme targets, by its law."""
    rows = []
    for kind in KINDS:
        for draws in plan.draws:
            cells = [_cell(plan, kind, method, draws=draws) for method in METHODS]
            one, several = (_search(cell, trials=plan.trials, seed=plan.seed) for cell in cells)
            units = exact_probabilities.units_for_one(plan.eps, plan.delta, draws) if kind == "extreme" else None
            exact = Found(units, "law").width(plan.widths)
            rows.append({"target": kind, "R": draws, **_found(one, several, cells[0]), "exact (a)": exact})
    return pd.DataFrame(rows).astype({"exact (a)": "Int64"})


def errors_table(plan: Plan) -> pd.DataFrame:
    """Smallest widths over eps, R = 1."""
    rows = []
    for kind in KINDS:
        for eps in plan.errors:
            cells = [_cell(plan, kind, method, eps=eps) for method in METHODS]
            one, several = (_search(cell, trials=plan.trials, seed=plan.seed) for cell in cells)
            rows.append({"target": kind, "eps": eps, **_found(one, several, cells[0])})
    return pd.DataFrame(rows)


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
        row: dict[str, str | int | float | None] = {"target": _named(widths), "kind": kind, "R": draws}
        cells = [WidthSearch(kind, method, widths, plan.eps, plan.delta, draws) for method in METHODS]
        for name, cell in zip(("(a)", "(b)"), cells, strict=True):
            row[name] = _search(cell, trials=plan.trials, seed=plan.seed).width(widths)
            lower = WidthSearch(kind, cell.method, widths, plan.eps, plan.delta, draws, by="lower")
            found = row[name] if len(widths) == 2 else _width(lower, plan)
            row[f"{name} at least"] = found
        row |= {"proved": proved_width(cells[0]), "theorem": theorem_width(cells[0])}
        rows.append(row)
    table = pd.DataFrame(rows)
    table["theorem / (a)"] = table["theorem"] / table["(a)"].astype("Float64")
    return table.astype(dict.fromkeys(["(a)", "(a) at least", "(b)", "(b) at least", "proved"], "Int64"))


def optimism_table(plan: Plan) -> pd.DataFrame:
    """f(x) = x, width 2, R at the theorem's threshold: how often no mask is good, against delta (a lower bound)."""
    rows = []
    for delta in plan.deltas:
        draws = bounds.theorem_threshold(1, 1, eps=plan.eps, delta=delta)
        failure = exact_probabilities.failure_of_two(plan.eps, int(draws) + 1)
        row = {"delta": delta, "R": int(draws) + 1, "fails at least": failure, "too often by": failure / delta}
        rows.append(row | {"proved from R": bounds.proved_threshold(1, 1, eps=plan.eps, delta=delta)})
    return pd.DataFrame(rows)


def crossing_table(plan: Plan, draws: pd.DataFrame) -> pd.DataFrame:
    """Where curves of the first figure cross or meet: the first R, of all or of those that were tried."""
    rows = [("theorem falls below the proved bound", "both", first_below(plan))]
    for kind, own in draws.groupby("target", sort=False):
        meeting = own[own["(a)"] <= own["(b)"]]["R"]
        rows.append(("(a) meets (b)", str(kind), int(meeting.min()) if len(meeting) else None))
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


def _found(one: Found, several: Found, cell: WidthSearch) -> dict[str, str | int | float | None]:
    width, theorem = one.width(cell.widths), theorem_width(cell)
    return {
        "(a)": width,
        "(a) by": one.how,
        "(b)": several.width(cell.widths),
        "proved": proved_width(cell),
        "theorem": theorem,
        "theorem / (a)": theorem / width if width else None,
    }


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
