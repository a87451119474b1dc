"""What can be known of an owner: here, elsewhere, in another pid namespace, by its heartbeat."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.disks import list_names
from support.lease_processes import Process, change_owner, fake_heartbeat, owner_in, seconds_of, state_of
from support.trial_processes import descendants, wait_for

from suite.launch import lease
from suite.launch import owner as launch_owner
from suite.launch.lease import Busy, Lease, is_running
from suite.launch.owner import Owner

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
    assert other.answer() == ""  # which has closed its end, too
    began = time.monotonic()
    with Lease.acquire(folder, timeout=0.5) as held:
        assert held.number == 2
        assert 0.5 <= time.monotonic() - began < 5


def test_a_dead_owner_in_a_pid_namespace_that_shows_the_outer_proc(
    folder: Path, start: Callable[..., Process], inner: tuple[str, ...]
) -> None:
    """There its pid, as the system says it, is that of another process, which may live for ever."""
    first, second = start(prefix=inner), start(prefix=inner)
    assert first("take", folder, 0) == "1"
    assert second("take", folder, 0.3).startswith("Busy")
    (pid,) = descendants(first.pid)
    assert owner_in(folder / "attempt-1").pid == pid
    os.kill(pid, signal.SIGKILL)
    first.popen.wait()
    began = time.monotonic()
    assert second("take", folder, 60) == "2"
    assert time.monotonic() - began < 10
    os.kill(*descendants(second.pid), signal.SIGKILL)


@pytest.fixture
def inner() -> Iterator[tuple[str, ...]]:
    """What starts a process in a pid namespace whose /proc is ours."""
    if not shutil.which("nsenter") or subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("this user may not make a pid namespace here")
    with subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sleep", "600"]) as holder:
        wait_for(lambda: descendants(holder.pid))
        yield "nsenter", "--target", str(descendants(holder.pid)[0]), "--pid"
        holder.kill()


def test_an_owner_on_a_copy_of_this_machine_is_judged_by_its_heartbeat(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host name, boot id and even pids of a copied virtual machine, or of some containers, are equal."""
    with monkeypatch.context() as there:
        there.setattr(launch_owner, "_machine", lambda: "another")
        first = Lease.acquire(folder, timeout=0)
        first.__exit__()
    change_owner(first.folder, released=False, started="1")
    assert owner_in(first.folder).host == socket.gethostname()
    assert owner_in(first.folder).state() == "unknown"
    with fake_heartbeat(first.folder), pytest.raises(Busy):
        Lease.acquire(folder, timeout=1)
    change_owner(first.folder, started=Owner.here(1).started)
    assert seconds_of(lambda: Lease.acquire(folder, timeout=0.2).__exit__()) < 5


def test_every_process_here_finds_the_same_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[..., Process]
) -> None:
    start()("take", tmp_path / "x", 0)
    assert owner_in(tmp_path / "x" / "attempt-1").boot == Owner.here(1).boot
    found = set()
    for name in ("one", "one", "two", "no/folder"):
        launch_owner._machine.cache_clear()
        (tmp_path / name.partition("/")[0]).mkdir(exist_ok=True)
        monkeypatch.setattr(launch_owner, "_TEMPORARY", tmp_path / name)
        found.add(launch_owner._machine())
    launch_owner._machine.cache_clear()
    assert len(found) == 3
    assert "" in found  # where there is no such folder
    assert len(list_names(tmp_path / "one")) == 1


def test_the_token_of_a_machine_is_believed_from_ourselves_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"suite-machine-{os.getuid()}").write_text("of another user")
    os.chown(tmp_path / f"suite-machine-{os.getuid()}", 12345, 12345)
    monkeypatch.setattr(launch_owner, "_TEMPORARY", tmp_path)
    launch_owner._machine.cache_clear()
    assert launch_owner._machine() == ""
    launch_owner._machine.cache_clear()


NOT_UTF_8 = "import os, socket, sys; socket.sethostname(b'n\\xff1'); os.execvp(sys.argv[1], sys.argv[1:])"


def test_a_host_name_that_is_no_utf_8(folder: Path, start: Callable[..., Process]) -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "--uts", "true"], check=False).returncode:
        pytest.skip("this user may not rename a host here")
    other = start(prefix=("unshare", "--uts", sys.executable, "-c", NOT_UTF_8))
    assert other("take", folder, 0) == "1"
    assert owner_in(folder / "attempt-1").host == "n\\xff1"
    with pytest.raises(Busy, match=r"process \d+ on n\\xff1 runs this trial"):
        Lease.acquire(folder, timeout=5)
    assert other("leave") == "None"


def test_another_process_of_the_same_pid_is_not_the_owner(folder: Path, start: Callable[..., Process]) -> None:
    other = start()
    other("take", folder, 0)
    assert is_running(folder)
    change_owner(folder / "attempt-1", started=str(int(owner_in(folder / "attempt-1").started) - 1))
    assert not is_running(folder)
    assert seconds_of(lambda: Lease.acquire(folder, timeout=60).__exit__()) < 5
    assert list_names(folder) == ["attempt-2"]


def test_a_zombie_is_not_the_owner(folder: Path, start: Callable[..., Process]) -> None:
    other = start(prefix=("env",))  # a child of this process
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
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 20.0)
    for _ in range(2):
        with Lease.acquire(folder, timeout=0) as held:
            wait_for((held.folder / "heartbeat").exists, seconds=10)


def test_a_slow_heart_is_still_heard(folder: Path, start: Callable[..., Process]) -> None:
    """The longest silence of a living owner is shorter than the patience of others."""
    assert 2 * lease.HEARTBEAT_SECONDS < lease.LEASE_TIMEOUT_SECONDS
    other = start(beat=0.4)
    other("take", folder, 0)
    change_owner(folder / "attempt-1", host="another")
    with pytest.raises(Busy):
        Lease.acquire(folder, timeout=4)
