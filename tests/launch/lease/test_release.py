"""What an attempt leaves when it ends, what it publishes, and what it does on a full disk."""

import contextlib
import errno
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.disks import fill, list_names
from support.lease_processes import owner_in
from support.trial_processes import wait_for

from suite.launch import lease
from suite.launch.lease import Lease, Owner, TakenOver, remove_attempts


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt, TakenOver])
def test_what_stays_when_an_attempt_ends(folder: Path, final: bool, error: type[BaseException] | None) -> None:
    with contextlib.suppress(*[error] if error else []), Lease.acquire(folder, timeout=0) as held:
        for name in ("result.json", "metrics.jsonl", "checkpoint-0000000001.pt", "log.txt"):
            (held.folder / name).write_text(name)
        (folder / "log.txt").touch()
        (folder / ".attempt-left-by-a-killed-one").mkdir()
        if final:
            held.publish("metrics.jsonl", "result.json")
        if error:
            raise error
    if final:
        assert list_names(folder) == ["log.txt", "metrics.jsonl", "result.json"]
        return
    assert list_names(folder) == [".attempt-left-by-a-killed-one", "attempt-1", "log.txt"]
    assert {"result.json", "metrics.jsonl", "checkpoint-0000000001.pt", "log.txt"} < set(list_names(held.folder))
    assert owner_in(held.folder) == Owner.here(1).model_copy(update={"released": True})
    assert owner_in(held.folder).state() == "gone"


def test_remove_attempts(tmp_path: Path) -> None:
    for name in ("attempt-1", "attempt-12", ".attempt-0123456789abcdef", "other"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").touch()
    (tmp_path / "attempt-notes.txt").touch()  # a file is nobody's attempt
    remove_attempts(tmp_path)
    assert list_names(tmp_path) == ["attempt-notes.txt", "other"]
    assert (tmp_path / "other" / "deep" / "file").exists()
    remove_attempts(tmp_path)
    remove_attempts(tmp_path / "missing")


def test_publish_moves_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, replace = [], Path.replace

    def watch(source: Path, target: Path) -> Path:
        moved.append((source, target))
        return replace(source, target)

    with Lease.acquire(folder, timeout=0) as held:
        for name in ("b", "a", "c"):
            (held.folder / name).write_text(f"new {name}")
        (folder / "a").write_text("old a")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", watch)
            held.publish("b", "a")
        assert moved == [(held.folder / name, folder / name) for name in ("b", "a")]
        assert list_names(folder) == ["a", "attempt-1", "b"]
        assert [(folder / name).read_text() for name in ("a", "b")] == ["new a", "new b"]
        assert {"a", "b", "c"} & set(list_names(held.folder)) == {"c"}


def test_publish_of_what_is_not_there(folder: Path) -> None:
    """Nobody took it over: it is a mistake, and says so."""
    with Lease.acquire(folder, timeout=0) as held:
        (held.folder / "a").write_text("a")
        (held.folder / "c").write_text("c")
        with pytest.raises(FileNotFoundError):
            held.publish("a", "b", "c")
        assert list_names(folder) == ["a", "attempt-1"]  # what comes after it is not final before it


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
        (first.folder / "kept").write_text("this")
    filler = fill(small)
    with pytest.raises(OSError, match="No space left"):
        Lease.acquire(folder, timeout=0)
    filler.unlink()
    with Lease.acquire(folder, timeout=0) as held:
        assert (held.folder / "kept").read_text() == "this"
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
