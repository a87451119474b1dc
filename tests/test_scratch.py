"""Folders that live as long as the process that made them."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from suite import scratch

ROOT = Path(__file__).parents[1]
PREFIX = "suite-tested-"
MAKE = f"""
import sys
from suite import scratch
print("ready", flush=True)
for line in sys.stdin:
    print(scratch.make({PREFIX!r}), flush=True)
"""
Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is the system's folder for temporary files to this test and its processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that make a folder whenever they are told to."""
    with ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            command, environment = [sys.executable, "-c", MAKE], {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert answer(process) == "ready"
            return process

        yield start


def tell(process: subprocess.Popen[str], times: int = 1) -> None:
    assert process.stdin
    process.stdin.write("make\n" * times)
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


def make_in(process: subprocess.Popen[str]) -> Path:
    tell(process)
    return Path(answer(process))


def test_a_folder_is_ours_alone_and_goes(temporary: Path) -> None:
    before = os.umask(0)
    try:
        folder = scratch.make(PREFIX)
    finally:
        os.umask(before)
    assert folder.parent == temporary and folder.name.startswith(PREFIX)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "file").touch()
    descriptors = len(os.listdir("/proc/self/fd"))
    scratch.remove(folder)
    assert list(temporary.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1
    scratch.remove(folder)  # twice is nothing


def test_our_own_folders_live_side_by_side() -> None:
    folders = [scratch.make(PREFIX) for _ in range(3)]
    assert all(folder.is_dir() for folder in folders)
    for folder in folders:
        scratch.remove(folder)


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_what_the_dead_left_goes_and_what_the_living_have_stays(start: Start, end: str) -> None:
    dead, living = start(), start()
    left, held = make_in(dead), make_in(living)
    (left / "ray").mkdir()
    (left / "ray" / "token").touch()
    assert left.is_dir() and held.is_dir()
    if end == "kill":
        dead.send_signal(signal.SIGKILL)
    else:
        assert dead.stdin
        dead.stdin.close()
    dead.wait()
    assert left.is_dir()
    ours = scratch.make(PREFIX)
    assert not left.exists() and held.is_dir() and ours.is_dir()
    scratch.remove(scratch.make("other-"))
    assert held.is_dir()
    living.kill()
    living.wait()
    scratch.remove(ours)
    scratch.remove(scratch.make(PREFIX))
    assert not held.exists()


def test_what_is_not_ours_is_left_alone(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / f"{PREFIX}file").write_text("mine")
    (temporary / f"{PREFIX}no-lock").mkdir()
    (temporary / f"{PREFIX}lock-is-a-folder" / ".lock").mkdir(parents=True)
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".lock").touch()
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{PREFIX}dangling").symlink_to(temporary / "nowhere")
    (temporary / f"not-{PREFIX}x").mkdir()
    (temporary / f"not-{PREFIX}x" / ".lock").touch()
    before = {path.name for path in temporary.iterdir()}
    folder = scratch.make(PREFIX)
    scratch.remove(folder)
    assert {path.name for path in temporary.iterdir()} == before
    assert (elsewhere / ".lock").exists()


def test_what_another_user_has_is_left_alone(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = temporary / f"{PREFIX}theirs"
    theirs.mkdir()
    (theirs / ".lock").touch()
    real = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: real + 1)
        scratch.remove(scratch.make(PREFIX))
    assert theirs.is_dir()
    scratch.remove(scratch.make(PREFIX))
    assert not theirs.exists()  # it was the owner that kept it


def test_a_folder_that_is_being_made_is_left_alone(temporary: Path) -> None:
    """Between its making and its lock."""
    fresh = temporary / f"{PREFIX}fresh"
    fresh.mkdir()
    with (fresh / ".lock.new").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scratch.remove(scratch.make(PREFIX))
        assert fresh.is_dir()
        (fresh / ".lock.new").rename(fresh / ".lock")
        scratch.remove(scratch.make(PREFIX))
        assert fresh.is_dir()
    scratch.remove(scratch.make(PREFIX))
    assert not fresh.exists()


def test_processes_that_make_theirs_at_once(start: Start, temporary: Path) -> None:
    times = 40
    processes = [start() for _ in range(3)]
    for process in processes:
        tell(process, times)
    folders = [Path(answer(process)) for process in processes for _ in range(times)]
    assert len(set(folders)) == 3 * times
    assert all((folder / ".lock").is_file() for folder in folders)
    for process in processes[1:]:
        process.kill()
        process.wait()
    tell(processes[0])
    assert Path(answer(processes[0])).is_dir()
    assert [folder.is_dir() for folder in folders] == [True] * times + [False] * 2 * times
