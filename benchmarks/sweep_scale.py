"""What the sweep layer itself costs: ``python -m benchmarks.sweep_scale [--trials 3000] [--out PATH]``.

Trials that train nothing (``noop.py``) go through Ray Tune and the ledger as real ones do. Then ten thousand records
are made, and the commands that look at them are timed: each as a user calls it, in a process of its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks import noop
from benchmarks.report import header, write_table
from suite import records, tracking
from suite.config import Trial
from suite.config.sweep_file import load_sweep
from suite.records.ledger import Ledger

FEW = 100
REFERENCE = "Ray's own figure: 10,000 trials of one second on 16 cores in 715 s, of an ideal 625 s: 0.009 s a trial"
GOALS = {
    "a trial through Ray and the ledger, s": 0.06,
    "start-up, s": 15.0,
    "publishing, CPU s a trial": 0.1,
    "status, s": 5.0,
    "tables, s": 5.0,
    "--dry-run, s": 5.0,
}
SWEEP = """\
name: scale
base: {{dataset: digits, epochs: 1, global_batch_size: 64, model: {{name: conv2, width_mult: 0.0625}}}}
grid:
  seed: [{seeds}]
  method:
    - {{name: weights, lr: 0.1}}
    - {{name: iterand, lr: [0.1, 0.3, 1, 3], sparsity: 0.5}}
"""


def write_sweep(folder: Path, num_trials: int) -> Path:
    """A sweep of so many trials, five a seed."""
    path = folder / "scale.yaml"
    path.write_text(SWEEP.format(seeds=", ".join(map(str, range(num_trials // 5)))))
    return path


class TrialTimer:
    """Told by Tune how trials go: when the first began, and the memory of this process meanwhile."""

    def __init__(self) -> None:
        self.first = 0.0
        self.memory_mb: list[float] = []

    def started(self, trial_id: str) -> None:
        """The first trial has begun when start-up is over."""
        self.first = self.first or time.perf_counter()

    def epoch(self, trial_id: str, line: dict[str, Any]) -> None:
        """Nothing is shown."""

    def ray_died(self) -> None:
        """Ray has not died yet."""

    def ended(self, trial_id: str) -> None:
        """One more trial is done."""
        self.memory_mb.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6)


def run_noop(num_trials: int) -> None:
    """Run so many trials in this process; what it took, as JSON on the output."""
    from suite.sweep import tune

    tune._trainable = _noop
    with tempfile.TemporaryDirectory() as folder:
        sweep, watch = load_sweep(write_sweep(Path(folder), num_trials)), TrialTimer()
        start = time.perf_counter()
        tune.run(sweep.trials, Ledger(Path(folder) / "results"), data_dir=None, display=watch)
        done = len(list(Path(folder).glob("results/trials/*/result.json")))
    assert done == num_trials
    tenth = watch.memory_mb[num_trials // 10]
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - start,
                "start": watch.first - start,
                "growth": (watch.memory_mb[-1] - tenth) / (0.9 * num_trials) * 1000,
                "memory": watch.memory_mb[-1],
            }
        )
    )


def _noop(config: dict[str, Any]) -> None:
    """In a worker: in place of training."""
    from ray import tune

    from suite import launch
    from suite.sweep import worker

    launch.get = lambda *about: noop.run  # type: ignore[assignment]
    worker.run(worker.read_unit_spec(Path(config["file"]), config["at"]), tune.report)


def make_records(folder: Path, num_trials: int) -> Path:
    """A sweep all of whose trials are done."""
    path = write_sweep(folder, num_trials)
    ledger = Ledger(folder / "results")
    for trial_id, trial in load_sweep(path).trials.items():
        _make_record(ledger.folder(trial_id), trial)
    return path


def _make_record(folder: Path, trial: Trial) -> None:
    folder.mkdir(parents=True)
    line = {"epoch": 0, "step": 1, "timestamp": 1.0, "val/top1": 0.9}
    (folder / records.METRICS).write_text(json.dumps(line) + "\n")
    (folder / records.RESULT).write_text(noop.fake_result(trial).model_dump_json())


def time_commands(folder: Path, file: Path) -> dict[str, float]:
    """Seconds of each command: the first one makes the index."""
    commands = {
        "the first look, which makes the index, s": ["suite.sweep", str(file), "--dry-run"],
        "--dry-run, s": ["suite.sweep", str(file), "--dry-run"],
        "status, s": ["suite.status", str(file)],
        "tables, s": ["analysis.tables", str(file)],
        "figures, s": ["analysis.figures", str(file)],
    }
    taken = {}
    for name, command in commands.items():
        start = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run(
            [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True
        )
        taken[name] = time.perf_counter() - start
    return taken


def publishing(folder: Path, num_trials: int) -> dict[str, float]:
    """CPU seconds of publishing a trial, and of finding that it is published, to a SQLite store."""
    sweep, ledger = load_sweep(make_records(folder, num_trials)), Ledger(folder / "results")
    taken = {}
    for name in ("publishing", "publishing again"):
        start = time.process_time()
        tracking.publish(sweep, ledger, uri=None, report=[])
        taken[f"{name}, CPU s a trial"] = (time.process_time() - start) / num_trials
    return taken


def measured(num_trials: int, num_records: int) -> dict[str, float]:
    """All figures, by what they say."""
    runs = {num: _in_a_process(num) for num in (FEW, num_trials)}
    found = {
        "a trial through Ray and the ledger, s": (runs[num_trials]["seconds"] - runs[FEW]["seconds"])
        / (num_trials - FEW),
        "start-up, s": runs[num_trials]["start"],
        f"memory of the driver after {num_trials} trials, MB": runs[num_trials]["memory"],
        "its growth by 1,000 trials, MB": runs[num_trials]["growth"],
    }
    with tempfile.TemporaryDirectory() as folder:
        found |= time_commands(Path(folder), make_records(Path(folder), num_records))
    with tempfile.TemporaryDirectory() as folder:
        found |= publishing(Path(folder), 500)
    return found


def _in_a_process(num_trials: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sweep_scale", "--noop", str(num_trials)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    taken: dict[str, float] = json.loads(said.splitlines()[-1])
    return taken


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3000, help="that train nothing; default: %(default)s")
    parser.add_argument("--records", type=int, default=10_000, help="that are looked at; default: %(default)s")
    parser.add_argument("--out", metavar="PATH", help="of the table, without .csv")
    parser.add_argument("--noop", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.noop:
        run_noop(args.noop)
        return
    print(header(torch.device("cpu"), f"{args.trials:,} trials against {FEW}, {args.records:,} records. {REFERENCE}"))
    found = measured(args.trials, args.records)
    rows = [{"what": name, "measured": value, "goal": GOALS.get(name)} for name, value in found.items()]
    write_table(pd.DataFrame(rows), args.out)


if __name__ == "__main__":
    main()
