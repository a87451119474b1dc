"""Who takes a trial, with real processes: after a release, a death, a stop; and from a living owner."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.disks import list_names
from support.lease_processes import Process, owner_in
from support.trial_processes import trial_of, wait_for

from suite.config import InputError
from suite.launch import inline
from suite.launch.lease import Busy, Lease, TakenOver, is_running
from suite.records import read_failure, read_metrics, read_result
from suite.stopping import Stopped


def test_a_new_trial_is_attempt_1(folder: Path) -> None:
    with Lease.acquire(folder, timeout=0) as held:
        assert (held.number, held.folder, held.trial_folder) == (1, folder / "attempt-1", folder)
        assert list_names(folder) == ["attempt-1"]
        owner = owner_in(held.folder)
        assert (owner.attempt, owner.pid, owner.host, owner.released) == (1, os.getpid(), socket.gethostname(), False)
        assert owner.started == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        assert owner.state() == "alive"
        held.check()
        held.check_now()


def test_who_comes_after_a_release_has_all_that_was_saved(folder: Path) -> None:
    for number in range(1, 12):  # beyond 9: attempts are counted, not sorted as words
        with Lease.acquire(folder, timeout=0) as held:
            assert held.number == number
            assert list_names(folder) == [f"attempt-{number}"]
            assert owner_in(held.folder).attempt == number
            assert not owner_in(held.folder).released
            saved = {f"checkpoint-{i}.pt": f"{i}" for i in range(1, number)}
            assert {path.name: path.read_text() for path in held.folder.glob("checkpoint-*")} == saved
            assert number == 1 or (held.folder / "metrics.jsonl").read_text() == f"{number - 1}"
        (held.folder / f"checkpoint-{number}.pt").write_text(f"{number}")
        (held.folder / "metrics.jsonl").write_text(f"{number}")


def test_a_killed_owner_is_followed_at_once(folder: Path, start: Callable[..., Process]) -> None:
    other = start()
    assert other("take", folder, 0) == "1"
    other("write", "checkpoint-1.pt", "this")
    assert is_running(folder)
    other.kill()
    assert not is_running(folder)
    assert not owner_in(folder / "attempt-1").released
    began = time.monotonic()
    with Lease.acquire(folder, timeout=60) as held:
        assert time.monotonic() - began < 5
        assert held.number == 2
        assert (held.folder / "checkpoint-1.pt").read_text() == "this"
        assert list_names(folder) == ["attempt-2"]


def test_a_living_owner_is_left_alone(folder: Path, start: Callable[..., Process]) -> None:
    other = start()
    other("take", folder, 0)
    began = time.monotonic()
    with pytest.raises(Busy) as caught:
        Lease.acquire(folder, timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 5
    (problem,) = caught.value.problems
    assert problem.startswith(f"{folder}: process {other.pid} on {socket.gethostname()} runs this trial")
    assert "--take-over" in problem
    assert isinstance(caught.value, InputError)
    assert list_names(folder) == ["attempt-1"]
    assert other("call", "check_now") == "None"
    assert owner_in(folder / "attempt-1").pid == other.pid


@pytest.mark.parametrize("how", ["leaves", "is killed", "finishes"])
def test_an_owner_who_ends_is_waited_for(folder: Path, start: Callable[..., Process], how: str) -> None:
    other = start()
    other("take", folder, 0)
    before = threading.active_count()

    def end() -> None:
        if how == "finishes":
            (folder / "result.json").write_text("{}")
        other.kill() if how == "is killed" else other("leave")

    timer = threading.Timer(0.1, end)
    timer.start()
    began = time.monotonic()
    with Lease.acquire(folder, timeout=60) as held:
        assert 0.1 <= time.monotonic() - began < 5
        assert held.number == (1 if how == "finishes" else 2)
    timer.join()
    assert threading.active_count() == before  # no heartbeat outlives its lease


def test_who_waits_can_be_asked_to_stop(folder: Path, start: Callable[..., Process]) -> None:
    other, asked = start(), []
    other("take", folder, 0)

    def should_stop() -> bool:
        asked.append(time.monotonic())
        return len(asked) == 3

    before = threading.active_count()
    with pytest.raises(Stopped, match=f"^{folder}: stopped while another process runs this trial$"):
        Lease.acquire(folder, timeout=60, should_stop=should_stop)
    assert len(asked) == 3
    assert asked[2] - asked[0] < 5
    assert threading.active_count() == before
    assert list_names(folder) == ["attempt-1"]
    assert other("call", "check_now") == "None"
    other("leave")
    with Lease.acquire(folder, timeout=60, should_stop=lambda: True) as held:  # there is nobody to wait for
        assert held.number == 2


def test_a_stopped_owner_is_alive(folder: Path, start: Callable[..., Process]) -> None:
    other = start()
    other("take", folder, 0)
    other.stop()
    assert is_running(folder)
    with pytest.raises(Busy, match=f"process {other.pid} "):
        Lease.acquire(folder, timeout=0.3)
    os.kill(other.pid, signal.SIGCONT)
    assert other("call", "check_now") == "None"


def test_a_stopped_owner_is_taken_over_and_can_do_no_harm(folder: Path, start: Callable[..., Process]) -> None:
    other = start()
    other("take", folder, 0)
    other("write", "metrics.jsonl", "old")
    other("write", "result.json", "old")
    other.stop()
    with Lease.acquire(folder, timeout=60, take_over=True) as held:
        (held.folder / "metrics.jsonl").write_text("new")
        (held.folder / "result.json").write_text("new")
        (held.folder / "checkpoint").write_text("new")
        before = list_names(held.folder)
        os.kill(other.pid, signal.SIGCONT)
        wait_for(lambda: other("call", "check") != "None")  # after its next heartbeat
        gone = f"TakenOver: {folder}: another process has taken this trial over: this attempt ends"
        assert other("call", "check") == gone
        assert other("call", "check_now") == gone
        assert other("write", "checkpoint", "old").startswith("FileNotFoundError")
        assert other("call", "publish") == gone
        assert other("leave") == "None"
        held.check_now()
        assert list_names(folder) == ["attempt-2"]  # nothing came up, nothing came back
        assert set(list_names(held.folder)) - {"heartbeat"} == set(before) - {"heartbeat"}
        assert {(held.folder / name).read_text() for name in ("metrics.jsonl", "result.json", "checkpoint")} == {"new"}
        assert (owner_in(held.folder).pid, owner_in(held.folder).attempt) == (os.getpid(), 2)
        held.publish()
    assert list_names(folder) == ["metrics.jsonl", "result.json"]


def test_who_is_taken_over_knows_it_at_once_where_it_looks(folder: Path) -> None:
    first = Lease.acquire(folder, timeout=0)
    first.check_now()
    second = Lease.acquire(folder, timeout=0, take_over=True)
    (second.folder / "result.json").write_text("new")
    with pytest.raises(TakenOver, match="taken this trial over"):
        first.publish()
    with pytest.raises(TakenOver):
        first.check_now()
    with pytest.raises(TakenOver):  # and does not forget it
        first.check()
    for held in (first, second):
        held.__exit__()
    assert list_names(folder) == ["attempt-2"]
    assert (folder / "attempt-2" / "result.json").read_text() == "new"


def test_an_attempt_of_the_past_ends_while_another_trains(folder: Path) -> None:
    """A whole trial: what the old attempt would publish, fail with or save stays out of the new one."""
    trial, after = trial_of("edge_popup", checkpoint={}), []

    def take_it_over(line: dict[str, float]) -> None:
        second = Lease.acquire(folder, take_over=True)
        after.append((second, list_names(second.folder)))

    with pytest.raises(TakenOver):
        inline.run(trial, folder, data_dir=None, on_epoch=take_it_over)
    ((second, before),) = after
    assert [name for name in list_names(second.folder) if name != "heartbeat"] == [
        n for n in before if n != "heartbeat"
    ]
    assert [line["epoch"] for line in read_metrics(folder)] == [0]
    assert read_failure(folder) is None
    assert read_result(folder) is None
    second.check_now()
    second.__exit__()
    result = inline.run(trial, folder, data_dir=None)
    assert read_result(folder) == result
    assert list_names(folder) == ["metrics.jsonl", "network.ticket", "result.json"]
