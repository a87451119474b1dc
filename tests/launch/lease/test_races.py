"""Many come to a trial at one moment, or in the midst of what another does."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.disks import list_names
from support.lease_processes import Process, owner_in
from support.trial_processes import wait_for

from suite.launch import attempts, lease
from suite.launch.attempts import remove_attempts
from suite.launch.lease import Busy, Lease


def race(crowd: list[Process], what: str, folder: Path, timeout: float, signs: Path) -> list[str]:
    """What all say who are let go at one moment."""
    signs.mkdir()
    for number, process in enumerate(crowd):
        process.begin(what, folder, timeout, signs / f"ready-{number}", signs / "go")
    wait_for(lambda: len(list_names(signs)) == len(crowd))
    (signs / "go").touch()
    return [process.answer() for process in crowd]


def dead_attempt(folder: Path, start: Callable[..., Process]) -> Path:
    other = start()
    other("take", folder, 0)
    other("write", "checkpoint-1.pt", "this")
    other.kill()
    return folder


@pytest.mark.parametrize("left", ["nothing", "a dead attempt"])
@pytest.mark.parametrize("size", [2, 8])
def test_one_of_many_has_a_trial(
    tmp_path: Path, start: Callable[..., Process], crowd: list[Process], size: int, left: str
) -> None:
    folder = tmp_path / "x" if left == "nothing" else dead_attempt(tmp_path / "x", start)
    number = 1 if left == "nothing" else 2
    said = race(crowd[:size], "at_once", folder, 0.6, tmp_path / "signs")
    (winner,) = (i for i, answer in enumerate(said) if answer == str(number))
    assert owner_in(folder / f"attempt-{number}").pid == crowd[winner].pid
    others = [answer for i, answer in enumerate(said) if i != winner]
    assert all(answer.startswith(f"Busy: {folder}: process {crowd[winner].pid} on ") for answer in others)
    assert list_names(folder) == [f"attempt-{number}"]
    assert left == "nothing" or (folder / f"attempt-{number}" / "checkpoint-1.pt").exists()
    assert crowd[winner]("leave") == "None"


@pytest.mark.parametrize("left", ["nothing", "a dead attempt"])
def test_many_have_a_trial_one_after_another(
    tmp_path: Path, start: Callable[..., Process], crowd: list[Process], left: str
) -> None:
    folder = tmp_path / "x" if left == "nothing" else dead_attempt(tmp_path / "x", start)
    first = 1 if left == "nothing" else 2
    said = race(crowd, "in_turn", folder, 30, tmp_path / "signs")
    assert sorted(said) == sorted(map(str, range(first, first + 8)))
    assert list_names(folder) == [f"attempt-{first + 7}"]


def test_many_come_to_a_trial_that_is_final(tmp_path: Path, crowd: list[Process]) -> None:
    """They only look, and clean up when they leave: nobody trips over that."""
    for count in range(2):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "result.json").write_text("{}")
        assert race(crowd, "in_passing", folder, 30, tmp_path / f"signs-{count}") == ["None"] * 8
        assert list_names(folder) == ["result.json"]


def in_between(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> None:
    """Do something once, after the next look at which attempts there are."""
    look = lease.newest_attempt

    def look_late(folder: Path) -> Path | None:
        monkeypatch.setattr(lease, "newest_attempt", look)
        found = look(folder)
        what()
        return found

    monkeypatch.setattr(lease, "newest_attempt", look_late)


def test_who_is_slow_to_begin_a_trial_does_not_begin_it_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saw no attempt; until it makes the first one another has come and gone, and a third one runs the second."""
    others: list[Lease] = []

    def come_and_go() -> None:
        Lease.acquire(folder, timeout=0).__exit__()
        others.append(Lease.acquire(folder, timeout=0))

    in_between(monkeypatch, come_and_go)
    try:
        with pytest.raises(Busy):
            Lease.acquire(folder, timeout=0)
        assert list_names(folder) == ["attempt-2"]
        others[0].check_now()
    finally:
        others[0].__exit__()


def test_who_is_slow_to_follow_does_not_take_what_another_has_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[Lease] = []
    Lease.acquire(folder, timeout=0).__exit__()
    in_between(monkeypatch, lambda: others.append(Lease.acquire(folder, timeout=0)))
    with pytest.raises(Busy):
        Lease.acquire(folder, timeout=0)
    assert list_names(folder) == ["attempt-2"]
    others[0].check_now()
    others[0].__exit__()


@pytest.mark.parametrize("left", ["nothing", "an attempt"])
def test_a_rename_that_was_done_and_repeated_is_ours(folder: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    """NFS sends a call again where the answer was lost: then the name is gone already."""
    rename = Path.rename

    def twice(path: Path, target: Path) -> Path:
        rename(path, target)
        return rename(path, target)

    if left != "nothing":
        with Lease.acquire(folder, timeout=0) as first:
            (first.folder / "checkpoint-1.pt").write_text("this")
    monkeypatch.setattr(Path, "rename", twice)
    with Lease.acquire(folder, timeout=0) as held:
        assert held.number == (1 if left == "nothing" else 2)
        assert left == "nothing" or (held.folder / "checkpoint-1.pt").read_text() == "this"
        (held.folder / "result.json").write_text("{}")
        held.publish()
    assert list_names(folder) == ["result.json"]


def test_what_others_clean_up_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One who leaves a final trial removes the folders of all attempts: even of one about to begin."""
    write, times = attempts.write_text_atomic, []

    def clean_up_once(path: Path, text: str) -> None:
        if not times:
            times.append(1)
            (folder / "result.json").touch()
            remove_attempts(folder)
            (folder / "result.json").unlink()
        write(path, text)

    monkeypatch.setattr(attempts, "write_text_atomic", clean_up_once)
    with Lease.acquire(folder, timeout=0) as held:
        assert held.number == 1
        held.check_now()
    assert list_names(folder) == ["attempt-1"]
