"""Sweeps with made-up results: what tables and figures are tested on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.config import Trial
from suite.ledger import Ledger
from suite.records import Result, Writer
from suite.sweepfile import Sweep, load_sweep

TWO_METHODS = """\
name: two_methods
base: {dataset: digits, epochs: 1, global_batch_size: 64}
grid:
  model: {name: conv2, width_mult: [0.5, 0.25]}
  seed: [1, 2, 3]
  method:
    - {name: weights, lr: 0.1}
    - {name: edge_popup, lr: 0.1, sparsity: 0.5}
"""


def result_of(trial: Trial, **changes: Any) -> Result:
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
        "data_id": f"data-{trial.dataset.name}",
        "code_id": "code",
        "git_commit": None,
        "versions": {"torch": "2.11"},
        "host": "host",
        "device": "CPU",
    }
    return Result.model_validate({**made_up, **changes})


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Load a sweep, with words of its text replaced."""

    def sweep(*replaced: tuple[str, str], text: str = TWO_METHODS) -> Sweep:
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "sweep.yaml").write_text(text)
        return load_sweep(tmp_path / "sweep.yaml")

    return sweep


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Ledger]:
    """A ledger with a result for each trial; ``change(trial)`` gives what is not made up, or None for no result."""

    def fill(sweep: Sweep, change: Callable[[Trial], dict[str, Any] | None] = lambda trial: {}) -> Ledger:
        ledger = Ledger(tmp_path / "results")
        for trial in sweep.trials.values():
            changes = change(trial)
            if changes is not None:
                Writer(ledger.folder(trial.trial_id)).finish(result_of(trial, **changes))
        return ledger

    return fill
