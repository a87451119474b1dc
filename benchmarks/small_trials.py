"""How many small trials should share a machine: ``python -m benchmarks.small_trials [--out PATH]``.

The same trials as a sweep, with more of them at once or more threads for each; trials an hour, side by side. Start-up
is left out: from the first trial's beginning to the last one's end, by their records.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch

from benchmarks.report import header, write_table

SWEEP = """\
name: small
base: {{dataset: digits, epochs: {epochs}, global_batch_size: 64, evaluate_test: false}}
grid:
  model: {model}
  seed: [{seeds}]
  method: {{name: iterand, lr: 0.3, sparsity: 0.5}}
"""
MODELS = {  # with so many epochs that a trial takes some seconds
    "{name: conv2, width_mult: 0.25}": 60,
    "{name: conv2, width_mult: 1.0}": 10,
    "{name: resnet18, width_mult: 0.25}": 3,
}


def trials_an_hour(model: str, epochs: int, threads: int, cpus: float, num_trials: int) -> float:
    """Run such trials as a sweep, each with so many threads and its share of the CPUs."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = ", ".join(map(str, range(num_trials)))
        Path(folder, "small.yaml").write_text(SWEEP.format(model=model, epochs=epochs, seeds=seeds))
        command = [sys.executable, "-m", "suite.sweep", "small.yaml"]
        command += ["--set", f"threads={threads}", "--set", f"resources.cpus={cpus}"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
        results = [json.loads(path.read_text()) for path in Path(folder).glob("results/trials/*/result.json")]
    assert len(results) == num_trials
    begin = min(result["started_at"] for result in results)
    return num_trials / (max(result["started_at"] + result["seconds"] for result in results) - begin) * 3600


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8, help="in each sweep; default: %(default)s")
    parser.add_argument("--out", metavar="PATH", help="of the table, without .csv")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(header(torch.device("cpu"), f"{args.trials} trials a sweep; a share of 1 is one trial a core"))
    ways = [(1, 1.0), (cores, float(cores)), (1, 0.5), (1, 0.25)]  # threads, CPUs of a trial
    rows = []
    for model, epochs in MODELS.items():
        row: dict[str, object] = {"model": model.strip("{}").replace("name: ", "").replace(", width_mult:", "")}
        base = 0.0
        for threads, cpus in ways:
            rate = trials_an_hour(model, epochs, threads, cpus, args.trials)
            base = base or rate
            row[f"{threads} thread(s), cpus: {cpus:g}, {int(cores / cpus)} at once"] = rate / base
        row["trials an hour at 1"] = round(base)
        rows.append(row)
    write_table(pd.DataFrame(rows), args.out)


if __name__ == "__main__":
    main()
