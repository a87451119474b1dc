"""Publications and take-overs with something odd in the midst: a hung process, an error, a folder moved away."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.disks import list_names
from support.lease_processes import owner_in

from suite.launch import attempts
from suite.launch.lease import Lease, TakenOver
from suite.records import newest_checkpoint, read_metrics

IO_ERROR = OSError(errno.EIO, os.strerror(errno.EIO))


def hold(folder: Path, **files: str) -> Lease:
    held = Lease.acquire(folder, timeout=0, take_over=True)
    for name, text in files.items():
        (held.folder / name.replace("__", ".")).write_text(text)
    return held


def test_one_that_hung_while_it_inherited_removes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another has taken over meanwhile: what is still to be inherited is that one's."""
    with hold(folder, **{"checkpoint-1__pt": "this"}):
        pass
    look, others = attempts.saved_in, list[Lease]()

    def hang(trial_folder: Path) -> list[Path]:
        monkeypatch.setattr(attempts, "saved_in", look)
        (folder / "attempt-2").rename(folder / ".over-2-00")  # as a third one does before it inherits
        return look(trial_folder)

    monkeypatch.setattr(attempts, "saved_in", hang)
    others.append(Lease.acquire(folder, timeout=0))
    with pytest.raises(TakenOver):
        others[0].check_now()
    with hold(folder) as last:
        assert (last.folder / "checkpoint-1.pt").read_text() == "this"
    others[0].__exit__()


def test_what_lies_between_two_attempts_is_seen(folder: Path) -> None:
    """The taker died before it moved them."""
    with hold(folder, **{"checkpoint-1__pt": "this", "metrics__jsonl": '{"epoch": 0}\n'}) as held:
        pass
    held.folder.rename(folder / ".over-1-00")
    (folder / "attempt-2").mkdir()
    assert newest_checkpoint(folder) == "checkpoint-1.pt"
    assert read_metrics(folder) == [{"epoch": 0}]
    with Lease.acquire(folder, timeout=0) as last:
        assert (last.folder / "checkpoint-1.pt").read_text() == "this"
        assert list_names(folder) == [last.folder.name]


def test_an_attempt_of_the_same_number_is_not_ours(folder: Path) -> None:
    """The trial's folder was moved away while its owner hung, and the trial was begun again."""
    first = hold(folder, result__json="old")
    folder.rename(folder.with_name("moved"))
    second = hold(folder, metrics__jsonl="new")
    with pytest.raises(TakenOver):
        first.publish()
    first.__exit__()
    assert not owner_in(second.folder).released
    second.check_now()
    assert list_names(folder) == ["attempt-1"]
    second.__exit__()


@pytest.mark.parametrize("again", ["publish", "acquire"])
def test_a_publication_that_was_taken_for_a_leftover_is_found(folder: Path, again: str) -> None:
    """One who cleaned up renamed it this moment, and died."""
    with hold(folder, result__json="{}", metrics__jsonl="this") as held:
        held.folder.rename(folder / ".over-0-00")
        if again == "publish":
            attempts.complete(folder)
        else:
            hold(folder).__exit__()
    assert list_names(folder) == ["metrics.jsonl", "result.json"]
    assert (folder / "metrics.jsonl").read_text() == "this"


def test_a_final_record_is_not_replaced_by_what_is_completed_late(folder: Path) -> None:
    (folder / "published").mkdir(parents=True)
    for name in ("result.json", "metrics.jsonl"):
        (folder / name).write_text("first")
        (folder / "published" / name).write_text("second")
    attempts.remove_attempts(folder)
    assert list_names(folder) == ["metrics.jsonl", "result.json"]
    assert {(folder / name).read_text() for name in list_names(folder)} == {"first"}


@pytest.mark.parametrize("times", [1, 2, 9])
def test_an_error_after_the_rename_is_not_a_take_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The record is published: it is tried again, and the next caller completes it."""
    errors, move = [IO_ERROR] * times, attempts.move

    def fail(source: Path, target: Path) -> None:
        if errors:
            raise errors.pop()
        move(source, target)

    held = hold(folder, result__json="{}", metrics__jsonl="this")
    monkeypatch.setattr(attempts, "move", fail)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    if times < 9:
        held.publish()
    else:
        with pytest.raises(OSError, match="Input/output error") as caught:
            held.publish()
        held.check_error(caught.value)
        held.check_now()
    monkeypatch.undo()
    held.__exit__()
    hold(folder).__exit__()
    assert list_names(folder) == ["metrics.jsonl", "result.json"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ETIMEDOUT, errno.EPERM])
def test_a_rename_that_was_done_and_answered_with_an_error_is_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        done = rename(path, target)
        if target.name in ("attempt-1", "published"):
            raise OSError(error, os.strerror(error))
        return done

    monkeypatch.setattr(Path, "rename", fail)
    with hold(folder, result__json="{}") as held:
        assert held.number == 1
        held.publish()
    assert list_names(folder) == ["result.json"]


def test_one_that_fails_to_begin_is_not_alive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(folder).__exit__()

    def fail(attempt: Path) -> None:
        raise IO_ERROR

    with monkeypatch.context() as patch:
        patch.setattr(attempts, "inherit", fail)
        with pytest.raises(OSError, match="Input/output error"):
            Lease.acquire(folder, timeout=0)
    assert owner_in(folder / "attempt-2").state() == "gone"
    with Lease.acquire(folder, timeout=0) as held:
        assert held.number == 3


def test_a_final_trial_that_cannot_be_cleaned_up_is_final(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = hold(folder, result__json="{}")

    def fail(*args: Any) -> Path:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    held.publish()
    (folder / "attempt-7").mkdir()
    monkeypatch.setattr(attempts, "_rename_away", fail)
    held.__exit__()
    assert list_names(folder) == ["attempt-7", "result.json"]


@pytest.mark.parametrize(("stored", "stays"), [([], False), ([{"form": "ticket"}], True)])
def test_the_network_of_a_result_that_was_moved_away_is_not_that_of_the_next(
    folder: Path, stored: list[Any], stays: bool
) -> None:
    held = hold(folder, result__json=json.dumps({"stored": stored}))
    (folder / "network.ticket").write_text("old")
    held.publish()
    held.__exit__()
    assert (folder / "network.ticket").exists() == stays
