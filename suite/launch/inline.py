"""Run one trial in this process."""

from collections.abc import Callable
from pathlib import Path

from suite.config import Trial
from suite.records import Result, write_failure
from suite.train import Line, train


def run(trial: Trial, folder: Path, *, data_dir: Path | None, on_epoch: Callable[[Line], None]) -> Result:
    """Train one trial; where it raises, leave why in its folder and raise on."""
    try:
        return train(trial, folder, data_dir=data_dir, on_epoch=on_epoch)
    except Exception as error:
        write_failure(folder, trial.trial_id, error)
        raise
