"""Flags of every command: whole, and where one is mistyped, with those that are most like it."""

import pytest
from support.commands import all_parsers

from suite import cli

PARSERS = {parser.prog.removeprefix("python -m "): parser for parser in all_parsers()}


def error(parser: cli.CommandParser, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(list(flags))
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].partition(": error: ")[2]


@pytest.mark.parametrize("prog", PARSERS)
def test_no_flag_may_be_shortened(prog: str) -> None:
    assert not PARSERS[prog].allow_abbrev


@pytest.mark.parametrize(
    ("prog", "flags", "first"),
    [
        ("suite.sweep", ("a.yaml", "--dry"), "--dry: no such flag; there are: --dry-run, "),
        ("suite.sweep", ("a.yaml", "--resuls", "x"), "--resuls: no such flag; there are: --results, "),
        ("suite.sweep", ("a.yaml", "--resuls=x"), "--resuls=x: no such flag; there are: --results, "),
        ("suite.sweep", ("a.yaml", "--retry_failed"), "--retry_failed: no such flag; there are: --retry-failed, "),
        ("suite.status", ("a.yaml", "--folow"), "--folow: no such flag; there are: --follow, "),
        ("suite.tracking", ("publish", "x", "--tracking-url", "y"), "--tracking-url: no such flag; there are: --track"),
        ("suite.tickets", ("eval", "x", "--splt", "y"), "--splt: no such flag; there are: --split, "),
        ("suite.train", ("t.json", "--foldr", "y"), "--foldr: no such flag; there are: --folder, "),
    ],
)
def test_a_mistyped_flag_names_the_nearest(
    prog: str, flags: tuple[str, ...], first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error(PARSERS[prog], capsys, *flags)
    assert said.startswith(first)
    names = said.partition("there are: ")[2].partition(" and ")[0].split(", ")
    assert len(names) <= 10 and not {"--wait", "--part"} & set(names)  # which are none of the user's


def test_other_mistakes_are_told_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    assert error(PARSERS["suite.sweep"], capsys) == "the following arguments are required: FILE.yaml"
    assert error(PARSERS["suite.status"], capsys, "a.yaml", "more") == "unrecognized arguments: more"


@pytest.mark.parametrize(
    ("prog", "words"), [("suite.status", ("a.yaml", "")), ("suite.tracking", ("publish", "x", ""))]
)
def test_an_empty_argument_is_a_mistake_too(
    prog: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """What an unset variable leaves: "$EXTRA"."""
    assert error(PARSERS[prog], capsys, *words).startswith("unrecognized arguments")
