"""The commands of the suite, a line each: ``python -m suite``."""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

import suite
from suite import cli

COMMANDS = {
    "Run": ("suite.sweep", "suite.train", "suite.testing"),
    "Look": ("suite.status", "suite.ui", "suite.tracking", "suite.tickets"),
    "Analyze": (
        "analysis.tables",
        "analysis.figures",
        "analysis.report",
        "analysis.tuned",
        "analysis.gate",
        "analysis.export",
        "analysis.theory",
    ),
    "ImageNet": ("suite.data.imagenet.scan", "suite.data.imagenet.pack", "suite.data.imagenet.stage"),
}


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite", "List the commands of the suite.", usage="[--version]", example="python -m suite"
    )
    made.add_argument_group("version").add_argument(
        "--version", action="version", version=f"random-pruning-suite {suite.__version__}", help="print it"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Print the commands, or the version."""
    parser().parse_args(argv)
    print(f"random-pruning-suite {suite.__version__}: python -m COMMAND, with --help for its arguments")
    width = max(len(name) for names in COMMANDS.values() for name in names)
    for heading, names in COMMANDS.items():
        print(f"\n{heading}")
        for name in names:
            print(f"  {name:{width}}  {summary_of(name)}")
    return 0


def summary_of(command: str) -> str:
    """Return a command's summary: its docstring up to ``: ``python``, read without importing the module."""
    home = Path(suite.__file__).parents[1].joinpath(*command.split("."))
    file = home / "__main__.py" if home.is_dir() else home.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition(": ``python")[0]


if __name__ == "__main__":
    sys.exit(cli.run(main, prints=True))
