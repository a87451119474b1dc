"""Wheels of what the GPU machine lacks: ``python -m benchmarks.gpu.wheels`` collects them (``make gpu-wheels``).

They are for Python 3.12 on Linux, whatever Python collects them. The runner unpacks them: the machine has no network.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "constriction")
PYTHON, MACHINE = "3.12", "x86_64"
PLATFORMS = tuple(f"manylinux{tag}_{MACHINE}" for tag in ("_2_28", "_2_17", "2014"))
MOST_BYTES = 40 * 10**6


def main(argv: Sequence[str] | None = None) -> int:
    """Download the wheels into a folder, those of another time in it replaced."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu.wheels", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "gpu" / "wheels", help="default: %(default)s")
    folder = parser.parse_args(argv).folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        done = subprocess.run(_command(fresh), check=False)
        if done.returncode:
            print(f"wheels: pip could not download all of {', '.join(PACKAGES)}", file=sys.stderr)
            return 1
        if problem := size_problem(Path(fresh)):
            print(problem, file=sys.stderr)
            return 1
        for old in folder.glob("*.whl"):
            old.unlink()
        for wheel in Path(fresh).glob("*.whl"):
            wheel.rename(folder / wheel.name)
    print("\n".join(f"{path.stat().st_size / 1e6:6.2f} MB  {path.name}" for path in sorted(folder.glob("*.whl"))))
    return 0


def _command(folder: str) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += [
        "--python-version",
        PYTHON,
        "--implementation",
        "cp",
        "--abi",
        "cp312",
        "--abi",
        "abi3",
        "--abi",
        "none",
    ]
    command += [option for platform in PLATFORMS for option in ("--platform", platform)]
    return [*command, "--constraint", str(ROOT / "constraints.txt"), "--dest", folder, *PACKAGES]


def size_problem(folder: Path) -> str:
    """What is wrong with the size of the wheels in a folder, "" where nothing is."""
    size = sum(path.stat().st_size for path in folder.glob("*.whl"))
    return f"wheels: {size / 1e6:.1f} MB: must be at most {MOST_BYTES / 1e6:.0f}" if size > MOST_BYTES else ""


def unpack(folder: Path, target: Path) -> list[str]:
    """Unpack the wheels of a folder; returns what was done, a line each."""
    found = sorted(folder.glob("*.whl"))
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    return [f"unpacked {wheel.name}" for wheel in found] or [f"{folder}: has no wheels (make gpu-wheels)"]


if __name__ == "__main__":
    sys.exit(main())
