"""Faults around whole sweeps: Ray or the driver dies, disks fill, files and clocks change, other users come.

tests/launch/test_kills.py does so to single trials. ``make test-long`` gives ``test_a_sweep_under_fire`` more faults:
``--hits`` says how many.
"""

import contextlib
import csv
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support import trial_processes
from support.disks import fill
from support.fake_results import write_result
from support.other_users import as_user, can_be
from support.stores import write_empty_store
from support.sweep_faults import (
    SweepFaultInjector,
    check_store,
    command,
    newest,
    num_runs,
    processes_with_tmpdir,
    short_folder,
    snapshot_results,
)
from support.sweep_processes import ROOT, result_mtimes, run_sweep, start_sweep, write_sweep

from suite.config.sweep_file import load_sweep
from suite.launch import inline
from suite.records import read_result
from suite.records.ledger import Ledger
from suite.status import StatusMonitor
from suite.tracking.store import DATABASE

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy

DAY = 86400.0
NOBODY = 65534


def ready(file: Path) -> None:
    """Run all trials of a sweep, without Ray."""
    ledger = Ledger(file.parent / "results")
    for trial_id, trial in load_sweep(file).trials.items():
        inline.run(trial, ledger.folder(trial_id), data_dir=None)


def kill_when(process: "subprocess.Popen[str]", moment: Callable[[], object]) -> str:
    """Wait for a moment, and kill the driver; what it had said until then."""
    try:
        trial_processes.wait_for(lambda: moment() or process.poll() is not None, 60, every=0.002)
        assert process.poll() is None, process.communicate()[0]
    finally:
        process.kill()
    return process.communicate(timeout=30)[0]


@pytest.mark.slow
def test_a_sweep_whose_ray_dies_ends_at_once_and_the_next_call_goes_on(tmp_path: Path) -> None:
    file = write_sweep(tmp_path / "tiny.yaml", epochs=40, seeds=(1,))
    write_empty_store(tmp_path / "results" / DATABASE)
    process = start_sweep(file, cwd=tmp_path)
    try:
        trial_processes.wait_for(lambda: list(tmp_path.glob("results/trials/*/attempt-*/metrics.jsonl")))
        family = trial_processes.descendants(process.pid)
        trial_processes.signal_processes([pid for pid in family if "gcs/gcs_server" in command(pid)], signal.SIGKILL)
        output, _ = process.communicate(timeout=20)  # Ray alone takes a minute
        trial_processes.wait_for(lambda: not any(map(trial_processes.alive, family)), 20)
    finally:
        process.kill()
    assert process.returncode == 1, output
    assert (
        "the same command resumes the others from their last checkpoints" in output
        and "Traceback" not in output
        and "[2" not in output
    )
    first = snapshot_results(tmp_path)
    code, output = run_sweep(file, cwd=tmp_path)
    assert code == 0, output
    assert first.items() <= snapshot_results(tmp_path).items() and len(snapshot_results(tmp_path)) == 3
    check_store(tmp_path, set(load_sweep(file).trials))


def half_made(store: Path) -> bool:
    """MLflow has begun to make its tables: there are some 50 of them in the end."""
    asked = "select count(*) from sqlite_master where type = 'table'"
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db,
    ):
        return int(db.execute(asked).fetchone()[0]) > 8
    return False


@pytest.mark.slow
def test_a_driver_killed_while_it_makes_tables_or_publishes(tmp_path: Path) -> None:
    """MLflow makes the tables of its store one by one: one that was killed at it must not leave half a store."""
    file = write_sweep(tmp_path / "tiny.yaml", epochs=1)
    ready(file)
    before, folder = snapshot_results(tmp_path), tmp_path / "results"
    kill_when(start_sweep(file, cwd=tmp_path), lambda: newest(folder / "reports"))
    kill_when(start_sweep(file, cwd=tmp_path), lambda: any(map(half_made, folder.glob("*mlflow.db*"))))
    kill_when(start_sweep(file, cwd=tmp_path), lambda: num_runs(tmp_path) > 1)
    code, output = run_sweep(file, cwd=tmp_path)
    assert code == 0 and "MLflow: " in output, output
    assert snapshot_results(tmp_path) == before
    check_store(tmp_path, set(load_sweep(file).trials))
    for name in ("table.md", "table.csv", "table.tex", "figure.png", "figure.svg"):
        assert (folder / "reports/tiny" / name).stat().st_size > 100


