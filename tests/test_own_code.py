"""Whose code runs: another's package ``analysis`` or ``suite``, and whatever else lies where a command is called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.sweep_processes import ROOT, write_sweep

from suite import own_code
from suite.config import InputError

HERE = "run from another folder, or rename it"
ELSEWHERE = "take it out of PYTHONPATH or of the environment"


def put(folder: Path, name: str) -> Path:
    """A module of the caller's, which must not be imported."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("raise SystemExit('the wrong code')\n")
    return file


def python(*arguments: str, cwd: Path, **variables: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a new Python."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


# Another's analysis ---------------------------------------------------------------------------------------------------


def test_a_sweep_names_another_analysis_before_it_trains(tmp_path: Path) -> None:
    """It was imported when all trials had been run, for the tables."""
    put(tmp_path, "analysis.py")
    write_sweep(tmp_path / "s.yaml")
    own = f"the suite's own package 'analysis' ({ROOT / 'analysis'})"
    said = f"{tmp_path}/analysis.py: shadows {own}: {HERE}\n"
    assert python("-m", "suite.sweep", "s.yaml", cwd=tmp_path) == (2, "", said)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("file", ["analysis.py", "analysis/__init__.py"])
@pytest.mark.parametrize("called_there", [True, False])
def test_another_analysis_wherever_it_is_found(
    file: str, called_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, file)
    monkeypatch.delitem(sys.modules, "analysis", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    if called_there:
        monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        own_code.check()
    (line,) = caught.value.problems
    assert line.startswith(f"{tmp_path / file.removesuffix('/__init__.py')}: shadows")
    assert line.endswith(HERE if called_there else ELSEWHERE)


def test_no_analysis_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "analysis", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(InputError, match="analysis: missing: install the suite whole"):
        own_code.check()
    (tmp_path / "analysis").mkdir()  # notes, say: Python takes it for a package where there is no other
    sys.path_importer_cache.pop(str(tmp_path), None)
    with pytest.raises(InputError, match="analysis: shadows"):
        own_code.check()


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis/notes.py").touch()
    monkeypatch.delitem(sys.modules, "analysis", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    own_code.check()


# Another's suite ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["suite.py", "suite/__init__.py"])
def test_commands_of_analysis_name_another_suite(file: str, tmp_path: Path) -> None:
    """They imported it, and ended in a traceback."""
    put(tmp_path, file)
    place = tmp_path / file.removesuffix("/__init__.py")
    said = f"{place}: shadows the package 'suite' ({ROOT / 'suite'}): {HERE}\n"
    assert python("-m", "analysis.tables", "s.yaml", cwd=tmp_path) == (2, "", said)
    status, _, errors = python("-c", "import analysis", cwd=tmp_path)
    assert status == 1 and errors.endswith(f"ImportError: {said}")


# What else lies there -------------------------------------------------------------------------------------------------


def test_nothing_is_imported_from_the_callers_folder(tmp_path: Path) -> None:
    """Neither a library's name nor one of the standard library that is imported late, as the sweep's end does."""
    late = ("config", "matplotlib", "mlflow", "statistics", "tabulate")
    for name in late:
        put(tmp_path, f"{name}.py")
    code = f"""
from importlib.util import find_spec
from suite import cli
cli.run(lambda: print(*(getattr(find_spec(name), "origin", name) for name in {late}), sep="\\n"))
"""
    status, output, errors = python("-c", code, cwd=tmp_path)
    assert status == 0, errors
    assert len(output.splitlines()) == len(late) and str(tmp_path) not in output


def test_the_checkout_itself_stays_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), "/elsewhere"])
    monkeypatch.chdir(ROOT)
    own_code.leave_callers_folder()
    assert sys.path == [str(ROOT), "/elsewhere"]
    monkeypatch.chdir(tmp_path)
    own_code.leave_callers_folder()  # a path that somebody else put there
    assert sys.path == [str(ROOT), "/elsewhere"]


# Processes of ours ----------------------------------------------------------------------------------------------------


def test_a_process_of_ours_runs_our_code_wherever_it_starts(tmp_path: Path) -> None:
    for name in ("suite/__init__.py", "analysis.py", "argparse.py"):
        put(tmp_path, name)
    status, output, errors = python("-m", "suite.status", "--help", cwd=tmp_path, **own_code.environment())
    assert status == 0 and output.startswith("usage: python -m suite.status"), errors


def test_a_path_given_by_the_caller_is_kept_for_processes_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["lib", str(ROOT), "", "/other"]))
    wanted = [str(ROOT), str(tmp_path / "lib"), "/other"]
    assert own_code.environment()["PYTHONPATH"].split(os.pathsep) == wanted
    with own_code.inherited():
        assert os.environ["PYTHONPATH"].split(os.pathsep) == wanted and os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ["PYTHONPATH"].startswith("lib") and "PYTHONSAFEPATH" not in os.environ


def test_installed_packages_stay_behind_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "ROOT", Path("/venv/lib/python3/site-packages"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert own_code.environment() == {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"}


def test_a_suite_in_a_folder_that_pythonpath_cannot_hold_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "ROOT", Path("/home/me/run:12"))
    with pytest.raises(InputError, match=r"^/home/me/run:12: ':' in the path of the suite: .* move the checkout$"):
        own_code.environment()
