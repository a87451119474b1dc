"""The right to write into a trial's folder: one attempt at a time, and an old one cannot harm a new one.

An attempt writes only inside ``attempt-N``. Whoever takes a trial over renames that folder to ``attempt-(N + 1)``,
which one caller alone can do: from then on every write of the old attempt misses its folder, and it ends by itself.
Clocks of two machines are never compared: an owner elsewhere is dead when its heartbeat stands still for a while by
our own clock, or when its cluster says that its job is over.
"""

import contextlib
import errno
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from suite.config import InputError
from suite.records import RESULT, attempt_number, listed, newest_attempt, write_text_atomic
from suite.slurm import controller
from suite.stopping import Stopped

OWNER, HEARTBEAT = "owner.json", "heartbeat"
LEASE_TIMEOUT_SECONDS = 60.0  # how long an owner elsewhere may be silent, and one here is waited for
HEARTBEAT_SECONDS = 5.0


class Busy(InputError):
    """Somebody else runs the trial."""


class TakenOver(Exception):
    """Somebody else runs the trial now: this attempt has nothing more to write."""


class Owner(BaseModel):
    """Who runs a trial: ``released`` where nobody does any more. ``job`` is its SLURM job, in its run ``restarts``."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    host: str
    boot: str  # of the running kernel and the process namespace: what makes a pid mean something
    pid: int
    started: str  # ticks from boot to the start of the process: tells it from a later one of the same pid
    released: bool = False
    job: str = ""
    restarts: str = ""
    cluster: str = ""

    @classmethod
    def here(cls, attempt: int) -> "Owner":
        """This process."""
        pid = os.getpid()
        began = _start_of(pid) or ""
        owner = cls(attempt=attempt, host=socket.gethostname(), boot=_boot(), pid=pid, started=began)
        return owner.model_copy(update=_job())

    @property
    def in_our_cluster(self) -> bool:
        """Its job is one of the SLURM cluster that we are a job of, too: ids mean something only there."""
        return bool(self.job) and self.cluster == _job()["cluster"]

    def state(self) -> Literal["alive", "gone", "unknown"]:
        """What this machine can say about the owner."""
        if self.released:
            return "gone"
        if (self.host, self.boot) != (socket.gethostname(), _boot()):
            ours = _job()
            again = self.in_our_cluster and self.job == ours["job"] and self.restarts != ours["restarts"]
            return "gone" if again else "unknown"
        return "alive" if _start_of(self.pid) in (self.started, "") else "gone"


class Lease:
    """A trial's folder, held by this process. ``folder`` is where it writes, ``number`` counts the attempts."""

    def __init__(self, trial_folder: Path, number: int) -> None:
        self.trial_folder, self.number = trial_folder, number
        self.folder = trial_folder / f"attempt-{number}"
        self._stop_event, self._lost = threading.Event(), False
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    @classmethod
    def acquire(
        cls,
        trial_folder: Path,
        *,
        timeout: float = LEASE_TIMEOUT_SECONDS,
        take_over: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> "Lease":
        """Hold a trial: a new one, one that was left, or one whose owner is dead.

        Args:
            trial_folder: made where it is missing.
            timeout: seconds to wait for a living owner to end, and for one elsewhere to give a sign of life.
            take_over: take it from a living owner too; that one then ends by itself.
            should_stop: asked while it waits.

        Raises:
            Busy: its owner is alive; Stopped: as asked, before there was anything to save.
        """
        while True:
            trial_folder.mkdir(parents=True, exist_ok=True)
            held = newest_attempt(trial_folder)
            if held is None:
                number = 1
                taken = _make_first(trial_folder)
            else:
                number = attempt_number(held) + 1
                if not take_over:
                    _wait_for_end(held, timeout, should_stop)
                taken = _claim_next_attempt(held, number)
            if taken:
                return cls(trial_folder, number)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *error: object) -> None:
        """Where the trial is final, what the attempt needed goes; else it stays for the next one to go on from."""
        self._stop_event.set()
        self._beating.join()
        if (self.trial_folder / RESULT).exists():
            remove_attempts(self.trial_folder)
        else:
            self._release()

    def check(self) -> None:
        """Raise TakenOver where somebody else has the trial now, as far as the last heartbeat knows."""
        if self._lost:
            raise TakenOver(f"{self.trial_folder}: another process has taken this trial over: this attempt ends")

    def check_now(self) -> None:
        """``check``, and look now."""
        self._lost = self._lost or not self.folder.exists()
        self.check()

    def publish(self, *names: str) -> None:
        """Move files of the attempt up into the trial's folder, in this order.

        Raises:
            TakenOver: the trial is somebody else's now; what he has is not touched.
        """
        for name in names:
            try:
                (self.folder / name).replace(self.trial_folder / name)
            except FileNotFoundError:
                self.check_now()
                raise

    def _release(self) -> None:
        owner = Owner.here(self.number).model_copy(update={"released": True})
        with contextlib.suppress(OSError):  # taken over, or a full disk: then our end says the same
            write_text_atomic(self.folder / OWNER, owner.model_dump_json())

    def _beat(self) -> None:
        count = 0
        while not self._stop_event.wait(HEARTBEAT_SECONDS if count else 0):
            count += 1
            try:
                (self.folder / HEARTBEAT).write_text(str(count))
            except FileNotFoundError:
                self._lost = True
                return
            except OSError:
                continue  # a full disk: the next beat may find room


