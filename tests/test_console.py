"""The console script ``suite``: each command by one word, and a shell that completes them."""

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.commands import NAMES
from support.documents import ROOT, commands

from suite import console

SCRIPT = f"#!{sys.executable}\nimport sys\nfrom suite.console import main\nsys.exit(main())\n"  # as pip writes it


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script, where no other of that name comes first."""
    file = tmp_path / "bin/suite"
    file.parent.mkdir()
    file.write_text(SCRIPT)
    file.chmod(0o755)
    return file


def call(script: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{script.parent}:{os.environ['PATH']}"}
    return subprocess.run(words, env=environment, cwd=script.parent, capture_output=True, text=True, check=False)


def test_it_is_installed_and_names_each_command_once() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["suite"]
    module, _, function = told.partition(":")
    assert getattr(import_module(module), function) is console.main
    assert sorted(console.modules().values()) == sorted(NAMES)
    assert all(map(find_spec, NAMES)) and not {*console.OWN} & console.modules().keys()


def test_a_word_becomes_the_command_with_its_exit_status(script: Path) -> None:
    listed = call(script, "suite", "list", "methods")
    assert listed.returncode == 0 and listed.stdout.startswith("weights ")
    mistaken = call(script, "suite", "status", "nowhere.yaml")
    assert mistaken.returncode == 2 and mistaken.stderr.startswith("nowhere.yaml: no such file")
    assert call(script, "suite").stdout == call(script, sys.executable, "-m", "suite").stdout


def test_a_folder_of_the_caller_shadows_nothing(script: Path) -> None:
    (script.parent / "pydantic.py").write_text("raise SystemExit(7)")
    done = subprocess.run(
        [sys.executable, "-P", str(script), "tables", "--help"],
        cwd=script.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "python -m analysis.tables" in done.stdout


def test_another_word_is_answered_with_the_nearest(script: Path) -> None:
    done = call(script, "suite", "sweeep")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("suite: sweeep: no such command; there are: sweep, ")


def test_the_line_for_bash_completes_commands(script: Path) -> None:
    (line,) = [each for each in commands(ROOT / "docs/how-to/shell_and_editor.md") if each.startswith("complete ")]
    asked = 'complete() { compgen "${@:1:$#-1}" -- ta; }'  # what bash offers after `suite ta`
    done = call(script, "bash", "-c", f"{asked}; {line}")
    assert (done.returncode, done.stdout) == (0, "tables\n")
