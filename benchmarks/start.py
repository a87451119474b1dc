"""Start and end of a sweep: ``python -m benchmarks.start [--rounds 5] [--out PATH]``.

A sweep of three tiny trials from the command to its last line, against starting Ray alone, in turn on one machine; then
the same command with nothing to do, ``--dry-run`` and ``suite.status``. Each is a process of its own.

The first round has no bytecode and no font cache, as the first run after an installation; the others find those that it
left. The files themselves are in the memory of the machine in all rounds but, at most, the first.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from benchmarks.report import header, write_table

ROOT = Path(__file__).parents[1]
SWEEP = """\
name: tiny
base: {dataset: digits, epochs: 1, global_batch_size: 64, model: {name: conv2, width_mult: 0.0625}}
grid:
  seed: [0]
  method:
    - {name: weights, lr: 0.1}
    - {name: edge_popup, lr: 0.3, sparsity: 0.5}
    - {name: iterand, lr: 0.3, sparsity: 0.5}
"""
RAY = "import ray, torch; ray.init()"
COMMANDS = {  # in the order of a round
    RAY: ["-c", RAY],
    "a sweep of three tiny trials": ["-m", "suite.sweep", "tiny.yaml"],
    "the same again: nothing to do": ["-m", "suite.sweep", "tiny.yaml"],
    "--dry-run": ["-m", "suite.sweep", "tiny.yaml", "--dry-run"],
    "status": ["-m", "suite.status", "tiny.yaml"],
}
RATIO_GOALS = {"a sweep of three tiny trials": 1.6}
SECONDS_GOALS = {"the same again: nothing to do": 3.0, "--dry-run": 1.0, "status": 1.0}
_PAUSE_SECONDS = 2.0  # Ray's servers end a moment after the process that started them


def one_round(folder: Path, environment: dict[str, str]) -> dict[str, float]:
    """Seconds of each command, the sweep without results of an earlier round."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    taken = {}
    for name, command in COMMANDS.items():
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        taken[name] = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")
        time.sleep(_PAUSE_SECONDS)
    return taken


def measured(rounds: int) -> list[dict[str, float]]:
    """Seconds of each command, by round."""
    with tempfile.TemporaryDirectory(prefix="start-") as name:
        folder = Path(name)
        (folder / "tiny.yaml").write_text(SWEEP)
        caches = {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "MPLCONFIGDIR": str(folder / "matplotlib")}
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment = {**kept, **caches, "PYTHONPATH": str(ROOT)}
        return [one_round(folder, environment) for _ in range(1 + rounds)]


def table(found: list[dict[str, float]]) -> pd.DataFrame:
    """Medians of all rounds but the first, and the first beside them."""
    first, *others = found
    rows = []
    for name in COMMANDS:
        ratios = [taken[name] / taken[RAY] for taken in others]
        rows.append(
            {
                "what": name,
                "seconds": statistics.median(taken[name] for taken in others),
                "goal, s": SECONDS_GOALS.get(name),
                "ratio to Ray": statistics.median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
                "goal, ratio": RATIO_GOALS.get(name),
                "first run, s": first[name],
                "its ratio": first[name] / first[RAY],
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="besides the first; default: %(default)s")
    parser.add_argument("--out", metavar="PATH", help="of the table, without .csv")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    print(header(torch.device("cpu"), f"{args.rounds} rounds and a first one; medians; load of the machine {load:.1f}"))
    write_table(table(measured(args.rounds)), args.out)


if __name__ == "__main__":
    main()
