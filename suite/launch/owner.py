"""Who runs a trial, and what this machine can say about whether that process is alive."""

import os
import secrets
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from suite.records import host_name

_TOKEN_BYTES = 8
_TEMPORARY = Path("/tmp")  # noqa: S108 - what is read there must be ours


class Owner(BaseModel):
    """The process that runs an attempt. ``released`` is set once it has left.

    ``job`` is its SLURM job, and ``restarts`` how often that job was restarted.

    ``token`` tells an attempt from every other one, whatever their numbers and processes are.
    """

    model_config = ConfigDict(frozen=True)

    attempt: int
    host: str
    boot: str  # of the kernel, the process namespace and the machine: what makes a pid mean something
    pid: int
    started: str  # ticks from boot to the start of the process: tells it from a later one of the same pid
    released: bool = False
    job: str = ""
    restarts: str = ""
    cluster: str = ""
    token: str = ""

    @classmethod
    def here(cls, attempt: int, token: str = "") -> "Owner":
        """This process."""
        pid = _own_pid()
        began = _start_of(pid) or ""
        owner = cls(attempt=attempt, host=host_name(), boot=_boot(), pid=pid, started=began, token=token)
        return owner.model_copy(update=_job())

    @property
    def in_our_cluster(self) -> bool:
        """Its job is one of a SLURM cluster named like ours: its id may mean something here."""
        return bool(self.job) and self.cluster == _job()["cluster"]

    @property
    def is_earlier_run_of_our_job(self) -> bool:
        """The owner ran in an earlier start of our job: SLURM restarts a job only after its previous run has ended."""
        ours = _job()
        return self.in_our_cluster and self.job == ours["job"] and self.restarts != ours["restarts"]

    def state(self) -> Literal["alive", "gone", "unknown"]:
        """What this machine can say about the owner."""
        if self.released:
            return "gone"
        if (self.host, self.boot) != (host_name(), _boot()):
            return "unknown"
        return "alive" if _start_of(self.pid) in (self.started, "") else "gone"


def _job() -> dict[str, str]:
    """The SLURM job that we are part of, how often it was begun before, and its cluster; "" where there is none."""
    job, cluster = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_CLUSTER_NAME", "")
    return {"job": job, "restarts": job and os.environ.get("SLURM_RESTART_COUNT", "0"), "cluster": cluster}


def _own_pid() -> int:
    """Our pid as /proc shows it, which may be that of an outer namespace; else as the system says."""
    try:
        return int(os.readlink("/proc/self"))
    except (OSError, ValueError):
        return os.getpid()


def _boot() -> str:
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{kernel} {os.readlink('/proc/self/ns/pid')} {_machine()}"
    except OSError:
        return _machine()  # not Linux: the host's name has to do


@cache
def _machine() -> str:
    """A token of this machine, or of this container: copies of a virtual machine have equal names and boot ids.

    Every process of this user finds it in one place, whatever its TMPDIR is.
    """
    path = _TEMPORARY / f"suite-machine-{os.getuid()}"
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(_TOKEN_BYTES)}")
    try:
        if not path.exists():
            fresh.write_text(secrets.token_hex(_TOKEN_BYTES))
            os.link(fresh, path)
    except OSError:
        pass  # another process was quicker, or the folder takes no files
    finally:
        _remove(fresh)
    return _token_in(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _token_in(path: Path) -> str:
    """The token in a file of ours; "" where there is none, or where somebody else wrote it."""
    try:
        return path.read_text() if path.stat().st_uid == os.getuid() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _start_of(pid: int) -> str | None:
    """When a living process began, "" where the system does not say; None where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "" if _own_pid() == os.getpid() and _answers(pid) else None
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
