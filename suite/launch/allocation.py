"""Whether an allocation was worth what it cost: start-up can take all of its time, again and again."""

import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from suite.records import RESULT, newest_checkpoint

STARTED = "SUITE_JOB_STARTED"  # environment: when this job began, in seconds since 1970; its script sets it
_SHARE = 0.1  # of an allocation that a trial must train for
_FULL = 0.5  # of an allocation: one that ends sooner was ended by others, which says nothing of the trial


class Allocation:
    """Watches how a trial spends the time of one allocation.

    Args:
        seconds: from the beginning of a job to the signal before its time limit.
        folder: of the trial.
    """

    def __init__(self, seconds: float, folder: Path) -> None:
        self._seconds, self._folder = seconds, folder
        self._began, self._seen, self._step = 0.0, 0.0, 0

    def begin(self, step: int) -> None:
        """Training begins, from this step."""
        self._began, self._step = time.time(), step

    def watch(self, should_stop: Callable[[], bool]) -> Callable[[], bool]:
        """``should_stop``, which a trial calls after each step."""

        def watched() -> bool:
            self._seen = time.time()
            return should_stop()

        return watched

    def complaint(self) -> str | None:
        """What was wrong with an allocation that is over, in a line; None where it was not full, or worth it."""
        trained = max(0.0, self._seen - self._began) if self._began else 0.0
        steps = _step(self._folder) - self._step
        if not is_full(self._seconds) or (trained >= _SHARE * _elapsed() and steps > 1):
            return None
        return (
            f"{max(steps, 0)} steps in {trained:.0f} s, after {_elapsed() - trained:.0f} s of start-up; an allocation "
            f"leaves {self._seconds:.0f} s for both (timeout_min less signal_seconds): raise timeout_min"
        )


class PackAllocation:
    """The same for the trials of one job; ``folders`` are theirs."""

    def __init__(self, seconds: float, folders: Iterable[Path]) -> None:
        self._seconds = seconds
        self._steps = {folder: _step(folder) for folder in folders if not (folder / RESULT).exists()}

    def complaint(self) -> str | None:
        """As that of ``Allocation``; one trial that got further, or ended, is enough."""
        further = any((each / RESULT).exists() or _step(each) > step + 1 for each, step in self._steps.items())
        if further or not is_full(self._seconds):
            return None
        return (
            f"no trial got further than one step in {_elapsed():.0f} s; an allocation leaves {self._seconds:.0f} s "
            "(timeout_min less signal_seconds): raise timeout_min, or pack fewer trials"
        )


def is_full(seconds: float) -> bool:
    """This job has had a good part of so many seconds."""
    return _elapsed() >= _FULL * seconds


def _elapsed() -> float:
    now = time.time()
    return now - float(os.environ.get(STARTED) or now)


def _step(folder: Path) -> int:
    """The step of a trial's newest checkpoint; 0 where it has none."""
    found = re.match(r"checkpoint-(\d+)", newest_checkpoint(folder))
    return int(found[1]) if found else 0
