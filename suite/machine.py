"""What this machine has. macOS has no CPU affinity and no ``/proc``."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from suite.config import InputError


def num_cpus() -> int:
    """Return the number of CPUs this process may use: its affinity and its CPU quota, whichever is less.

    A quota of 2.5 CPUs counts as 2. A system without affinity says how many CPUs there are.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return there if quota is None else max(1, min(there, int(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many CPUs the control groups of this process (v1 and v2) let it use, or None for no limit.

    Args:
        root: the folder in which ``proc`` and the mounted control groups are.
    """
    with suppress(OSError, ValueError, IndexError):
        return min((found for folder in _groups(root) if (found := _quota_of(folder)) is not None), default=None)
    return None


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the control groups of this process that may limit its CPU time, those above included."""
    lines = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    paths = {kind: path for _, kinds, path in lines for kind in kinds.split(",")}  # "" for v2
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        about, _, system = line.partition(" - ")
        kind, _, options = system.split()[:3]
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
        if controller is None or controller not in paths or (controller and controller not in options.split(",")):
            continue
        top, mount = about.split()[3:5]
        own = Path(paths[controller])
        below = own.relative_to(top) if own.is_relative_to(top) and ".." not in own.parts else Path()
        for folder in (below, *below.parents):  # a container may see its own group as the top
            yield root / mount.lstrip("/") / folder


def _quota_of(group: Path) -> float | None:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with suppress(OSError):
            quota, period = " ".join((group / name).read_text() for name in names).split()
            return None if quota in ("max", "-1") else int(quota) / int(period)
    return None


def free_memory(info: Path = Path("/proc/meminfo")) -> int | None:
    """Return how many bytes of memory programs can still get, or None where the system does not say.

    Args:
        info: the file of the kernel.
    """
    with suppress(OSError, ValueError, IndexError):
        lines = info.read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    return None


def num_gpus() -> int | None:
    """Return the number of NVIDIA GPUs that this process may use, by the driver's files; None where they do not say."""
    if Path("/dev/dxg").exists():  # Windows shares its GPUs without such files
        return None
    there = sum(1 for _ in Path("/dev").glob("nvidia[0-9]*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    named = [each for each in visible.split(",") if each.strip() and each.strip() != "-1"]
    return min(there, len(named)) if all(each.strip().isdigit() for each in named) else len(named)


def require_linux(what: str, instead: str) -> None:
    """Raise an error if this system is not Linux.

    Raises:
        InputError: it is not. The message names the setting ``what`` and what to do ``instead``.
    """
    if sys.platform != "linux":
        raise InputError(f"{what}: needs Linux, and this is {sys.platform}: {instead}")
