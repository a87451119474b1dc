"""What this machine has. Linux has all that the suite can use; a Mac has no CPU affinity and no ``/proc``."""

import os
import sys

from suite.config import InputError


def num_cpus() -> int:
    """CPUs that this process may use, or all of them where the system keeps no such set."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_linux(what: str, instead: str) -> None:
    """Refuse what was only ever run on Linux.

    Raises:
        InputError: this is another system. It names ``what``, a setting, and says what to do ``instead``.
    """
    if sys.platform != "linux":
        raise InputError(f"{what}: needs Linux, and this is {sys.platform}: {instead}")
