"""YAML as sweep files use it: plain values, numbers as people write them, nothing that expands."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.sweep_files import GOOD, Load, Problems, only

from suite.config import InputError
from suite.config.yaml_text import parse


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1e3),
        ("1e+2", 100.0),
        ("1.5e2", 150.0),
        (".5e1", 5.0),
        ("-.5", -0.5),
        ("1.e1", 10.0),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("-.INF", -float("inf")),
        ("2", 2),
        ("+3", 3),
        ("-4", -4),
        ("010", 10),  # YAML 1.1: 8
        ("09", 9),
        ("00", 0),
    ],
)
def test_numbers_as_people_write_them(text: str, number: float) -> None:
    found = parse(text, "x")
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize("text", ["1:30", "1_0", "2020-01-02", "2020-13-41", "1e", ".", "+", "1.5.2", '"1"', "!!str 1"])
def test_what_is_no_number_is_a_text(text: str) -> None:
    assert parse(text, "x") == text.removeprefix("!!str ").strip('"')


def test_numbers_in_a_sweep_file(load: Load) -> None:
    trial = only(load(GOOD.replace("lr: 0.1", "lr: 1e-4").replace("seed: 1", "seed: 010")))
    assert (trial.method.lr, trial.seed) == (1e-4, 10)


@pytest.mark.parametrize("text", ["9" * 5000, "!!int 1:30", "[" * 5000])
def test_what_cannot_be_built_is_told(text: str) -> None:
    with pytest.raises(InputError, match=r"^x: not YAML: [^\n]+$"):
        parse(text, "x")


# Aliases ------------------------------------------------------------------------------------------------------------

REFUSED = "not YAML: aliases (*) are not read: base says what trials share"


def bomb(levels: int) -> str:
    """One value of a kilobyte that stands for 9 ** levels values."""
    text = "&a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"
    for i in range(1, levels):
        text = f"&a{i} [{text}" + f", *a{i - 1}" * 8 + "]"
    return text


@pytest.mark.parametrize("place", ["axis", "unknown key"])
def test_an_alias_bomb_is_refused_at_once(load: Load, place: str) -> None:
    text = GOOD.replace("seed: 1", f"seed: {bomb(12)}") if place == "axis" else GOOD + f"x: {bomb(12)}\n"
    Path("bomb.yaml").write_text(text)
    command = (
        "import sys; from suite import cli; from suite.config.sweep_file import load_sweep; "
        "sys.exit(cli.run(lambda: load_sweep('bomb.yaml')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: (
            resource.setrlimit(resource.RLIMIT_CPU, (2, 2)),
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        ),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"bomb.yaml:{5 if place == 'axis' else 7}:")
    assert done.stderr.endswith(f": {REFUSED}\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (GOOD.replace("seed: 1", "seed: &a [*a]"), "5:13"),  # holds itself
        (GOOD + "x: &a [*a]\n", "7:8"),
        (GOOD.replace("seed: 1", "seed: &a 1\n  threads: *a"), "6:12"),
        (GOOD.replace("{name: weights, lr: 0.1}", "{<<: *a, lr: 0.1}"), "6:16"),
    ],
)
def test_aliases_are_refused(problems: Problems, text: str, place: str) -> None:
    assert problems(text) == [f"s.yaml:{place}: {REFUSED}"]
