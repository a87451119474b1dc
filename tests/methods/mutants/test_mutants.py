"""Each fault of ``support.method_mutants`` is seen: by a test of methods, by the gate where the sweep can show it."""

import os
import subprocess
from pathlib import Path

import pytest
from support.method_mutants import MUTANTS, PYTHON, Mutant, copy_code

pytestmark = pytest.mark.slow
SWEEP, SEEDS = "sweeps/width_vs_acc.yaml", "seed=[1, 2, 3, 4, 5]"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder, with the code of that folder."""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [PYTHON, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def run_tests(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    selected = [f"tests/methods/{test}" for test in tests]
    return run(folder, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *selected)


def test_the_unchanged_copy_passes(repository: Path, tmp_path: Path) -> None:
    folder = copy_code(repository, tmp_path)
    found = run_tests(folder, *sorted({mutant.test for mutant in MUTANTS.values()}))
    assert found.returncode == 0, found.stdout
    imported = run(folder, "-c", "import suite; print(suite.__file__)").stdout
    assert Path(imported.strip()).is_relative_to(folder)  # and not the installed one


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_test_of_methods_sees_it(repository: Path, tmp_path: Path, mutant: Mutant) -> None:
    found = run_tests(copy_code(repository, tmp_path, mutant), mutant.test)
    assert found.returncode == 1, found.stdout  # 1: tests failed; an error of collection has another status
    assert "1 failed" in found.stdout
    assert "AssertionError" in found.stdout or "assert " in found.stdout


def test_a_text_that_is_not_there_is_an_error(repository: Path, tmp_path: Path) -> None:
    absent = Mutant((("random.py", "no such text", ""),), "", gate=False)
    with pytest.raises(AssertionError, match="found 0 times"):
        copy_code(repository, tmp_path, absent)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_the_gate_sees_it_where_the_sweep_shows_it(repository: Path, tmp_path: Path, mutant: Mutant) -> None:
    """On IteRand's cells, which all the faults can touch."""
    folder, only = copy_code(repository, tmp_path, mutant), ("--only", "method.name=iterand", "--set", SEEDS)
    swept = run(folder, "-m", "suite.sweep", SWEEP, *only)
    assert swept.returncode == 0, swept.stdout + swept.stderr
    judged = run(folder, "-m", "analysis.gate", SWEEP, *only)
    print(judged.stdout)
    assert judged.returncode == (1 if mutant.gate else 0), judged.stdout + judged.stderr
