"""What is asked of SLURM's controller: one query for all jobs at a time, cancelling, requeueing.

A controller that does not answer is busy or away: that says nothing about jobs.

The id of a job is the one that its processes find in SLURM_JOB_ID, ``%A`` of squeue. SLURM shows a task of an array
as ARRAY_INDEX and a component of a heterogeneous job as JOB+OFFSET (``%i``) instead. The task of an array that begins
last has the id of the whole array.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from suite import environment, machine
from suite.config import InputError

_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")
_SECONDS = 30.0  # for one answer
_FORMAT = "%A|%T|%j|%k"
_ENTRY_FORMAT = "%A|%T|%i"
_ID = re.compile(r"\d+([_+]\d+)?")
_UNKNOWN = "Invalid job id specified"  # "Invalid job id: ..." is said of an id that is none
GONE = "GONE"  # our word: the controller has forgotten it
OVER = frozenset(  # not REVOKED: another cluster of the federation has the job
    [
        "GONE",
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "TIMEOUT",
    ]
)


@dataclass(frozen=True)
class Job:
    """A job as the controller sees it; ``state`` is SLURM's word, as RUNNING."""

    id: str
    state: str
    name: str
    comment: str

    @property
    def is_finished(self) -> bool:
        """It runs no more and will not by itself."""
        return self.state in OVER


class _Entry(NamedTuple):
    """A line of squeue; ``shown`` is how SLURM shows the id."""

    id: str
    state: str
    shown: str


def check_slurm_available() -> None:
    """Raise InputError where this machine has no SLURM."""
    machine.require_linux("--launcher slurm", "run it on a login node of a SLURM cluster")
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        raise InputError(
            f"--launcher slurm: no {', '.join(missing)} on PATH: run it on a login node of a SLURM cluster "
            "(some need `module load slurm` first); --launcher local needs none of it"
        )


def my_jobs() -> dict[str, Job] | None:
    """All jobs of this user that the controller still knows, ended ones for some minutes; None: it did not answer."""
    text = _run("squeue", "--me", "--all", "--states=all", "--noheader", f"--format={_FORMAT}")
    return None if text is None else _parsed(text)


def is_over(job: str) -> bool:
    """The controller says that this very job has ended, or that it knows none of this id.

    False where it is silent, and where it may hide the job because it is another user's (``PrivateData=jobs``). True is
    a word about an id on the cluster that answers here. A second cluster of the same ClusterName counts jobs by itself:
    it does not know a job that runs on the first, or knows another one that has ended. So True is no proof that nobody
    runs: a caller weighs it against signs of life.

    Args:
        job: as in SLURM_JOB_ID, or as SLURM shows it: ``12``, ``12_3``, ``12+1``.
    """
    entries = _entries(job)
    if not entries:
        return entries is not None and not _hides_jobs()
    return all(entry.state in OVER for entry in entries)


def is_running(job: str) -> bool:
    """The controller says that a job runs, and is not about to end. ``job``: as for ``is_over``."""
    return any(entry.state == "RUNNING" for entry in _entries(job) or ())


def dry_run_submit(script: str) -> str | None:
    """What sbatch has against a batch script, None if nothing; nothing is queued."""
    done = _completed("sbatch", "--test-only", given=script)
    return None if done is None or done.returncode == 0 else done.stderr


def cancel(jobs: Collection[str]) -> bool:
    """Cancel jobs: TERM, some time to save themselves, KILL. True where the controller took it."""
    return not jobs or _run("scancel", *jobs) is not None


def requeue(job: str) -> bool:
    """Put a running job back into the queue: it begins again as the same job. True where the controller took it.

    A task of an array is requeued alone: by the id of the one that began last, SLURM would requeue all of them.
    """
    entry = next(iter(_entries(job) or ()), None)
    if entry is None:
        return False
    return _run("scontrol", "requeue", entry.shown if "_" in entry.shown else entry.id) is not None


def _entries(job: str) -> list[_Entry] | None:
    """What the queue has of this very job; None where that is no id, or the answer is missing or not understood."""
    if not _ID.fullmatch(job):
        return None
    done = _completed("squeue", f"--jobs={job}", "--all", "--states=all", "--noheader", f"--format={_ENTRY_FORMAT}")
    if done is None or (done.returncode and _UNKNOWN not in done.stderr):
        return None
    rows = [line.strip().split("|", 2) for line in done.stdout.splitlines()]
    if any(len(row) < len(_Entry._fields) for row in rows):
        return None
    # SLURM lists all tasks of an array, and all components of a heterogeneous job, for the id of the first
    return [entry for entry in map(_Entry._make, rows) if job in (entry.id, entry.shown)]


def _hides_jobs() -> bool:
    """An id may be unknown to us because the job is another user's; so it may, where that is not known."""
    config = _run("scontrol", "show", "config")
    return config is None or re.search(r"^PrivateData\s*=.*\bjobs\b", config, re.M) is not None


def _parsed(text: str) -> dict[str, Job]:
    rows = (line.strip().split("|", 3) for line in text.splitlines() if line.count("|") >= 3)
    jobs = [Job(*row) for row in rows]
    # in a federation a job may be listed twice: the cluster that has it is right
    return {job.id: job for job in sorted(jobs, key=lambda job: job.state != "REVOKED")}


def _run(*command: str) -> str | None:
    done = _completed(*command)
    return done.stdout if done is not None and done.returncode == 0 else None


def _completed(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",  # names of jobs may be in any encoding
            timeout=_SECONDS,
            env=environment.cleaned(os.environ, "slurm"),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
