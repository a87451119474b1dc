"""What this machine has. macOS has no CPU affinity and no ``/proc``."""

import os
import sys

from suite.config import InputError


def num_cpus() -> int:
    """Return the number of CPUs this process may use, or of all CPUs if the system has no affinity."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_linux(what: str, instead: str) -> None:
    """Raise an error if this system is not Linux.

    Raises:
        InputError: it is not. The message names the setting ``what`` and what to do ``instead``.
    """
    if sys.platform != "linux":
        raise InputError(f"{what}: needs Linux, and this is {sys.platform}: {instead}")