def remove_attempts(trial_folder: Path) -> None:
    """Remove what attempts leave behind."""
    for path in listed(trial_folder):
        if path.is_dir() and path.name.lstrip(".").startswith("attempt-"):
            shutil.rmtree(path, ignore_errors=True)


def is_running(trial_folder: Path) -> bool:
    """A living process of this machine runs the trial."""
    held = newest_attempt(trial_folder)
    owner = owner_of(held) if held else None
    return owner is not None and owner.state() == "alive"


def _make_first(trial_folder: Path) -> bool:
    """Make attempt-1 with its owner in it, in one step; False where another was quicker."""
    fresh, first = trial_folder / f".attempt-{secrets.token_hex(8)}", trial_folder / "attempt-1"
    try:
        fresh.mkdir()
        write_text_atomic(fresh / OWNER, Owner.here(1).model_dump_json())
        if _becomes(fresh, first):
            return True
        if not fresh.exists():
            shutil.rmtree(first, ignore_errors=True)
    except FileNotFoundError:  # cleaned up by one who left a final trial
        pass
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return False


def _claim_next_attempt(held: Path, number: int) -> bool:
    """Take an attempt over; False where another was quicker."""
    folder = held.with_name(f"attempt-{number}")
    try:
        if not _becomes(held, folder):
            return False
        write_text_atomic(folder / OWNER, Owner.here(number).model_dump_json())
    except FileNotFoundError:
        return False
    return True


def _becomes(folder: Path, attempt: Path) -> bool:
    """Rename a folder to what is then the newest attempt; False where there is a newer one, or this one."""
    try:
        folder.rename(attempt)  # fails where there is one, since it holds a file
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    newest = newest_attempt(attempt.parent)  # we looked long ago: others may have begun, left and gone on since
    return newest is None or attempt_number(newest) <= attempt_number(attempt)


def owner_of(held: Path) -> Owner | None:
    """The owner of an attempt; None while one takes it over, or where the file is garbled."""
    try:
        owner = Owner.model_validate_json((held / OWNER).read_text())
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
    return owner if owner.attempt == attempt_number(held) else None


def _wait_for_end(held: Path, timeout: float, should_stop: Callable[[], bool]) -> None:
    """Return once the owner of an attempt is known to be dead, or has moved on; raise Busy where it lives on."""
    end, first = time.monotonic() + timeout, _heartbeat(held)
    asked = False
    while held.exists():
        owner = owner_of(held)
        state = owner.state() if owner else "unknown"
        if owner and owner.in_our_cluster and state == "unknown" and not asked:
            asked = True
            state = "gone" if controller.is_over(owner.job) else state
        if state == "gone":
            return
        moved = _heartbeat(held) != first
        if time.monotonic() >= end or (owner and state == "unknown" and moved):
            if state == "unknown" and not moved:
                return
            who = f"process {owner.pid} on {owner.host}" if owner else "another process"
            raise Busy(f"{held.parent}: {who} runs this trial: wait for it or stop it; --take-over takes it from there")
        if should_stop():
            raise Stopped(f"{held.parent}: stopped while another process runs this trial")
        time.sleep(min(0.2, timeout))


def _heartbeat(held: Path) -> str | None:
    try:
        return (held / HEARTBEAT).read_text()
    except OSError:
        return None


def _job() -> dict[str, str]:
    """The SLURM job that we are part of, how often it was begun before, and its cluster; "" where there is none."""
    job, cluster = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_CLUSTER_NAME", "")
    return {"job": job, "restarts": job and os.environ.get("SLURM_RESTART_COUNT", "0"), "cluster": cluster}


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""  # not Linux: the host's name has to do


def _start_of(pid: int) -> str | None:
    """When a living process began, "" where the system does not tell; None where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "" if _answers(pid) else None
    return None if fields[0] in "ZX" else fields[19]  # a zombie has ended


def _answers(pid: int) -> bool:
    """A process is there, though /proc does not show it: no Linux, or one that hides the processes of others."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
