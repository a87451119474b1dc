"""Figures of a sweep: ``python -m analysis.figures FILE.yaml``, as PNG and SVG.

``figure``: accuracy against parameters and bytes. ``pareto``: which networks no other one beats in both. ``ratios``:
what methods need for equal accuracy, one over another. ``learning``: validation accuracy over the epochs. ``sparsity``:
accuracy against the share of weights removed, where that varies.
"""

import sys
from collections.abc import Sequence

from suite import cli


def parser() -> cli.CommandParser:
    """The arguments."""
    return cli.sweep_parser(
        "analysis.figures",
        "Draw the figures of a sweep as PNG and SVG into its report folder.",
        example="python -m analysis.figures width_vs_acc.yaml",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the figures of a sweep into its report folder."""
    sweep, ledger = cli.load(parser().parse_args(argv))
    from analysis.reports import figures  # matplotlib: after the arguments

    print("written:", *figures.make(sweep, ledger))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, prints=True))
