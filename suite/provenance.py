"""Where a number comes from: versions, code, commit, device, memory."""

import hashlib
import platform
import resource
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

_HERE = Path(__file__).parent
_TRAINING_CODE = (
    "methods",
    "models",
    "data",
    "train",
    "evaluate.py",
    "distributed.py",
    "config.py",
)  # what can change numbers
_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn")


@cache
def code_id() -> str:
    """First 16 hex digits of SHA-256 over the source that training imports."""
    digest = hashlib.sha256()
    for part in _TRAINING_CODE:
        path = _HERE / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(_HERE).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def git_commit() -> str | None:
    """The commit of this checkout, with ``-dirty`` where files differ from it; None outside a checkout."""
    if not (_HERE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(_HERE.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that training uses."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device) -> str:
    """The model of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Forget earlier peaks of this process, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: sets VmHWM back to the present size
    except OSError:
        return


def peak_memory_mb(device: torch.device) -> float:
    """Peak of allocated device memory, or of the process's resident set, in MB (10^6 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
