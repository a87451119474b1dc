"""Running the sweep command as a user does: a process of its own, with the real Ray."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def write_sweep(path: Path, *, epochs: int = 2, seeds: tuple[int, ...] = (1, 2), width: float = 0.0625) -> Path:
    """A sweep of the three methods on digits: 3 trials a seed."""
    masked = {"lr": 0.3, "sparsity": 0.5}
    sweep = {
        "name": "tiny",
        "base": {"dataset": "digits", "epochs": epochs, "global_batch_size": 64},
        "grid": {
            "model": {"name": "conv2", "width_mult": [width]},
            "seed": list(seeds),
            "method": [
                {"name": "weights", "lr": 0.02},
                {"name": "edge_popup", **masked},
                {"name": "iterand", **masked, "rerandomize_every": 10},
            ],
        },
    }
    path.write_text(yaml.safe_dump(sweep))
    return path


def start_sweep(*args: object, cwd: Path, root: Path = ROOT) -> subprocess.Popen[str]:
    """The sweep command of a checkout, started in a session of its own, results in ``cwd/results``."""
    return subprocess.Popen(
        [sys.executable, "-m", "suite.sweep", *map(str, args)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_sweep(*args: object, cwd: Path, timeout: float = 240) -> tuple[int, str]:
    """Exit status and output of the sweep command."""
    process = start_sweep(*args, cwd=cwd)
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, output


def result_mtimes(cwd: Path) -> dict[str, float]:
    """trial_id -> when its result was written, of the trials that are final."""
    return {path.parent.name: path.stat().st_mtime_ns for path in cwd.glob("results/trials/*/result.json")}
