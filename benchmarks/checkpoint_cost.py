"""What checkpoints cost: ``python -m benchmarks.checkpoint_cost``.

Each network trains on made-up images of CIFAR's shape for some seconds, saving itself as often as a trial may with
``every_seconds: 0`` (so the cap ``max_time_share`` alone decides), and once more without saving, side by side in turns.
The share at the default period follows from the seconds of one save.
"""

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch

from suite.config import CheckpointSettings, Trial
from suite.data.arrays import ArrayData
from suite.data.sources import RawDataset
from suite.records import provenance
from suite.train import checkpoint
from suite.train.checkpoint_manager import CheckpointManager, Progress
from suite.train.setup import Run, build, configure_torch
from suite.train.step import train_step

NETS = (("conv6", 0.25), ("conv6", 1.0), ("resnet18", 1.0))
METHODS: dict[str, dict[str, Any]] = {
    "weights": {"lr": 0.1},
    "edge_popup": {"lr": 0.1, "sparsity": 0.5},
    "iterand": {"lr": 0.1, "sparsity": 0.5},
}
BATCH = 128
DEFAULT = CheckpointSettings()


@dataclass
class Timed:
    """Seconds of steps and of saves of one run, and the bytes of its last checkpoint."""

    steps: list[float] = field(default_factory=list)
    saves: list[float] = field(default_factory=list)
    total: float = 0.0
    size: int = 0

    @property
    def share(self) -> float:
        """Of the time, in saving."""
        return sum(self.saves) / self.total


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.checkpoint_cost", description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="of each run; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where checkpoints go: another file system than the temporary one")
    args = parser.parse_args()
    rows = []
    for model, width in NETS:
        for method in METHODS:
            rows.append(_row(model, width, method, args))
    cores, versions = len(os.sched_getaffinity(0)), provenance.versions()
    device = provenance.device_name(torch.device("cpu"))
    print(f"{device}, {cores} cores, 1 thread, torch {versions['torch']}; batch {BATCH}, fp32.")
    print(f"Each run {args.seconds:g} s; the cap max_time_share is {DEFAULT.max_time_share:.0%}.\n")
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g"))


def _row(model: str, width: float, method: str, args: argparse.Namespace) -> dict[str, Any]:
    run = _run(model, width, method)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        often = _train(run, Path(folder), {"every_seconds": 0.0}, args.seconds)
        never = _train(run, Path(folder), {"every_seconds": 1e9}, args.seconds / 2)
    save = statistics.median(often.saves)
    return {
        "network": f"{model} x{width:g}",
        "method": method,
        "parameters, M": sum(p.numel() for p in run.model.parameters()) / 1e6,
        "MB": often.size / 1e6,
        "ms a step": 1e3 * statistics.median(never.steps),
        "ms a save": 1e3 * save,
        "saves": len(often.saves),
        "share of time as often as allowed, %": 100 * often.share,
        f"share every {DEFAULT.every_seconds:g} s, %": 100 * save / DEFAULT.every_seconds,
    }


def _run(model: str, width: float, method: str) -> Run:
    trial = Trial.model_validate(
        {
            "dataset": {"name": "cifar10", "augment": "none"},
            "model": {"name": model, "width_mult": width},
            "method": {"name": method, **METHODS[method]},
            "seed": 1,
            "epochs": 1,
            "global_batch_size": BATCH,
        }
    )
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (8 * BATCH, 3, 32, 32), dtype=np.uint8)
    splits = {name: np.arange(8 * BATCH) for name in ("train", "val", "test")}
    source = RawDataset(images=images, labels=rng.integers(0, 10, 8 * BATCH), num_classes=10, splits=splits)
    device = configure_torch(trial)
    return build(trial, ArrayData.build(source, augment="none", device=device), device)


def _train(run: Run, folder: Path, settings: dict[str, float], seconds: float) -> Timed:
    run.trial = run.trial.model_copy(update={"checkpoint": CheckpointSettings(**settings)})
    timed, save = Timed(), checkpoint.save

    def timed_save(*args: Any, **options: Any) -> int:
        clock = time.perf_counter()
        timed.size = save(*args, **options)
        timed.saves.append(time.perf_counter() - clock)
        return timed.size

    with mock.patch.object(checkpoint, "save", timed_save):
        keeper = CheckpointManager(run, folder, lambda: False)
        progress = Progress(torch.zeros((), dtype=torch.float64))
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            for images, labels in run.data.train_batches(1, 0, BATCH):
                clock = time.perf_counter()
                train_step(run, images, labels, len(labels))
                timed.steps.append(time.perf_counter() - clock)
                progress.num_updates += 1
                keeper.after_step(progress)
        timed.total = time.perf_counter() - begun
    return timed


if __name__ == "__main__":
    main()
