"""A gate for changes of code: ``python -m analysis.gate FILE.yaml`` compares a sweep with kept trials of other seeds.

Trials that were kept from the same code on the same kind of machine must come out bit for bit. All others are compared
by a permutation test (``analysis.statistics.permutation``).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from suite import cli

REFERENCE = Path(__file__).with_name("gate_reference.json")


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.sweep_parser(
        "analysis.gate",
        "Compare a sweep with kept trials of other seeds, to see whether a change of code has changed results.",
        example="python -m analysis.gate width_vs_acc.yaml",
        statuses={0: "no result has changed", 1: "a result has changed, or a trial is missing"},
    )
    reference = made.add_argument_group("reference")
    reference.add_argument(
        "--reference", type=Path, default=REFERENCE, metavar="FILE", help="default: the one that comes with the suite"
    )
    reference.add_argument("--keep", action="store_true", help="write these trials as the reference")
    reference.add_argument(
        "--other-machine",
        action="store_true",
        help="accept other bits on a processor of the same name as the reference's",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Compare a sweep with the reference, or make it the reference; exit status 1 where something has changed."""
    args = parser().parse_args(argv)
    sweep, ledger = cli.load(args)
    from analysis.reports import gate  # pandas: after the arguments

    if args.keep:
        gate.keep(sweep, ledger, args.reference)
        print(f"{len(sweep.trials)} trials kept: {args.reference}")
        return 0
    passed, text = gate.judge(sweep, ledger, gate.read(args.reference), other_machine=args.other_machine)
    print(text)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(cli.run(main))
