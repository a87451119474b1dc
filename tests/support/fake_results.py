"""Results that nobody trained: what tests of the ledger, tables and figures put into their records."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suite.config import Trial
from suite.records import Result, Writer
from suite.records.ledger import Ledger

DIGITS_ID = "e12a3fbdcab3941f"  # commands compare results with the data that is here


def fake_result(trial: Trial, **changes: Any) -> Result:
    """A made-up result: accuracy 80 % + the seed in points, parameters 1000 x width, half of them kept if masked."""
    accuracy, total = 0.8 + trial.seed / 100, int(1000 * trial.model.width_mult)
    made_up = {
        "trial_id": trial.trial_id,
        "status": "done",
        "config": trial.model_dump(mode="json"),
        "metrics": {"val/top1": accuracy - 0.1, "test/top1": accuracy if trial.evaluate_test else None},
        "test_predictions": [0] * 360 if trial.evaluate_test else None,
        "num_epochs": 1,
        "num_updates": 20,
        "params_total": total,
        "params_kept": total if trial.method.name == "weights" else total // 2,
        "state_bytes_per_weight": 12.0,
        "peak_memory_mb": 1.0,
        "seconds": 1.0,
        "started_at": 0.0,
        "data_id": data_id_of(trial),
        "code_id": "code",
        "git_commit": None,
        "versions": {"torch": "2.11"},
        "host": "host",
        "device": "CPU",
    }
    return Result.model_validate({**made_up, **changes})


def data_id_of(trial: Trial) -> str:
    """The data of a made-up result: as of real data sets, a part of the training images is other data."""
    part = getattr(trial.dataset, "train_images", None)
    if trial.dataset.name == "digits" and not part:
        return DIGITS_ID
    return f"data-{trial.dataset.name}" + (f"-{part}" if part else "")


def correctness_fields(right: Sequence[bool]) -> dict[str, Any]:
    """What changes in a made-up result of a small test set, of whose images these were right."""
    top1 = {"val/top1": float(np.mean(right)), "test/top1": float(np.mean(right))}
    correct = np.packbits(np.array(right)).tobytes().hex()
    return {"test_predictions": [0] * len(right), "test_correct": correct, "metrics": top1}


def create_trial_folder(ledger: Ledger, trial_id: str) -> Path:
    """The folder of a trial, which exists from now on."""
    folder = ledger.folder(trial_id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_result(ledger: Ledger, trial: Trial, **changes: Any) -> Result:
    """Put a made-up result into the ledger, as the trial would have left it."""
    result = fake_result(trial, **changes)
    Writer(create_trial_folder(ledger, trial.trial_id)).finish(result)
    return result
