"""What can be known of an owner: here, elsewhere, in another pid namespace, by its heartbeat."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.disks import list_names
from support.lease_processes import Process, change_owner, fake_heartbeat, owner_in, seconds_of, state_of
from support.trial_processes import wait_for

from suite.launch import lease
from suite.launch.lease import Busy, Lease, Owner, is_running

ELSEWHERE = [{"host": "another"}, {"boot": "another"}]


@pytest.mark.parametrize("elsewhere", ELSEWHERE, ids=["host", "boot"])
def test_an_owner_elsewhere_whose_heartbeat_moves_is_alive(folder: Path, elsewhere: dict[str, str]) -> None:
    first = Lease.acquire(folder, timeout=0)
    first.__exit__()
    change_owner(first.folder, released=False, pid=4321, **elsewhere)
    host = elsewhere.get("host", socket.gethostname())
    with fake_heartbeat(first.folder), pytest.raises(Busy, match=f"process 4321 on {host} runs this trial"):
        Lease.acquire(folder, timeout=1)
    assert list_names(folder) == ["attempt-1"]


@pytest.mark.parametrize("heartbeat", ["7", None])
@pytest.mark.parametrize("elsewhere", ELSEWHERE, ids=["host", "boot"])
def test_an_owner_elsewhere_without_a_heartbeat_is_dead_after_a_while(
    folder: Path, elsewhere: dict[str, str], heartbeat: str | None
) -> None:
    first = Lease.acquire(folder, timeout=0)
    first.__exit__()
    change_owner(first.folder, released=False, **elsewhere)  # its pid is alive here: that says nothing
    if heartbeat is None:
        (first.folder / "heartbeat").unlink(missing_ok=True)
    else:
        (first.folder / "heartbeat").write_text(heartbeat)
    os.utime(first.folder, (9e9, 9e9))  # what the clock of another machine says is not asked
    assert not is_running(folder)
    began = time.monotonic()
    with Lease.acquire(folder, timeout=0.2) as held:
        assert 0.2 <= time.monotonic() - began < 5
        assert held.number == 2


def test_an_owner_elsewhere_who_let_go_is_followed_at_once(folder: Path) -> None:
    with Lease.acquire(folder, timeout=0) as first:
        pass
    change_owner(first.folder, host="another", boot="another")
    with fake_heartbeat(first.folder):  # not its own any more
        assert seconds_of(lambda: Lease.acquire(folder, timeout=60).__exit__()) < 5


def test_an_owner_in_another_pid_namespace(folder: Path, start: Callable[..., Process]) -> None:
    """A container on this machine: same host and boot, and its pids mean nothing here."""
    prefix = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a pid namespace here")
    other = start(prefix=prefix)
    assert other("take", folder, 0) == "1"
    owner = owner_in(folder / "attempt-1")
    assert owner.host == socket.gethostname()
    assert owner.pid != other.pid
    assert owner.state() == "unknown"
    with pytest.raises(Busy, match=f"process {owner.pid} on {owner.host}"):
        Lease.acquire(folder, timeout=5)
    other.kill()  # and with it, its only child
    assert other.popen.stdout.read() == ""  # type: ignore[union-attr] # which has closed its end, too
    began = time.monotonic()
    with Lease.acquire(folder, timeout=0.5) as held:
        assert held.number == 2
        assert 0.5 <= time.monotonic() - began < 5


def test_another_process_of_the_same_pid_is_not_the_owner(folder: Path, start: Callable[..., Process]) -> None:
    other = start()
    other("take", folder, 0)
    assert is_running(folder)
    change_owner(folder / "attempt-1", started=str(int(owner_in(folder / "attempt-1").started) - 1))
    assert not is_running(folder)
    assert seconds_of(lambda: Lease.acquire(folder, timeout=60).__exit__()) < 5
    assert list_names(folder) == ["attempt-2"]


def test_a_zombie_is_not_the_owner(folder: Path, start: Callable[..., Process]) -> None:
    other = start()
    other("take", folder, 0)
    os.kill(other.pid, signal.SIGKILL)
    wait_for(lambda: state_of(other.pid) == "Z")  # nobody has asked how it ended
    assert not is_running(folder)
    assert seconds_of(lambda: Lease.acquire(folder, timeout=60).__exit__()) < 5


@pytest.mark.parametrize("name", [b"x) Z 0", b"\xff\xfe"], ids=["like a zombie", "no UTF-8"])
def test_the_name_of_a_process_says_nothing_about_its_life(
    folder: Path, start: Callable[..., Process], name: bytes
) -> None:
    other = start()
    other("take", folder, 0)
    assert other("rename", name.hex()) == "None"
    assert Path(f"/proc/{other.pid}/comm").read_bytes() == name + b"\n"
    assert is_running(folder)
    with pytest.raises(Busy):
        Lease.acquire(folder, timeout=0)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff\xfe", b'{"attempt": 1, "host": "h"}'],
    ids=["missing", "empty", "no UTF-8", "half"],
)
def test_an_owner_that_cannot_be_read_is_judged_by_its_heartbeat(folder: Path, content: bytes | None) -> None:
    with Lease.acquire(folder, timeout=0) as first:
        pass
    owner = first.folder / "owner.json"
    owner.unlink() if content is None else owner.write_bytes(content)
    assert not is_running(folder)
    with fake_heartbeat(first.folder), pytest.raises(Busy, match="another process runs this trial"):
        Lease.acquire(folder, timeout=0.4)
    began = time.monotonic()
    with Lease.acquire(folder, timeout=0.2) as held:
        assert 0.2 <= time.monotonic() - began < 5
        assert (held.number, owner_in(held.folder).pid) == (2, os.getpid())


@pytest.mark.parametrize("released", [True, False])
def test_who_is_about_to_take_over_has_time_to_say_so(folder: Path, released: bool) -> None:
    """Between the new name of the folder and the new owner in it: the old one, dead or gone, is not the owner."""
    with Lease.acquire(folder, timeout=0) as first:
        pass
    change_owner(first.folder, released=released, started="0")
    first.folder.rename(folder / "attempt-2")
    began = time.monotonic()
    for seconds, name, text in ((0.1, "heartbeat", "x"), (0.45, "owner.json", Owner.here(2).model_dump_json())):
        threading.Timer(seconds, (folder / "attempt-2" / name).write_text, [text]).start()
    with pytest.raises(Busy, match=f"process {os.getpid()} "):  # known by now
        Lease.acquire(folder, timeout=0.8)
    assert time.monotonic() - began >= 0.8  # it might have ended
    assert list_names(folder) == ["attempt-2"]


def test_who_died_while_it_took_over_is_followed_after_a_while(folder: Path) -> None:
    with Lease.acquire(folder, timeout=0) as first:
        pass
    first.folder.rename(folder / "attempt-2")
    began = time.monotonic()
    with Lease.acquire(folder, timeout=0.3) as held:
        assert held.number == 3
        assert time.monotonic() - began >= 0.3


def test_is_running(folder: Path, start: Callable[..., Process]) -> None:
    assert not is_running(folder)
    assert not is_running(Path(__file__) / "x")
    folder.mkdir(parents=True)
    assert not is_running(folder)
    other = start()
    other("take", folder, 0)
    assert is_running(folder)
    other("leave")
    assert other.popen.poll() is None  # it lives on, and does something else
    assert not is_running(folder)


def test_the_heart_beats_from_the_beginning_and_not_after_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.02)
    with Lease.acquire(folder, timeout=0) as held:
        heartbeat = held.folder / "heartbeat"
        wait_for(lambda: heartbeat.exists() and heartbeat.read_text() not in ("", "1"))
    before = heartbeat.read_bytes(), heartbeat.stat().st_mtime_ns
    time.sleep(0.1)
    assert (heartbeat.read_bytes(), heartbeat.stat().st_mtime_ns) == before


def test_the_first_beat_comes_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the attempt before it there is a heartbeat already, which stands still."""
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 20.0)
    with Lease.acquire(folder, timeout=0) as first:
        wait_for((first.folder / "heartbeat").exists)
    (first.folder / "heartbeat").write_text("another's")
    with Lease.acquire(folder, timeout=0) as second:
        wait_for(lambda: (second.folder / "heartbeat").read_text() not in ("", "another's"), seconds=10)


def test_a_slow_heart_is_still_heard(folder: Path, start: Callable[..., Process]) -> None:
    """The longest silence of a living owner is shorter than the patience of others."""
    assert 2 * lease.HEARTBEAT_SECONDS < lease.LEASE_TIMEOUT_SECONDS
    other = start(beat=0.4)
    other("take", folder, 0)
    change_owner(folder / "attempt-1", host="another")
    with pytest.raises(Busy):
        Lease.acquire(folder, timeout=4)
