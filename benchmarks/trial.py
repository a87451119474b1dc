"""Where the CPU seconds of a small trial go: ``python -m benchmarks.trial [--beside CHECKOUT] [--out PATH]``.

Trials of the default sweep, each in a process of its own, as ``python -m suite.train`` runs them. Those of another
checkout of the suite run in turns with ours.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks import timed_trial
from benchmarks.report import header, write_table

HERE = Path(__file__).parents[1]
WIDTHS = (0.0625, 0.25)
WHOLE, END = "whole", "end of process"
PARTS = (
    WHOLE,
    timed_trial.START,
    "forward and backward",
    "update",
    "batches",
    "evaluation",
    "masks counted",
    "identity of code",
    "records",
    "stops and checkpoints",
    "data and network",
    "rest",
    END,
)


def seconds(checkout: Path, method: str, width: float, epochs: int) -> dict[str, float]:
    """CPU seconds of one trial by part, with those that its process takes to end."""
    command = [sys.executable, str(Path(timed_trial.__file__)), method, str(width), str(epochs)]
    environment = os.environ | {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    parts: dict[str, float] = json.loads(done.stdout)
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**parts, WHOLE: whole, END: whole - sum(parts.values())}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser("python -m benchmarks.trial", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=100, help="of a trial; default: %(default)s")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="trials of this copy of the suite, too")
    parser.add_argument("--out", metavar="PATH", help="of the table, without .csv")
    args = parser.parse_args()
    told = f"CPU seconds of trials of {args.epochs} epochs, conv2 on digits: medians of {args.rounds} rounds in turns"
    print(header(torch.device("cpu"), told))
    checkouts = [each.absolute() for each in (args.beside, HERE) if each]
    cases = [(method, width) for width in WIDTHS for method in timed_trial.METHODS]
    taken: dict[Any, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(args.rounds):
        for case in cases:
            for checkout in checkouts[:: 1 if number % 2 else -1]:
                for part, value in seconds(checkout, *case, args.epochs).items():
                    taken[case, checkout][part].append(value)
    write_table(pd.DataFrame([_row(part, cases, checkouts, taken) for part in PARTS]), args.out)


def _row(
    part: str, cases: list[Any], checkouts: list[Path], taken: dict[Any, dict[str, list[float]]]
) -> dict[str, str]:
    row = {"CPU seconds": part}
    for method, width in cases:
        found = [statistics.median(taken[(method, width), each][part] or [0.0]) for each in checkouts]
        row[f"{method} x{width}"] = " -> ".join(f"{value:.2f}" for value in found)
    return row


if __name__ == "__main__":
    main()
