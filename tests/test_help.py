"""``--help`` of every command: at once, one sentence, an example that can be run, flags in groups, exit statuses."""

import ast
import importlib
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.commands import NAMES, all_parsers, module_of, parser_of, subcommands

from suite import cli

HEAVY = ("torch", "pandas", "matplotlib", "mlflow", "ray", "sklearn", "scipy", "numba")
HELP = f"""
import contextlib, runpy, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(None):
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    print(name, *sorted(sys.modules.keys() & set({HEAVY})))
"""
WORK = {"suite.train": ["suite.train.command"], "suite.tickets": ["suite.tickets.commands"]}
PARSERS = list(all_parsers())
PROGS = [parser.prog.removeprefix("python -m ") for parser in PARSERS]


def test_help_imports_nothing_heavy() -> None:
    """That is what made it take ten seconds."""
    command = [sys.executable, "-c", HELP, "suite", *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["suite", *NAMES]


def test_a_help_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser_of("suite.train").parse_args(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "example:\n  python -m suite.train trial.json" in said
    assert "  75  stopped and saved; the same command resumes it" in said


@pytest.mark.parametrize("parser", PARSERS, ids=PROGS)
def test_help_is_one_sentence_and_groups(parser: cli.CommandParser) -> None:
    assert re.fullmatch(r"[A-Z][^.]*(\.[a-z][^.]*)*\.", parser.summary), "one sentence"
    ungrouped = {action.dest for action in parser._optionals._group_actions if action.help != "==SUPPRESS=="}
    assert ungrouped == {"help"}, "flags are in groups"
    assert all(action.help for action in parser._actions), "every argument says what it is"


@pytest.mark.parametrize("parser", PARSERS, ids=PROGS)
def test_an_example_is_one_that_the_parser_takes(parser: cli.CommandParser) -> None:
    words = shlex.split(parser.example)
    prog = parser.prog.split()
    if not subcommands(parser):
        assert words[: len(prog)] == prog
        parser.parse_args(words[len(prog) :])
    else:
        assert words[: len(prog)] == prog and words[len(prog)] in subcommands(parser)


def returned(name: str) -> Iterator[int]:
    """The exit statuses that functions of a module return, as numbers or by name."""
    module = importlib.import_module(name)
    for function in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(function, ast.FunctionDef) and function.returns and ast.unparse(function.returns) == "int":
            for node in (node for node in ast.walk(function) if isinstance(node, ast.Return) and node.value):
                for part in ast.walk(node.value):
                    value = part.value if isinstance(part, ast.Constant) else None
                    value = getattr(module, part.id, None) if isinstance(part, ast.Name) else value
                    if isinstance(value, int) and not isinstance(value, bool):
                        yield value


@pytest.mark.parametrize("name", NAMES)
def test_exit_statuses_are_those_of_the_code(name: str) -> None:
    parser, module = parser_of(name), module_of(name)
    found = {status for each in (module.__name__, *WORK.get(name, ())) for status in returned(each)}
    assert found <= parser.statuses.keys()
    assert parser.statuses.keys() - found <= cli.STATUSES.keys(), "what is described is what the code returns"
