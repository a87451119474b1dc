"""--results: what only reads needs the folder that was typed, and makes none; what runs refuses one that cannot be."""

import importlib
import json
import os
from pathlib import Path

import pytest
from support.fake_results import write_result
from support.sweep_processes import write_sweep

from suite import cli
from suite.config.sweep_file import load_sweep
from suite.records.ledger import Ledger

READERS = {  # with what each needs besides
    "suite.status": [],
    "analysis.tables": [],
    "analysis.figures": [],
    "analysis.report": ["--no-mlflow"],
    "analysis.export": ["--out", "out.gz"],
    "analysis.gate": [],
    "analysis.tuned": [],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_sweep(Path("tiny.yaml"), epochs=1)
    return tmp_path


def call(name: str, *args: str) -> int:
    try:
        module = importlib.import_module(f"{name}.__main__")
    except ModuleNotFoundError:
        module = importlib.import_module(name)
    return cli.run(lambda: int(module.main(list(args))))


def read(name: str, results: str) -> int:
    if name == "suite.tracking":
        return call(name, "publish", results)
    return call(name, "tiny.yaml", *READERS[name], "--results", results)


@pytest.mark.parametrize("name", [*READERS, "suite.tracking"])
@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ("no", "no such folder"),
        ("no/deeper", "no such folder"),
        ("tiny.yaml", "is no folder"),
        ("tiny.yaml/below", "no such folder"),
        ("dangling", "is no folder"),
        ("loop", "is no folder"),
        ("x" * 300, "no such folder"),
        (".", "holds no results"),
    ],
)
def test_what_reads_needs_the_folder_that_was_typed(
    name: str, results: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    before = sorted(os.listdir())
    assert read(name, results) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"{results}: {problem}: ") and len(told.err.splitlines()) == 1 and not told.out
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("name", [name for name in READERS if name != "suite.status"])
def test_the_default_folder_may_be_absent(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name, "tiny.yaml", *READERS[name]) == 1
    assert capsys.readouterr().err == "no results yet: run `python -m suite.sweep tiny.yaml`\n"
    assert sorted(os.listdir()) == ["tiny.yaml"]


def test_status_shows_what_is_not_begun(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("suite.status", "tiny.yaml") == 1
    assert capsys.readouterr().out.splitlines()[1] == "no results yet: run `python -m suite.sweep tiny.yaml`"
    assert call("suite.status", "tiny.yaml", "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 6
    assert sorted(os.listdir()) == ["tiny.yaml"]


def test_the_default_folder_that_was_typed_is_one_that_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("suite.status", "tiny.yaml", "--results", "results") == 2
    assert capsys.readouterr().err.startswith("results: no such folder: ")


def test_an_empty_folder_is_one_of_results() -> None:
    Path("empty").mkdir()
    assert call("suite.status", "tiny.yaml", "--results", "empty") == 1


def test_publishing_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert call("suite.tracking", "publish", "empty") == 0
    assert capsys.readouterr().out == "empty: no sweep was run there yet: nothing to publish\n"


def test_the_folder_of_results_is_read() -> None:
    for trial in load_sweep("tiny.yaml").trials.values():
        write_result(Ledger(Path("there")), trial)
    assert call("suite.status", "tiny.yaml", "--results", "there") == 0


@pytest.mark.parametrize("more", [["--dry-run"], [], ["--launcher", "slurm", "--profile", "test", "--dry-run"]])
@pytest.mark.parametrize("results", ["tiny.yaml", "tiny.yaml/below/it", "dangling", "loop/results"])
def test_a_sweep_refuses_what_can_be_no_folder(
    more: list[str], results: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    assert call("suite.sweep", "tiny.yaml", "--results", results, *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{results}: results cannot be written there: ") and " is no folder" in line
