"""What happens to the trials of one sweep while Ray Tune runs them: one object per run. Does not import Ray."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

SAVE_SECONDS = 60.0  # for trials to save themselves after the sweep was asked to stop
Event = Literal["started", "epoch", "ended"]


class Display(Protocol):
    """Shows how the trials of a sweep proceed."""

    def started(self, trial_id: str) -> None:
        """A trial has begun."""

    def epoch(self, trial_id: str, line: dict[str, Any]) -> None:
        """A trial has reported an epoch."""

    def ended(self, trial_id: str) -> None:
        """A trial's attempt is over; the ledger knows how."""

    def phase(self, what: str) -> None:
        """What is done before the first trial starts."""

    def stopping(self, seconds: float) -> None:
        """The run was asked to stop: its trials have so many seconds to save themselves; 0: it ends at once."""

    def ray_died(self, *, asked: bool) -> int:
        """Ray is dead: the process ends after this, with the status returned. ``asked``: it was asked to stop."""


class RunState:
    """Which trials of a run have started and ended, and whether the run was asked to stop.

    Args:
        key: names the run; a pickle of this object holds nothing else, because nobody reads what Tune pickles.
        units: what Tune runs as one: the trial_ids of each unit.
        display: is called once for each start and end of a trial, and for its epochs.
        stop_file: workers stop their trials once it exists.
    """

    def __init__(self, key: str, units: Sequence[Sequence[str]], display: Display, stop_file: Path) -> None:
        self.key, self.units, self.display, self.stop_file = key, units, display, stop_file
        self._started: set[str] = set()
        self._ended: set[str] = set()
        self._skipped: set[str] = set()  # they started after the request to stop: they return at once
        self._stop_now: Callable[[], object] | None = None
        self._deadline = 0.0
        self.asked_to_stop = False

    def __getstate__(self) -> dict[str, str]:
        return {"key": self.key}

    @property
    def running(self) -> set[str]:
        """The trials that have started and not ended."""
        return self._started - self._ended

    @property
    def interrupted(self) -> bool:
        """The run was asked to stop, or Tune returned before all trials had ended."""
        return self.stop_file.exists() or any(trial_id not in self._ended for unit in self.units for trial_id in unit)

    def record(self, event: Event, unit: int, result: dict[str, Any] | None = None) -> None:
        """Note an event of a unit, and show it.

        Args:
            event: what happened.
            unit: its position in ``units``.
            result: what was reported with an epoch; in a pack of trials it names the trial, and may say that it ended.
        """
        trial_ids = self.units[unit]
        if event == "epoch" and result and (packed := result.get("of_trial")):
            trial_ids, event = [packed], "ended" if result.get("ended") else "epoch"
        for trial_id in trial_ids:
            self._record_one(event, trial_id, result or {})

    def _record_one(self, event: Event, trial_id: str, result: dict[str, Any]) -> None:
        if self._stop_now is not None and event == "started":
            self._skipped.add(trial_id)
        if event != "epoch":
            seen = self._started if event == "started" else self._ended
            if trial_id in seen:
                return
            seen.add(trial_id)
        if trial_id in self._skipped:
            return
        if event == "epoch":
            self.display.epoch(trial_id, result)
        else:
            getattr(self.display, event)(trial_id)

    def request_stop(self, stop_now: Callable[[], object], *, hastens: bool = True) -> None:
        """Ask running trials to save themselves; ``stop_now`` ends the run.

        A second request that ``hastens`` calls it at once; one that does not changes nothing.
        """
        if self.asked_to_stop:
            if hastens:
                self.display.stopping(0)
                stop_now()
            return
        self.asked_to_stop = True
        self.display.stopping(SAVE_SECONDS)
        self.stop_file.touch()
        self._stop_now, self._deadline = stop_now, time.monotonic() + SAVE_SECONDS

    def stop_if_saved(self) -> None:
        """End a run that was asked to stop, once no trial is running or ``SAVE_SECONDS`` have passed."""
        stop_now = self._stop_now
        if stop_now is not None and (not self.running or time.monotonic() > self._deadline):
            self._stop_now = None
            stop_now()
