"""The theorem in numbers and figures: ``python -m analysis.theory``.

Its widths and thresholds, and what experiments need.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.theory import figures, theory_tables
from suite import cli
from suite.config import InputError
from suite.records import write_text_atomic

_QUICK: dict[str, Any] = {
    "trials": 60,
    "draws": (1, 10, 100),
    "errors": (0.2, 0.1, 0.05),
    "shapes": ((1, 1), (2, 2, 1)),
    "shape_draws": (10,),
}
_MOST_INPUTS = 8  # the exact norm looks at 3^inputs points
_TITLES = {
    "theorem": "Theorem 4.1: width of each random layer, and the R from which 2 d_{i-1} is enough",
    "draws": "Smallest width over R",
    "crossings": "Where the curves cross or meet",
    "errors": "Smallest width over eps, R = 1",
    "fits": "Fits to the widths over eps, with 95 % intervals of b",
    "shapes": "Other targets, one and two layers",
    "optimism": "The theorem's threshold for f(x) = x and width 2, against a lower bound of the probability of failure",
}


def tables(plan: theory_tables.Plan) -> dict[str, pd.DataFrame]:
    """All tables, by the names of their files."""
    draws, errors = theory_tables.draws_table(plan), theory_tables.errors_table(plan)
    return {
        "theorem": theory_tables.theorem_table(plan),
        "draws": draws,
        "crossings": theory_tables.crossing_table(plan, draws),
        "errors": errors,
        "fits": theory_tables.fit_table(errors),
        "shapes": theory_tables.shapes_table(plan),
        "optimism": theory_tables.optimism_table(plan),
    }


def markdown(plan: theory_tables.Plan, made: dict[str, pd.DataFrame]) -> str:
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


def plan_of(args: argparse.Namespace) -> theory_tables.Plan:
    """What the arguments ask for.

    Raises:
        InputError: values out of range, all of them.
    """
    rules = {
        "eps": (0 < args.eps < 1, "must be between 0 and 1"),
        "delta": (0 < args.delta < 1, "must be between 0 and 1"),
        "inputs": (1 <= args.inputs <= _MOST_INPUTS, f"must be from 1 to {_MOST_INPUTS}"),
        "outputs": (args.outputs >= 1, "must be 1 or more"),
        "seed": (args.seed >= 0, "must be 0 or more"),
        "trials": (args.trials is None or args.trials >= 1, "must be 1 or more"),
    }
    if problems := [f"--{name}: {getattr(args, name)}: {rule}" for name, (good, rule) in rules.items() if not good]:
        raise InputError(*problems)
    plan = theory_tables.Plan(seed=args.seed, eps=args.eps, delta=args.delta, widths=(args.inputs, args.outputs))
    if args.quick:
        plan = replace(plan, **_QUICK)
    return plan if args.trials is None else replace(plan, trials=args.trials)


def main(argv: Sequence[str] | None = None) -> int:
    """Compute the tables, print them, and write them and the figures into a folder."""
    parser = argparse.ArgumentParser(prog="python -m analysis.theory", description=__doc__)
    usual = theory_tables.Plan()
    parser.add_argument("--out", type=Path, default=Path("results/reports/theory"), metavar="DIR", help="%(default)s")
    parser.add_argument("--quick", action="store_true", help="few draws and cells: seconds, to see that it works")
    parser.add_argument("--seed", type=int, default=usual.seed, help="default: %(default)s")
    parser.add_argument("--trials", type=int, help=f"draws a cell; default: {usual.trials}")
    parser.add_argument("--eps", type=float, default=usual.eps, help="error of the figures; default: %(default)s")
    parser.add_argument("--delta", type=float, default=usual.delta, help="allowed failures; default: %(default)s")
    parser.add_argument("--inputs", type=int, default=usual.widths[0], help="d_0; default: %(default)s")
    parser.add_argument("--outputs", type=int, default=usual.widths[1], help="d_1; default: %(default)s")
    args = parser.parse_args(argv)
    plan = plan_of(args)
    made = tables(plan)
    text = markdown(plan, made)
    args.out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(args.out / "theory.md", text)
    for name, table in made.items():
        write_text_atomic(args.out / f"{name}.csv", table.to_csv(index=False))
    drawn = figures.make(plan, made["draws"], made["errors"], made["fits"], args.out)
    print(text)
    print("written:", args.out / "theory.md", *(args.out / f"{name}.csv" for name in made), *drawn)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
