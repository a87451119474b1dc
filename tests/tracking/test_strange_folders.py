"""Results folders with names that addresses, shells and file systems read in their own way."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.fake_results import write_result
from support.stores import write_empty_store
from support.sweep_processes import ROOT, write_sweep

from suite import records
from suite.config.sweep_file import load_sweep
from suite.records import kept_plans
from suite.records.ledger import Ledger
from suite.tracking import store

NAMES = [
    "a?b",
    "per%cent",
    "a%3Fb",
    "ha#sh",
    "a b&c;d",
    "ü'\"",
    "at@host:80",
    "a?mode=memory",
    "(x)[1]$HOME",
    "new\nline",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_address_of_a_store_leads_to_its_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / name / store.DATABASE
    assert store.file_of(store.sqlite_uri(file)) == file
    assert store.file_of(store.store_uri(file.parent)) == file


def test_the_command_that_opens_it_can_be_pasted() -> None:
    command = store.how_to_open(Path("a b/it's $HOME"), None, "7").partition(", then ")[0]
    assert shlex.split(command)[-2:] == ["--results", "a b/it's $HOME"]


def published(results: bytes, cwd: Path) -> "subprocess.CompletedProcess[bytes]":
    """The command, as a process, in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "suite.tracking", "publish", results],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )


def filled(folder: Path) -> Path:
    sweep = load_sweep(write_sweep(folder.parent / "tiny.yaml", epochs=1, seeds=(1,)))
    kept_plans.keep(sweep, folder)
    for trial in sweep.trials.values():
        write_result(Ledger(folder), trial)
    report = folder / "reports" / "tiny" / "table.md"
    report.parent.mkdir(parents=True)
    report.write_text("| a |")
    return folder


def test_all_is_published_and_lies_in_the_folder(tmp_path: Path) -> None:
    folder = filled(tmp_path / "a?mode=memory#per%cent%3F &x")
    done = published(os.fsencode(folder), tmp_path)
    assert done.returncode == 0 and done.stdout.startswith(b"tiny: 3 new runs; "), done.stderr
    assert sorted(os.listdir(tmp_path)) == [folder.name, "tiny.yaml"]
    assert (folder / store.DATABASE).stat().st_size > 100_000
    assert [path.name for path in (folder / "mlartifacts").rglob("*") if path.is_file()] == ["table.md"]


def test_a_name_that_is_not_utf_8_is_told_and_loses_nothing(tmp_path: Path) -> None:
    folder = filled(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")))
    done = published(os.fsencode(folder), tmp_path)
    assert done.returncode == 2 and b"\\xff" in done.stderr and b"is not UTF-8: rename the folder" in done.stderr
    assert b"Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
    assert sorted(os.listdir(os.fsencode(tmp_path))) == [b"tiny.yaml", b"\xff"]
    status = [sys.executable, "-m", "suite.status", "tiny.yaml", "--results", os.fsencode(folder)]
    told = subprocess.run(
        status, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert told.returncode == 0 and b"3 done" in told.stdout and b"Traceback" not in told.stderr


def test_symlinks_that_lead_to_themselves_are_no_reports(tmp_path: Path) -> None:
    folder = filled(tmp_path / "results")
    write_empty_store(folder / store.DATABASE)
    (folder / "reports/tiny/loop").symlink_to("loop")
    (folder / "trials/loop").symlink_to("loop")
    (folder / "sweeps/loop.yaml").symlink_to("loop.yaml")
    done = published(os.fsencode(folder), tmp_path)
    assert done.returncode == 1 and done.stdout.startswith(b"tiny: 3 new runs; "), done.stderr
    assert b"Too many levels of symbolic links" in done.stderr and b"Traceback" not in done.stderr
    assert records.listed(folder / "trials")
