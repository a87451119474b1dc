"""The commands of the suite, a line each: ``python -m suite``. What there is: ``python -m suite list methods``."""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

import suite
from suite import cli, listing
from suite.config import json_schema
from suite.console import COMMANDS


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite",
        "List the commands of the suite, or what it has.",
        usage="[COMMAND ...] [--version]",
        example="python -m suite list methods",
    )
    made.add_argument_group("version").add_argument(
        "--version", action="version", version=f"random-pruning-suite {suite.__version__}", help="print it"
    )
    commands = made.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", prog=made.prog, help="without one: list all commands"
    )
    listed = "List what sweep files and command lines can name."
    each: cli.CommandParser = commands.add_parser(
        "list", summary=listed, help=listed, usage="KIND [options]", example="python -m suite list methods"
    )
    each.add_argument("kind", choices=listing.KINDS, metavar="KIND", help=", ".join(listing.KINDS))
    each.add_plugins()
    schema = "Print the JSON Schema of sweep files, for an editor."
    each = commands.add_parser(
        "schema", summary=schema, help=schema, usage="[options]", example="python -m suite schema"
    )
    each.add_plugins()
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Print the commands, the version, what there is of a kind, or the schema of sweep files."""
    args = parser().parse_args(argv)
    if args.command == "list":
        _print_lines(listing.KINDS[args.kind]())
    elif args.command == "schema":
        print(json_schema.text(), end="")
    else:
        _print_commands()
    return 0


def _print_lines(lines: listing.Lines) -> None:
    width = max(map(len, lines), default=0)
    for name, text in lines.items():
        print(f"{name:{width}}  {text}".rstrip())


def _print_commands() -> None:
    print(f"random-pruning-suite {suite.__version__}: python -m COMMAND, with --help for its arguments")
    width = max(len(name) for names in COMMANDS.values() for name in names)
    for heading, names in COMMANDS.items():
        print(f"\n{heading}")
        for name in names:
            print(f"  {name:{width}}  {summary_of(name)}")


def summary_of(command: str) -> str:
    """Return a command's summary: its docstring up to ``: ``python``, read without importing the module."""
    home = Path(suite.__file__).parents[1].joinpath(*command.split("."))
    file = home / "__main__.py" if home.is_dir() else home.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition(": ``python")[0]


if __name__ == "__main__":
    sys.exit(cli.run(main, prints=True))
