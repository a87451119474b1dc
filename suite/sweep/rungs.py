"""The rungs of asha, kept with the trials: an interrupted search makes the decisions of an uninterrupted one.

``judged.json`` in a trial's folder holds what the scheduler compared: the ``val/top1`` at each rung the trial came to.
"""

import contextlib
import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from suite.config import InputError
from suite.records import read_metrics, read_stopped, write_text_atomic
from suite.records.ledger import Ledger
from suite.sweep.early_stop import METRIC

JUDGED = "judged.json"
Rungs = dict[int, float]  # val/top1 by the number of epochs at which it was judged


class Judged(BaseModel):
    """What ``judged.json`` holds: the scheduler, and what it judged a trial by."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scheduler: dict[str, Any]
    top1: Rungs


class RungRecords:
    """Which trials of a sweep its scheduler has judged at which rungs."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._settings = ledger, ledger.scheduler
        self._known: dict[str, Rungs] = {}

    def read(self, planned: Iterable[str], to_run: Collection[str]) -> dict[str, Rungs]:
        """The rungs of a sweep's trials, by trial_id.

        A trial that is to run counts where it was judged; its other epochs are judged once it reports them. One that
        is not to run counts at all rungs that it reached.

        Raises:
            InputError: a record is garbled.
        """
        self._known = {trial_id: self._rungs(trial_id, trial_id in to_run) for trial_id in planned}
        return {trial_id: rungs for trial_id, rungs in self._known.items() if rungs}

    def record(self, trial_id: str, epochs: int, top1: float) -> None:
        """Record a trial's metric after ``epochs``, if it has reached a new rung."""
        known, rung = self._known.setdefault(trial_id, {}), self._rung(epochs)
        if rung == 0 or rung in known or not math.isfinite(top1):
            return
        known[rung] = top1
        judged = Judged(scheduler=self._settings.model_dump(), top1=known)
        with contextlib.suppress(OSError):  # a full disk, say: the trial is judged again after an interruption
            write_text_atomic(self._ledger.folder(trial_id) / JUDGED, judged.model_dump_json())

    def _rungs(self, trial_id: str, runs: bool) -> Rungs:
        folder, ours = self._ledger.folder(trial_id), self._settings.model_dump()
        judged = _read(folder / JUDGED)
        rungs = judged.top1 if judged is not None and judged.scheduler == ours else {}
        if runs:
            return rungs
        stopped = read_stopped(folder)
        epochs = stopped.epochs if stopped is not None and stopped.scheduler == ours else None
        return self._reached(folder, epochs) | rungs  # nobody may have judged the last ones: the driver was away

    def _reached(self, folder: Path, epochs: int | None = None) -> Rungs:
        """The rungs that a trial reached in its first ``epochs``."""
        reached: Rungs = {}
        for line in read_metrics(folder)[:epochs]:
            rung, top1 = self._rung(int(line["epoch"] or 0) + 1), line.get(METRIC)
            if rung and top1 is not None:
                reached.setdefault(rung, top1)
        return reached

    def _rung(self, epochs: int) -> int:
        """The last rung of so many epochs; 0 before the first."""
        rung, following = 0, self._settings.grace_epochs
        while following <= epochs:
            rung, following = following, following * self._settings.reduction_factor
        return rung


def _read(path: Path) -> Judged | None:
    try:
        return Judged.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: is garbled ({first}): move it away, and the trial is judged again") from None
