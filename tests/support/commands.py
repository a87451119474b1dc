"""The parsers of all commands, subcommands too."""

import argparse
import importlib
from collections.abc import Iterator
from types import ModuleType

from suite import cli
from suite.__main__ import COMMANDS

NAMES = [name for names in COMMANDS.values() for name in names]


def module_of(name: str) -> ModuleType:
    return importlib.import_module(f"{name}.__main__" if name in _PACKAGES else name)


def parser_of(name: str) -> cli.CommandParser:
    found: cli.CommandParser = module_of(name).parser()
    return found


def subcommands(parser: argparse.ArgumentParser) -> dict[str, cli.CommandParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


def all_parsers() -> Iterator[cli.CommandParser]:
    for name in ("suite", *NAMES):
        yield (parser := parser_of(name))
        yield from subcommands(parser).values()


_PACKAGES = (
    "suite",
    "suite.sweep",
    "suite.testing",
    "suite.train",
    "suite.tracking",
    "suite.tickets",
    "analysis.theory",
)
