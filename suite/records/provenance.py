"""Where a number comes from: versions, device, memory. (Code and commit: ``suite.records.source_code``.)"""

import platform
import resource
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "pillow",
    "nvidia-dali-cuda130",
    "nvidia-dali-cuda120",
)


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that training uses; torch's with its build (``+cpu``, ``+cu130``)."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["torch"] = torch.__version__  # a wheel's metadata may leave the build out
    return found


def device_name(device: torch.device) -> str:
    """The model of the GPU, or of the processor with the instructions that torch uses on it: they decide bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    """On Linux with its family and model: virtual machines call every generation of a make by one name."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        first = ""
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    if "model name" not in said:
        return platform.processor() or platform.machine()
    numbers = [f"{key.split()[-1]} {said[key]}" for key in ("cpu family", "model") if key in said]
    return " ".join([said["model name"], *numbers])


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
        unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
