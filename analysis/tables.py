"""Tables of a sweep: ``python -m analysis.tables FILE.yaml``, as Markdown, CSV and LaTeX.

Every planned cell is shown; what is missing is named.
"""

import sys
from collections.abc import Sequence

from suite import cli


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.sweep_parser(
        "analysis.tables",
        "Print the tables of a sweep and write them as Markdown, CSV and LaTeX into its report folder.",
        example="python -m analysis.tables width_vs_acc.yaml --target 0.95",
    )
    made.add_argument_group("tables").add_argument(
        "--target", action="append", default=[], metavar="SHARE|METHOD:WIDTH", help=cli.TARGET
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables of a sweep and write them into its report folder."""
    args = parser().parse_args(argv)
    sweep, ledger = cli.load(args)
    from analysis.reports import tables  # pandas: after the arguments

    text, files = tables.make(sweep, ledger, targets=args.target)
    print(text)
    print("written:", *files)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, prints=True))
