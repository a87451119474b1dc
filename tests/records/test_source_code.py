"""The frozen copy of the code that jobs run: it says the same of itself, and later edits do not touch it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.sweep_files import GOOD

from suite.records import source_code

WHO = (
    "from suite.records import source_code as source; "
    "print(source.__file__, source.code_id(), source.git_commit(), sep='|')"
)


@pytest.fixture(autouse=True)
def _not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process works out its own code_id, as a user's does."""
    monkeypatch.delenv("SUITE_CODE_ID", raising=False)


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """A copy of the code, which may be edited."""
    copy = tmp_path / "checkout"
    for package in ("suite", "analysis"):
        shutil.copytree(repository / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """A folder to start in, with another package of our name."""
    folder = tmp_path / "decoy"
    (folder / "suite").mkdir(parents=True)
    (folder / "suite" / "__init__.py").write_text("raise SystemExit('the wrong suite')\n")
    return folder


def python(code: Path, cwd: Path, *args: object) -> str:
    """What Python says that finds the suite in ``code``, as a job does."""
    environment = {**os.environ, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, *map(str, args)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def frozen(code: Path, into: Path) -> Path:
    return Path(
        python(code, into.parent, "-c", f"from suite.records.source_code import *; print(freeze(Path({str(into)!r})))")
    )


def test_equal_code_gives_an_equal_archive(tmp_path: Path, checkout: Path) -> None:
    first, second = source_code.freeze(tmp_path / "a"), source_code.freeze(tmp_path / "b" / "c")
    assert first.name == second.name and first.read_bytes() == second.read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]
    copied = frozen(checkout, tmp_path / "d")
    for file in checkout.rglob("*.py"):
        os.utime(file, (1e9, 1e9))
        file.chmod(0o600)
    assert frozen(checkout, tmp_path / "e").read_bytes() == copied.read_bytes()
    with zipfile.ZipFile(first) as ours, zipfile.ZipFile(copied) as theirs:  # all but the commit: a copy has none
        assert {i.filename: i.CRC for i in ours.infolist() if not i.filename.endswith("json")} == {
            i.filename: i.CRC for i in theirs.infolist() if not i.filename.endswith("json")
        }


def test_an_archive_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    archive = source_code.freeze(tmp_path)
    os.utime(archive, (1e9, 1e9))
    assert source_code.freeze(tmp_path) == archive
    assert archive.stat().st_mtime == 1e9


def test_nothing_is_written_when_only_asked(tmp_path: Path) -> None:
    archive = source_code.freeze(tmp_path / "code", write=False)
    assert not (tmp_path / "code").exists()
    assert source_code.freeze(tmp_path / "code") == archive


def test_an_archive_holds_the_code_and_no_leftovers(tmp_path: Path, repository: Path) -> None:
    with zipfile.ZipFile(source_code.freeze(tmp_path)) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names))
    assert {"suite/__init__.py", "suite/sweep/__main__.py", "analysis/__init__.py", "suite/slurm/profile.py"} <= set(
        names
    )
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    modules = {path.relative_to(repository).as_posix() for path in (repository / "suite").rglob("*.py")}
    assert modules <= set(names)


def test_the_frozen_code_says_the_same_of_itself(tmp_path: Path, decoy: Path) -> None:
    archive = source_code.freeze(tmp_path)
    said = python(archive, decoy, "-c", WHO).split("|")
    assert said == [str(archive / "suite/records/source_code.py"), source_code.code_id(), str(source_code.git_commit())]


def test_code_outside_of_a_checkout_has_no_commit(tmp_path: Path, checkout: Path, decoy: Path) -> None:
    archive = frozen(checkout, tmp_path / "code")
    assert python(archive, decoy, "-c", WHO).split("|") == [
        str(archive / "suite/records/source_code.py"),
        source_code.code_id(),
        "None",
    ]
    again = python(
        archive, decoy, "-c", "from suite.records import source_code as source; print(source.git_commit() is None)"
    )
    assert again == "True"


def test_a_frozen_archive_freezes_to_itself(tmp_path: Path, decoy: Path) -> None:
    archive = source_code.freeze(tmp_path / "a")
    assert frozen(archive, tmp_path / "b") == archive
    assert not (tmp_path / "b").exists()
    assert source_code.frozen_archive() is None


