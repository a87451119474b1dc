"""What is asked of SLURM's controller: one query for all jobs at a time, cancelling, requeueing.

A controller that does not answer is busy or away: that says nothing about jobs.
"""

import os
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass

from suite.config import InputError

_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")
_SECONDS = 30.0  # for one answer
_FORMAT = "%i|%T|%j|%k"
GONE = "GONE"  # our word: the controller has forgotten it
OVER = frozenset(
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
        "REVOKED",
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


def check_slurm_available() -> None:
    """Raise InputError where this machine has no SLURM."""
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        raise InputError(
            f"--launcher slurm: no {', '.join(missing)} on PATH: run it on a login node of a SLURM cluster "
            "(some need `module load slurm` first); --launcher local needs none of it"
        )


def my_jobs() -> dict[str, Job] | None:
    """All jobs of this user that the controller still knows, ended ones for some minutes; None: it did not answer."""
    text = _run("squeue", "--me", "--states=all", "--noheader", f"--format={_FORMAT}")
    return None if text is None else _parsed(text)


def is_over(job: str) -> bool:
    """The controller says that a job has ended, or knows none of this id any more; False too where it is silent."""
    done = _completed("squeue", f"--jobs={job}", "--states=all", "--noheader", f"--format={_FORMAT}")
    if done is None:
        return False
    if done.returncode:
        return "Invalid job id" in done.stderr
    found = _parsed(done.stdout).get(job)
    return found is None or found.is_finished


def is_running(job: str) -> bool:
    """The controller says that a job runs, and is not about to end."""
    done = _completed("squeue", f"--jobs={job}", "--noheader", f"--format={_FORMAT}")
    found = _parsed(done.stdout).get(job) if done is not None else None
    return found is not None and found.state == "RUNNING"


def dry_run_submit(script: str) -> str | None:
    """What sbatch has against a batch script, None if nothing; nothing is queued."""
    done = _completed("sbatch", "--test-only", given=script)
    return None if done is None or done.returncode == 0 else done.stderr


def cancel(jobs: Collection[str]) -> bool:
    """Cancel jobs: TERM, some time to save themselves, KILL. True where the controller took it."""
    return not jobs or _run("scancel", *jobs) is not None


def requeue(job: str) -> bool:
    """Put a running job back into the queue: it begins again as the same job. True where the controller took it."""
    return _run("scontrol", "requeue", job) is not None


def _parsed(text: str) -> dict[str, Job]:
    rows = (line.strip().split("|", 3) for line in text.splitlines() if line.count("|") >= 3)
    return {row[0]: Job(*row) for row in rows}


def _run(*command: str) -> str | None:
    done = _completed(*command)
    return done.stdout if done is not None and done.returncode == 0 else None


def _completed(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str] | None:
    # SQUEUE_PARTITION and its like would hide jobs, SLURM_CLUSTERS would ask another cluster than sbatch does
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SLURM_CLUSTERS"))}
    environment = {**kept, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",  # names of jobs may be in any encoding
            timeout=_SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
