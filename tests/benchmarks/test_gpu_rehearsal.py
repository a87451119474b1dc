"""The whole run sheet on the CPU, by a Python that lacks what the GPU machine lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import rehearse
from benchmarks.gpu.files import LOG, MOST_BYTES, MOST_FILES, SUMMARY, rows_of
from benchmarks.gpu.parts import PARTS

ROOT = Path(__file__).parents[2]
MISSING = ("pydantic", "constriction", "ray", "mlflow", "submitit", "nvidia.dali", "torchvision")
FOUND = (
    "torch",
    "triton",
    "numpy",
    "scipy",
    "sklearn",
    "pandas",
    "pytest_timeout",
    "xdist",
    "yaml",
    "rich",
    "tabulate",
)


def test_the_environment_is_that_of_the_gpu_machine(tmp_path: Path) -> None:
    python = rehearse.make_environment(tmp_path / "python")

    def imports(name: str) -> bool:
        command = [str(python), "-c", f"import importlib.util; importlib.util.find_spec({name!r}) or 1 / 0"]
        done = subprocess.run(command, env=rehearse.clean_environment(), capture_output=True, check=False)
        return done.returncode == 0

    assert not any(map(imports, MISSING))
    assert all(map(imports, (*FOUND, "jinja2", "safetensors", "matplotlib")))
    numba = subprocess.run([str(python), "-c", "import numba"], capture_output=True, text=True, check=False)
    assert "ImportError: Numba needs NumPy" in numba.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_parts_run_without_what_the_gpu_machine_lacks(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "benchmarks.gpu.rehearse", "--out", str(out), "--digits", str(tmp_path / "d.gz")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    rows = {part.name: list(rows_of(out / part.rows_file)) for part in PARTS}
    assert all(any(row["kind"] == "row" for row in found) for found in rows.values())
    assert not [row for found in rows.values() for row in found if row["kind"] in ("failed", "cut")]
    not_measured = [row["why"] for row in rows["tests"] if row["kind"] == "not measured"]
    assert not_measured and set(not_measured) == {"a CPU cannot rehearse it"}
    assert any(row["kind"] == "note" and row["why"].endswith("the numpy form serves") for row in rows["study"])
    files = sorted(path.name for path in out.iterdir())
    assert files == sorted([SUMMARY, LOG, "5_records.jsonl", *(part.rows_file for part in PARTS)])
    assert len(files) <= MOST_FILES and all((out / name).stat().st_size <= MOST_BYTES for name in files)
    assert all(f"| {part.number} {part.name} | ended |" in (out / SUMMARY).read_text() for part in PARTS)
