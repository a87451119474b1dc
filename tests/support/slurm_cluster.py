"""A real SLURM cluster on this machine, as tests use it. ``slurm/test-cluster.sh`` makes it."""

import contextlib
import getpass
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from support.trial_processes import ROOT, wait_for

SCRIPT = ROOT / "slurm" / "test-cluster.sh"
NODES = 4
OVER = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}


class Job(TypedDict):
    """What the controller says of a job; ``state`` is SLURM's word, ``nodes`` are empty while it waits."""

    id: str
    state: str
    name: str
    comment: str
    nodes: list[str]
    restarts: int


class Cluster:
    """Four nodes, node1 to node4, with partitions main (preemptible) and high; ``root`` holds its logs.

    Jobs that ended stay known to the controller for five minutes, those of earlier tests too.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._off: set[int] = set()
        self._seen: set[str] = set()
        self._controller_off = False

    def kill_node(self, number: int) -> None:
        """Cut its power: all that runs there is gone on return; SLURM notices after some 15 to 30 s."""
        self._script("kill-node", str(number))
        self._off.add(number)

    def start_node(self, number: int) -> None:
        """Switch it on again.

        Jobs that it had are missed by SLURM at once where they had run for 20 s, else up to a minute later.
        """
        self._script("start-node", str(number))
        self._off.discard(number)

    def stop_controller(self) -> None:
        """Jobs go on; commands of SLURM fail, after some 9 s."""
        self._script("stop-controller")
        self._controller_off = True

    def start_controller(self) -> None:
        """Start it again with the jobs it had."""
        self._script("start-controller")
        self._controller_off = False

    def jobs(self) -> list[Job]:
        """All that the controller knows, ended ones too."""
        return [_parsed(line) for line in _said("scontrol", "-o", "show", "job").splitlines() if "JobId=" in line]

    def job(self, number: str) -> Job:
        """The one of this id."""
        return next(job for job in self.jobs() if job["id"] == number)

    def num_submitted(self) -> int:
        """How many jobs were submitted here, as far as it was asked within five minutes of each."""
        self._seen |= {job["id"] for job in self.jobs()}
        return len(self._seen)

    def wait_running(self, number: str | None = None, seconds: float = 60) -> Job:
        """A job once it runs: the one of this id, or any."""
        found: list[Job] = []

        def look() -> bool:
            found[:] = [job for job in self.jobs() if job["state"] == "RUNNING" and number in (None, job["id"])]
            return bool(found)

        wait_for(look, seconds, every=0.1)
        return found[0]

    def wait_over(self, number: str, seconds: float = 60) -> Job:
        """A job once it has ended."""
        wait_for(lambda: self.job(number)["state"] in OVER, seconds, every=0.1)
        return self.job(number)

    def submit(self, shell_text: str, **options: str | int | bool) -> str:
        """The id of a job that runs lines of shell; ``gpus_per_node=2`` is sbatch's ``--gpus-per-node=2``."""
        given = {"output": "/dev/null", **options}
        flags = [_flag(name.replace("_", "-"), value) for name, value in given.items()]
        return _said("sbatch", "--parsable", *flags, given=f"#!/bin/bash\n{shell_text}\n").strip()

    def cancel_all(self) -> None:
        """Cancel all jobs, and wait until none is left and the nodes are idle."""
        _said("scancel", f"--user={getpass.getuser()}")
        wait_for(lambda: all(job["state"] in OVER for job in self.jobs()) and self._idle(), every=0.1)

    def restore(self) -> None:
        """An empty queue and all nodes up, whatever a test has done."""
        if self._controller_off:
            self.start_controller()
        for number in sorted(self._off):
            self.start_node(number)
        self.cancel_all()

    def _idle(self) -> bool:
        states = _said("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T").split()
        return states == ["idle"] * NODES

    def _script(self, *words: str) -> None:
        subprocess.run([SCRIPT, *words], env=_environment(self.root), check=True, timeout=60)


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster of its own, and SLURM_CONF set to it. It ends with this process, even when that is killed."""
    root = Path(tempfile.mkdtemp(prefix="suite-slurm-"))
    end = 'cat; "$1" stop >/dev/null 2>&1; rm -rf "$2"'  # once our end of its pipe is closed, by us or the kernel
    guard = subprocess.Popen(
        ["bash", "-c", end, "bash", SCRIPT, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=_environment(root),
        start_new_session=True,
    )
    before = os.environ.get("SLURM_CONF")
    try:
        subprocess.run([SCRIPT, "start", str(NODES)], env=_environment(root), check=True, timeout=120)
        os.environ["SLURM_CONF"] = str(root / "slurm.conf")
        yield Cluster(root)
    finally:
        os.environ.pop("SLURM_CONF", None)
        if before is not None:
            os.environ["SLURM_CONF"] = before
        guard.communicate(timeout=60)
        shutil.rmtree(root, ignore_errors=True)


def _environment(root: Path) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    return {**mine, "SLURM_TEST_ROOT": str(root)}


def _said(*command: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _flag(name: str, value: str | int | bool) -> str:
    return f"--{name}" if value is True else f"--{name}={value}"


def _parsed(line: str) -> Job:
    def field(pattern: str) -> str:
        found = re.search(pattern, line)
        return found[1] if found else ""

    return Job(
        id=field(r"^JobId=(\S+)"),
        state=field(r" JobState=(\S+)"),
        name=field(r" JobName=(.*?) UserId="),
        comment=field(r" Comment=(.*?) +StdErr="),
        nodes=_names(field(r" NodeList=(\S+)")),
        restarts=int(field(r" Restarts=(\d+)")),
    )


def _names(text: str) -> list[str]:
    """``node[1-2,4]`` as names; SLURM says (null) for none."""
    if not (found := re.fullmatch(r"node\[?([\d,-]+)\]?", text)):
        return []
    ranges = [part.split("-") for part in found[1].split(",")]
    return [f"node{number}" for first, *last in ranges for number in range(int(first), int((last or [first])[0]) + 1)]
