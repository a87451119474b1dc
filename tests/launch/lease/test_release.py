"""What an attempt leaves when it ends, what it publishes, and what it does on a full disk."""

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.disks import fill, list_names
from support.lease_processes import owner_in
from support.trial_processes import wait_for

from suite.launch import attempts, lease
from suite.launch.attempts import remove_attempts
from suite.launch.lease import Lease, TakenOver


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt, TakenOver])
def test_what_stays_when_an_attempt_ends(folder: Path, final: bool, error: type[BaseException] | None) -> None:
    with contextlib.suppress(*[error] if error else []), Lease.acquire(folder, timeout=0) as held:
        for name in ("result.json", "metrics.jsonl", "checkpoint-0000000001.pt", "log.txt"):
            (held.folder / name).write_text(name)
        (folder / "log.txt").touch()
        (folder / ".attempt-left-by-a-killed-one").mkdir()
        if final:
            held.publish()
        if error:
            raise error
    if final:
        assert list_names(folder) == ["log.txt", "metrics.jsonl", "result.json"]
        return
    assert list_names(folder) == [".attempt-left-by-a-killed-one", "attempt-1", "log.txt"]
    assert {"result.json", "metrics.jsonl", "checkpoint-0000000001.pt", "log.txt"} < set(list_names(held.folder))
    assert (owner_in(held.folder).pid, owner_in(held.folder).released) == (os.getpid(), True)
    assert owner_in(held.folder).state() == "gone"


def test_remove_attempts(tmp_path: Path) -> None:
    for name in ("attempt-1", "attempt-12", ".attempt-0123456789abcdef", "other"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").touch()
    (tmp_path / "attempt-notes.txt").touch()  # a file is nobody's attempt
    before = list_names(tmp_path)
    remove_attempts(tmp_path)
    assert list_names(tmp_path) == before  # the trial is not final
    (tmp_path / "result.json").touch()
    remove_attempts(tmp_path)
    assert list_names(tmp_path) == ["attempt-notes.txt", "other", "result.json"]
    assert (tmp_path / "other" / "deep" / "file").exists()
    remove_attempts(tmp_path)
    remove_attempts(tmp_path / "missing")


def test_publish_moves_the_result_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, move = [], attempts.move

    def watch(source: Path, target: Path) -> None:
        move(source, target)
        moved.append((source.relative_to(folder).as_posix(), target.relative_to(folder).as_posix()))

    with Lease.acquire(folder, timeout=0) as held:
        for name in ("result.json", "network.ticket", "metrics.jsonl", "checkpoint-1.pt"):
            (held.folder / name).write_text(f"new {name}")
        (folder / "metrics.jsonl").write_text("old")
        monkeypatch.setattr(attempts, "move", watch)
        held.publish()
        names = ["metrics.jsonl", "network.ticket", "result.json"]
        assert moved == [(f"published/{name}", name) for name in names]
        assert list_names(folder) == names
        assert [(folder / name).read_text() for name in names] == [f"new {name}" for name in names]


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_what_a_killed_publisher_left_is_completed(folder: Path, moved: int) -> None:
    """By whoever comes next: the trial is final, and is not run again."""
    names = ["metrics.jsonl", "network.ticket", "result.json"]
    held = Lease.acquire(folder, timeout=0)
    for name in (*names, "checkpoint-1.pt"):
        (held.folder / name).write_text(f"new {name}")
    held.folder.rename(folder / "published")
    for name in names[:moved]:
        (folder / "published" / name).rename(folder / name)
    with Lease.acquire(folder, timeout=0):
        assert [(folder / name).read_text() for name in names] == [f"new {name}" for name in names]
    assert list_names(folder) == names
    held.__exit__()
    assert list_names(folder) == names


def test_a_trial_that_is_final_is_not_published_again(folder: Path) -> None:
    """An attempt began there since names were stale."""
    held = Lease.acquire(folder, timeout=0)
    (held.folder / "result.json").write_text("new")
    (folder / "result.json").write_text("old")
    with pytest.raises(TakenOver):
        held.publish()
    held.__exit__()
    assert list_names(folder) == ["result.json"]
    assert (folder / "result.json").read_text() == "old"


def test_a_result_that_was_moved_away_is_not_taken_for_a_publication(folder: Path) -> None:
    """Its publisher was killed before it could remove the rest."""
    (folder / "published").mkdir(parents=True)
    (folder / "published" / "checkpoint-1.pt").write_text("old")
    (folder / "published" / "owner.json").write_text("old")
    with Lease.acquire(folder, timeout=0) as held:
        assert "checkpoint-1.pt" not in list_names(held.folder)
        (held.folder / "result.json").write_text("new")
        held.publish()
    assert list_names(folder) == ["result.json"]
    assert (folder / "result.json").read_text() == "new"


def test_a_new_trial_on_a_full_disk(disk: Callable[[int], Path]) -> None:
    small = disk(64)
    filler = fill(small)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left") as caught:
            Lease.acquire(small / "x", timeout=0)
        assert caught.value.errno == errno.ENOSPC
        assert list_names(small / "x") == []
    filler.unlink()
    with Lease.acquire(small / "x", timeout=0) as held:
        assert held.number == 1


def test_going_on_with_a_trial_on_a_full_disk(disk: Callable[[int], Path]) -> None:
    small = disk(64)
    folder = small / "x"
    with Lease.acquire(folder, timeout=0) as first:
        (first.folder / "checkpoint-1.pt").write_text("this")
    filler = fill(small)
    with pytest.raises(OSError, match="No space left"):
        Lease.acquire(folder, timeout=0)
    filler.unlink()
    with Lease.acquire(folder, timeout=0) as held:
        assert (held.folder / "checkpoint-1.pt").read_text() == "this"
        assert list_names(folder) == [f"attempt-{held.number}"]


def test_a_full_disk_does_not_end_an_attempt(disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    small = disk(64)
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.01)
    with Lease.acquire(small / "x", timeout=0) as held:
        heartbeat = held.folder / "heartbeat"
        wait_for(heartbeat.exists)
        heartbeat.unlink()
        wait_for(lambda: fill(small).exists() and heartbeat.exists() and not heartbeat.stat().st_size)
        time.sleep(0.1)  # ten beats
        held.check_now()
        fill(small).unlink()
        wait_for(lambda: heartbeat.read_text() != "")
        before = heartbeat.read_text()
        wait_for(lambda: heartbeat.read_text() not in ("", before))
        held.check_now()
        fill(small)
    assert list_names(held.folder) == ["heartbeat", "owner.json"]  # it leaves without a word: then its death must do
    fill(small).unlink()
