"""The records of a trial that other processes run, told as they appear."""

import time
from collections.abc import Callable
from pathlib import Path

from suite.records import EpochMetrics, read_metrics


class MetricsFollower:
    """The epochs of a running trial, each told once; ``seconds`` lie between two looks at its folder, at least."""

    def __init__(self, folder: Path, on_epoch: Callable[[EpochMetrics], None], seconds: float) -> None:
        self._folder, self._on_epoch, self._seconds = folder, on_epoch, seconds
        self._next, self._looked = 0, float("-inf")

    def poll_metrics(self, *, now: bool = False) -> None:
        """Tell what is new; not more often than a shared folder likes."""
        if time.monotonic() - self._looked < self._seconds and not now:
            return
        self._looked = time.monotonic()
        for line in read_metrics(self._folder)[self._next :]:
            self._next += 1
            self._on_epoch(line)  # type: ignore[arg-type] # what is not finite is None here