@pytest.mark.slow
def test_a_later_edit_changes_nothing_in_the_archive(tmp_path: Path, checkout: Path, decoy: Path) -> None:
    archive = frozen(checkout, tmp_path / "code")
    before, said = archive.read_bytes(), python(archive, decoy, "-c", WHO)
    trained = checkout / "suite" / "train" / "evaluate.py"
    trained.write_text(trained.read_text() + "\nEDITED = True\n")
    (checkout / "suite" / "records" / "ledger.py").write_text("raise SystemExit('edited')\n")
    assert archive.read_bytes() == before
    assert python(archive, decoy, "-c", WHO) == said
    assert python(archive, decoy, "-c", "import suite.records.ledger; print('fine')") == "fine"
    edited = frozen(checkout, tmp_path / "code")
    assert edited != archive and archive.exists()
    assert python(edited, decoy, "-c", WHO).split("|")[1] not in said


def test_the_sweep_command_works_from_the_archive(tmp_path: Path, decoy: Path) -> None:
    archive = source_code.freeze(tmp_path)
    (decoy / "s.yaml").write_text(GOOD)
    said = python(archive, decoy, "-m", "suite.sweep", "s.yaml", "--dry-run")
    assert "1 missing; 1 to run" in said
    assert not (decoy / "results").exists()


def test_a_job_of_the_archive_would_run_the_archive(tmp_path: Path, decoy: Path) -> None:
    """The batch script that a driver would submit which itself runs from a frozen copy."""
    archive = source_code.freeze(tmp_path)
    (decoy / "s.yaml").write_text(GOOD)
    (decoy / "p.yaml").write_text("partition: main\n")
    said = python(
        archive, decoy, "-m", "suite.sweep", "s.yaml", "--launcher", "slurm", "--profile", "p.yaml", "--dry-run"
    )
    joined = "".join(said.split())
    assert f"exportPYTHONPATH={archive}" in joined and "exportPYTHONSAFEPATH=1" in joined
    assert not (decoy / "results").exists()


@pytest.mark.slow
def test_modules_that_a_sweep_loads_come_from_the_archive(tmp_path: Path, decoy: Path) -> None:
    archive = source_code.freeze(tmp_path)
    code = (
        "import sys, suite.train, suite.sweep.tune, suite.launch.job_entry, suite.launch.inline;"
        "import analysis.reports.tables, analysis.reports.figures;"
        "print([m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in ('suite', 'analysis')"
        f" and not m.__file__.startswith({str(archive)!r})])"
    )
    assert python(archive, decoy, "-c", code) == "[]"


def test_data_that_the_code_brings_is_read_from_the_archive(tmp_path: Path, decoy: Path) -> None:
    archive = source_code.freeze(tmp_path)
    code = "from pathlib import Path; from suite.data import sources; print(len(sources.read('digits', Path()).labels))"
    assert python(archive, decoy, "-c", code) == "1797"


# The code_id, worked out once ----------------------------------------------------------------------------------------


SAYS = "from suite.records import source_code as source; print(source.source_id(), source.code_id())"
HANDED_ON = "from suite.records import source_code as source; source.know_code_id({!r}); print(source.code_id())"


def test_a_comment_makes_another_source_and_the_same_code(tmp_path: Path, checkout: Path) -> None:
    source, code = python(checkout, tmp_path, "-c", SAYS).split()
    file = checkout / "suite/methods/weights.py"
    file.write_text(file.read_text() + "# more\n")
    other, same = python(checkout, tmp_path, "-c", SAYS).split()
    assert other != source and same == code
    file.write_text(file.read_text() + "more = 1\n")
    assert python(checkout, tmp_path, "-c", SAYS).split()[1] != code


def test_a_code_id_that_was_handed_on_holds_for_the_source_it_was_made_from_alone(
    tmp_path: Path, checkout: Path
) -> None:
    source, code = source_code.source_id(), source_code.code_id()  # of a copy too
    known = f"{source} handed on"
    assert python(checkout, tmp_path, "-c", HANDED_ON.format(known)) == "handed on"
    file = checkout / "suite/methods/weights.py"
    file.write_text(file.read_text() + "# an editor was quicker\n")
    assert python(checkout, tmp_path, "-c", HANDED_ON.format(known)) == code
    assert python(checkout, tmp_path, "-c", HANDED_ON.format("")) == code


def test_child_processes_take_it_too(tmp_path: Path, checkout: Path) -> None:
    source = source_code.source_id()
    code = (
        "import subprocess, sys; from suite.records import source_code as source; "
        f"source.know_code_id('{source} handed on'); "
        f"print(subprocess.run([sys.executable, '-c', {SAYS!r}], capture_output=True, text=True).stdout)"
    )
    assert python(checkout, tmp_path, "-c", code).endswith("handed on")


def test_a_frozen_copy_says_its_own(tmp_path: Path, checkout: Path) -> None:
    archive = frozen(checkout, tmp_path / "code")
    code = source_code.code_id()
    assert python(archive, tmp_path, "-c", HANDED_ON.format(f"{code} another")) == code
