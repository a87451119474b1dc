"""Test a method, network or data set of your own: ``python -m suite.testing method NAME``.

The tests are those that the suite's own pass.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite import cli
from suite.config import REGISTRY, InputError, plugins
from suite.config.options import Option
from suite.config.plugins import Entry, Kind
from suite.testing import subject


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite.testing",
        "Test a method, a network or a data set of your own against its contract.",
        usage="method|model|dataset NAME|PACKAGE.MODULE:OBJECT [options]",
        example="python -m suite.testing method mypkg.optimizer:MyMethod",
        statuses={0: "every test passes", 1: "a test fails"},
    )
    made.add_argument("kind", choices=plugins.KINDS, help="what it is")
    made.add_argument("name", metavar="NAME", help="its name in sweep files, or its implementation")
    made.add_plugins()
    more = made.add_argument_group("tests")
    more.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of its own, as depth=2; can be repeated; default: a legal value",
    )
    more.add_argument("--data-dir", type=Path, metavar="DIR", help=cli.DATA_DIR)
    more.add_argument("-k", metavar="WORDS", default="", help="run only the tests whose names have these words")
    more.add_argument("--verbose", action="store_true", help="show the whole error of each test that fails")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tests, and print what passes and what fails."""
    args = parser().parse_args(argv)
    entry = _entry(args.kind, args.name)
    entry.load()
    try:
        import pytest
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install pytest") from None
    from suite.testing.report import Report

    given = {".".join(option.key): option.values[0] for option in (Option.read("--set", text) for text in args.set)}
    os.environ[subject.VARIABLE] = json.dumps({"kind": entry.kind, "name": entry.name, "settings": given})
    if args.data_dir:
        os.environ["SUITE_DATA"] = str(args.data_dir.absolute())
    print(f"the contract of a {entry.kind}, for {entry.name} ({entry.origin if entry.is_plugin else 'of the suite'})")
    pytest.register_assert_rewrite("suite.testing")
    report = Report(verbose=args.verbose)
    folder = Path(__file__).parent / entry.kind
    pytest.main([str(folder), *_options(folder, args.k)], plugins=[report])
    return report.summarize()


def _options(folder: Path, words: str) -> list[str]:
    """Of pytest, without anything of the folder where the command is called."""
    own = ["-c", os.devnull, "--rootdir", str(folder), "--import-mode=importlib", "-W", "ignore"]
    return [*own, "-p", "no:terminal", "-p", "no:cacheprovider", *(["-k", words] if words else [])]


def _entry(kind: Kind, name: str) -> Entry:
    """The entry that is meant by its name, or by its implementation."""
    if ":" not in name:
        return REGISTRY.find(kind, name)
    entries = list(REGISTRY.entries(kind).values())
    found = [entry for entry in entries if name == entry.settings.IMPLEMENTATION]
    if not found:
        wanted: Any = plugins.implementation(name)
        found = [entry for entry in entries if entry.is_plugin and entry.load() is wanted]
    if not found:
        group = next(group for group, each in plugins.GROUPS.items() if each == kind)
        raise InputError(
            f"{name}: no settings class has this IMPLEMENTATION: name one in the entry points {group} of your package, "
            "or its file with --plugin"
        )
    return found[0]


if __name__ == "__main__":
    sys.exit(cli.run(main, prints=True))
