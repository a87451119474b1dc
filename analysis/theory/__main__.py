"""The theorem in numbers and figures: ``python -m analysis.theory``.

Its widths and thresholds, and what experiments need.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.theory.plan import Plan
from suite import cli
from suite.config import InputError
from suite.records import write_text_atomic

_QUICK: dict[str, Any] = {
    "trials": 60,
    "draws": (1, 10, 100),
    "errors": (0.2, 0.1, 0.05),
    "shapes": ((1, 1), (2, 2, 1)),
    "shape_draws": (10,),
    "weight_errors": (0.1, 0.01),
}
_MOST_INPUTS = 8  # the exact norm looks at 3^inputs points


def plan_of(args: argparse.Namespace) -> Plan:
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
    plan = Plan(seed=args.seed, eps=args.eps, delta=args.delta, widths=(args.inputs, args.outputs))
    if args.quick:
        plan = replace(plan, **_QUICK)
    return plan if args.trials is None else replace(plan, trials=args.trials)


def parser() -> cli.CommandParser:
    """The arguments."""
    usual = Plan()
    made = cli.CommandParser(
        "python -m analysis.theory",
        "Compute the widths and thresholds of IteRand's theorem, and the widths that experiments need.",
        usage="[options]",
        example="python -m analysis.theory --quick",
    )
    work = made.add_argument_group("amount of work")
    work.add_argument("--quick", action="store_true", help="few draws and cells: seconds, to see that it works")
    work.add_argument("--trials", type=int, metavar="N", help=f"draws of each cell; default: {usual.trials}")
    work.add_argument("--seed", type=int, default=usual.seed, metavar="N", help="default: %(default)s")
    target = made.add_argument_group("target network")
    target.add_argument(
        "--eps", type=float, default=usual.eps, metavar="X", help="error of the approximation; default: %(default)s"
    )
    target.add_argument(
        "--delta", type=float, default=usual.delta, metavar="X", help="probability of failure; default: %(default)s"
    )
    target.add_argument("--inputs", type=int, default=usual.widths[0], metavar="N", help="d_0; default: %(default)s")
    target.add_argument("--outputs", type=int, default=usual.widths[1], metavar="N", help="d_1; default: %(default)s")
    made.add_argument_group("files").add_argument(
        "--out",
        type=Path,
        default=Path("results/reports/theory"),
        metavar="DIR",
        help="folder of the tables and figures; default: %(default)s",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Compute the tables, print them, and write them and the figures into a folder."""
    args = parser().parse_args(argv)
    plan = plan_of(args)
    from analysis.theory import figures, theory_tables  # pandas and matplotlib: after the arguments

    made = theory_tables.all_tables(plan)
    text = theory_tables.markdown(plan, made)
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
