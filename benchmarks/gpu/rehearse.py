"""Rehearse the run sheet: ``python -m benchmarks.gpu.rehearse`` (``make gpu-rehearse``).

All parts run on the CPU, with tiny sizes and Triton's interpreter, by a Python that has only the packages of the GPU
machine; numba refuses to be imported, as it does beside a numpy that is too new for it. What that Python lacks comes
from wheels. The digits for part 5 are written, too.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.gpu.wheels import PACKAGES
from suite.data import sources

ROOT = Path(__file__).parents[2]
INSTALLED = (  # on the GPU machine, with what they need
    *("torch", "triton", "numpy", "numba", "scipy", "scikit-learn", "pandas", "matplotlib", "safetensors"),
    *("pytest", "pytest-timeout", "pytest-xdist", "pyyaml", "rich", "tabulate", "jinja2"),
)
_SECONDS = 800  # a minute of a CPU's time, but others may use that CPU
_REFUSING = 'raise ImportError("Numba needs NumPy 2.4 or less. Got NumPy 2.5.")\n'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sheet; the exit status is that of ``python -m benchmarks.gpu``."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu.rehearse", description=__doc__)
    parser.add_argument("--parts", default="all", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for results; default: gpu/results-TIME")
    parser.add_argument(
        "--wheels", type=Path, metavar="FOLDER", help="of this Python; default: made of what is installed"
    )
    parser.add_argument("--digits", type=Path, default=ROOT / "gpu" / "digits.csv.gz", help="default: %(default)s")
    args = parser.parse_args(argv)
    write_digits(args.digits)
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(Path(folder, "python"))
        wheels = args.wheels or repack(Path(folder, "wheels"))
        command = [str(python), "-m", "benchmarks.gpu", "--device", "cpu", "--parts", args.parts]
        command += ["--seconds", str(_SECONDS)]
        command += ["--wheels", str(wheels.absolute()), "--digits", str(args.digits.absolute())]
        command += ["--out", str(args.out.absolute())] if args.out else []
        process = subprocess.Popen(command, cwd=ROOT, env=clean_environment())
        try:
            return process.wait()
        finally:
            process.terminate()
            process.wait()


def clean_environment() -> dict[str, str]:
    """That of this process, without what would lead to packages elsewhere."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "VIRTUAL_ENV"))}


def write_digits(path: Path) -> None:
    """Copy the file of digits that scikit-learn has; ``sources`` reads the same images from the copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sources._digits_file(), path)


def make_environment(folder: Path) -> Path:
    """A Python in ``folder`` that sees the packages of the GPU machine, and nothing else; returns its program."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for distribution in _with_needs(INSTALLED).values():
        for name in _top_levels(distribution):
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(distribution.locate_file(name))))
    (site / "numba").unlink()
    (site / "numba").mkdir()
    (site / "numba" / "__init__.py").write_text(_REFUSING)
    return folder / "bin" / "python"


def repack(folder: Path) -> Path:
    """Wheels of what is installed here, in ``folder``: they stand for those that ``make gpu-wheels`` downloads."""
    folder.mkdir()
    for name in PACKAGES:
        distribution = metadata.distribution(name)
        with zipfile.ZipFile(folder / f"{name}.whl", "w") as archive:
            for file in distribution.files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    archive.write(str(distribution.locate_file(file)), str(file))
    return folder


def _with_needs(names: Sequence[str]) -> dict[str, metadata.Distribution]:
    """Distributions by name, with those that they require on this platform."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            found[name] = metadata.distribution(name)
            needs = [Requirement(line) for line in found[name].requires or ()]
            waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def _top_levels(distribution: metadata.Distribution) -> Iterator[str]:
    """Folders and files of a distribution in site-packages."""
    yield from sorted({file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"})


if __name__ == "__main__":
    sys.exit(main())
