"""A checkpoint is written whole or not at all: on a broken disk, on a full one, by a process that is killed."""

import errno
import functools
import os
import re
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support.checkpoint_states import IDENTITY, save, state_of, step_read
from support.disks import fill, list_names
from support.forked import fork_server

from suite.train import checkpoint


def test_the_bytes_are_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        seen.append((stat.S_ISDIR(found.st_mode), found.st_size, (tmp_path / "checkpoint-0000000001.pt").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    size = save(tmp_path, 1).stat().st_size
    assert [seen[0], seen[1][::2]] == [(False, size, False), (True, True)]  # then the name too
    assert len(seen) == 2


def fail(code: int, *args: object) -> None:
    raise OSError(code, os.strerror(code))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    before = {save(tmp_path, step): None for step in (1, 2)}
    before = {path: path.read_bytes() for path in before}
    with monkeypatch.context() as patch:
        broken = functools.partial(fail, errno.EIO)
        patch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[call], broken)
        with pytest.raises(OSError, match="Input/output error"):
            checkpoint.save(tmp_path, state_of(3), step=3, identity=IDENTITY)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    save(tmp_path, 3)
    assert step_read(tmp_path) == 3


@pytest.mark.parametrize("room", [0, 4, 8, 20, 24, 48, 64, 84, 96])
def test_a_full_disk(disk: Callable[[int], Path], room: int) -> None:
    """A checkpoint of 100 KiB, of which ``room`` fit: torch is at another place of its file each time."""
    folder = disk(1000) / "x"
    folder.mkdir()
    size = 3560  # * 28 bytes
    before = {save(folder, step, size=size): None for step in (1, 2)}
    before = {path: path.read_bytes() for path in before}
    assert all(97 * 1024 < len(content) <= 104 * 1024 for content in before.values())
    filler = fill(folder.parent, leave=room)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left on device") as caught:
            checkpoint.save(folder, state_of(3, size), step=3, identity=IDENTITY)
        assert caught.value.errno == errno.ENOSPC
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert step_read(folder) == 2
    filler.unlink()
    save(folder, 3, size=size)
    assert list_names(folder) == ["checkpoint-0000000002.pt", "checkpoint-0000000003.pt"]
    assert step_read(folder) == 3


def test_a_full_disk_and_a_checkpoint_that_torch_writes_at_once(disk: Callable[[int], Path]) -> None:
    folder = disk(64) / "x"
    folder.mkdir()
    save(folder, 1, size=10)
    filler = fill(folder.parent)
    with pytest.raises(OSError, match="No space left on device"):
        checkpoint.save(folder, state_of(2, 10), step=2, identity=IDENTITY)
    assert list_names(folder) == ["checkpoint-0000000001.pt"]
    filler.unlink()
    assert step_read(folder) == 1


def test_a_process_that_is_killed_while_it_saves(tmp_path: Path) -> None:
    """At one chosen moment, and at many that nobody chose."""
    moments = {tmp_path / "first": "before the name", **{tmp_path / str(i): 0.01 + i / 200 for i in range(12)}}
    for folder in moments:
        folder.mkdir()
    for folder, when in moments.items():
        arguments = ["support.killed_saver", str(folder), str(when)]
        with open(os.devnull, "rb") as null, folder.with_suffix(".told").open("wb") as told:
            process = fork_server().start(arguments, dict(os.environ), tmp_path, [null, told, 2])
        assert process.wait(60) in (-signal.SIGKILL, -signal.SIGALRM)
    left = list_names(tmp_path / "first")
    assert re.fullmatch(r"\.checkpoint-0000000004\.pt\.[0-9a-f]{16}", left[0])
    assert left[1:] == ["checkpoint-0000000002.pt", "checkpoint-0000000003.pt"]
    for folder in moments:
        told = folder.with_suffix(".told").read_text().split()
        last = int(told[-1]) if told else 0
        assert step_read(folder) in ((last, last + 1) if last else (None, 1))
        assert all(name.startswith("checkpoint-") and name.endswith(".pt") for name in list_names(folder))
    assert list_names(tmp_path / "first") == left[1:]
