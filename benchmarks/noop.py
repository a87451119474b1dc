"""Trials that train nothing: one line of metrics and a result, written as a real trial writes them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.config import Trial
from suite.data.known_ids import KnownIds
from suite.launch.lease import Lease
from suite.records import EpochMetrics, Result, Writer

_known_ids = KnownIds(None)


def run(trial: Trial, folder: Path, *, on_epoch: Callable[[EpochMetrics], None], **rest: Any) -> Result:
    """The launcher of such trials: lease, records, rename; no torch."""
    line: EpochMetrics = {
        "epoch": 0,
        "step": 1,
        "timestamp": time.time(),
        "train/loss": 0.1,
        "val/loss": 0.2,
        "val/top1": 0.9,
    }
    with Lease.acquire(folder) as lease:
        writer = Writer(lease.folder)
        writer.epoch(line)
        on_epoch(line)
        result = fake_result(trial)
        writer.finish(result)
        lease.publish()
    return result


def fake_result(trial: Trial) -> Result:
    """A result that nobody trained."""
    accuracy = 0.8 + trial.seed % 100 / 1000
    return Result(
        trial_id=trial.trial_id,
        status="done",
        config=trial.model_dump(mode="json"),
        metrics={"val/top1": accuracy, "test/top1": accuracy, "train/loss": 0.1},
        test_predictions=[0] * 360,
        num_epochs=1,
        num_updates=1,
        params_total=1000,
        params_kept=500,
        state_bytes_per_weight=12.0,
        peak_memory_mb=1.0,
        seconds=0.0,
        started_at=time.time(),
        data_id=_known_ids(trial.dataset) or "none",
        code_id="none",
        git_commit=None,
        versions={"torch": "none"},
        host="none",
        device="none",
    )