def jumping(folder: Path) -> Path:
    """PYTHONPATH for a Python whose clock jumps by a day, forth and back, every half second."""
    folder.mkdir()
    jump = "import time\nreal = time.time\n"
    jump += f"time.time = lambda: real() + (int(2 * time.monotonic()) % 3 - 1) * {DAY}\n"
    (folder / "sitecustomize.py").write_text(jump)
    return Path(f"{folder}:{ROOT}")


@pytest.mark.slow
def test_a_disk_that_gets_full_then_an_edited_file_and_a_jumping_clock(
    tmp_path: Path, disk: Callable[[int], Path]
) -> None:
    there = disk(64 * 1024)
    file = write_sweep(there / "tiny.yaml", epochs=40)
    write_empty_store(there / "results" / DATABASE)
    process = start_sweep(file, cwd=there)
    try:
        trial_processes.wait_for(lambda: result_mtimes(there))
        filler = fill(there)
        output, _ = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 1 and "Traceback" not in output, output
    assert "nothing that was done is lost; mend it and repeat" in output
    first, old = snapshot_results(there), load_sweep(file).trials
    assert 0 < len(first) < 6
    filler.unlink()

    write_sweep(file, epochs=40, seeds=(1, 3))
    settings = yaml.safe_load(file.read_text())
    settings["grid"]["method"][1]["lr"] = 0.2
    file.write_text(yaml.safe_dump(settings))
    process = start_sweep(file, cwd=there, root=jumping(tmp_path / "clock"))
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, output
    now, planned = snapshot_results(there), load_sweep(file).trials
    assert first.items() <= now.items() and now.keys() == first.keys() | planned.keys()
    with (there / "results/reports/tiny/table.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 3 and {row["n"] for row in rows} == {"2"}  # no old seed, no old lr
    for trial_id in sorted(planned.keys() - old.keys())[:2]:
        inline.run(planned[trial_id], tmp_path / trial_id, data_dir=None)
        ran = there / "results/trials" / trial_id
        assert trial_processes.records_of(ran) == trial_processes.records_of(tmp_path / trial_id)
        result = read_result(ran)
        assert result is not None and 0 <= result.seconds < 600


@pytest.mark.slow
def test_results_on_a_disk_that_is_read_only(disk: Callable[[int], Path]) -> None:
    there = disk(16 * 1024)
    _, *others = load_sweep(write_sweep(there / "tiny.yaml", epochs=1, seeds=(1,))).trials.values()
    for trial in others:
        write_result(Ledger(there / "results"), trial)
    before = snapshot_results(there)
    subprocess.run(["mount", "-o", "remount,ro", str(there)], check=True)
    code, output = run_sweep(there / "tiny.yaml", cwd=there)
    assert code == 2, output
    assert output.startswith(f"results: results cannot be written there: {there / 'results'} is read-only for you")
    assert "Traceback" not in output and len(output.splitlines()) == 1
    assert snapshot_results(there) == before


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_clock_that_jumps_while_a_trial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    sweep = load_sweep(write_sweep(tmp_path / "tiny.yaml", epochs=4, seeds=(1,)), only=["method=iterand"])
    ledger, real, shift, left = Ledger(tmp_path / "results"), time.time, [0.0], []
    ((trial_id, trial),) = sweep.trials.items()
    inline.run(trial, tmp_path / "quiet", data_dir=None)

    def on_epoch(line: dict[str, float | int]) -> None:
        (row,) = StatusMonitor(sweep, ledger).poll()
        left.append((row.state, row.seconds_left))
        shift[0] = jump - shift[0]  # forth and back

    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    result = inline.run(trial, ledger.folder(trial_id), data_dir=None, on_epoch=on_epoch)
    monkeypatch.undo()
    assert len(left) == 4
    assert all(state == "running" and (seconds is None or seconds >= 0) for state, seconds in left)
    assert 0 <= result.seconds < 60
    assert trial_processes.records_of(ledger.folder(trial_id)) == trial_processes.records_of(tmp_path / "quiet")
    assert not trial_processes.unexpected_files(ledger.folder(trial_id))


@pytest.mark.slow
def test_two_users_on_one_machine() -> None:
    if not can_be(NOBODY):
        pytest.skip("not root, or nobody cannot be shown this Python")
    shared = short_folder("u")  # as /tmp is: both make their folders in it
    shared.chmod(0o1777)
    sweep = [sys.executable, "-m", "suite.sweep"]
    calls = {"root": sweep, "nobody": as_user(NOBODY, *sweep)}
    processes: dict[str, subprocess.Popen[str]] = {}
    try:
        for user, call in calls.items():
            home = shared / user
            home.mkdir()
            file = write_sweep(home / "tiny.yaml", epochs=10, seeds=(1,))
            store = write_empty_store(home / "results" / DATABASE)
            for path in (home, store.parent, store):
                os.chown(path, *([NOBODY, NOBODY] if user == "nobody" else [0, 0]))
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home), "TMPDIR": str(shared)}
            processes[user] = subprocess.Popen(
                [*call, str(file)],
                cwd=home,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        trial_processes.wait_for(lambda: len(list(shared.glob("suite-ray-*"))) == 2)
        folders = {path: path.stat() for kind in ("ray", "token") for path in shared.glob(f"suite-{kind}-*")}
        assert sorted(status.st_uid for status in folders.values()) == [0, 0, NOBODY, NOBODY]
        assert {status.st_mode & 0o777 for status in folders.values()} == {0o700}
        for path in (path for path, status in folders.items() if status.st_uid == 0):
            assert subprocess.run(as_user(NOBODY, "ls", str(path)), capture_output=True, check=False).returncode
        for process in processes.values():
            output, _ = process.communicate(timeout=200)
            assert process.returncode == 0, output
        assert len(result_mtimes(shared / "root")) == len(result_mtimes(shared / "nobody")) == 3
        assert not list(shared.glob("suite-*"))
    finally:
        trial_processes.signal_processes(
            [*(process.pid for process in processes.values()), *processes_with_tmpdir(shared)], signal.SIGKILL
        )
        shutil.rmtree(shared, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_sweep_under_fire(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    hits = request.config.getoption("--hits")
    if hits == 1:
        pytest.skip("with --hits above 1")
    chance, dealt, rounds, compared = random.Random(7), 0, 0, 0
    slowest: dict[str, list[float]] = {}
    rest = 0.0
    begun = time.monotonic()
    while dealt < hits:
        rounds += 1
        fire = SweepFaultInjector(tmp_path / str(rounds), chance, seeds=18, epochs=40)
        try:
            while dealt < hits and not fire.done:
                dealt += fire.run_with_faults(dealt + 1, hits - dealt)
            fire.run_undisturbed()
            compared += fire.check_records(tmp_path / "quiet")
        finally:
            fire.clear()
        rest = max(rest, fire.slowest_rest)
        for kind, seconds in fire.slowest.items():
            slowest.setdefault(kind, []).append(seconds)
    for kind, longest in sorted(slowest.items()):
        print(f"{kind}: at most {max(longest):.1f} s to the end of the call")
    print(f"the last process of a call ended at most {rest:.1f} s after it")
    print(
        f"{dealt} faults over {rounds} sweeps in {time.monotonic() - begun:.0f} s: no result lost or changed, "
        f"one run each in MLflow, {compared} trials equal to quiet ones"
    )
