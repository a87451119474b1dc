"""How long a sweep that runs still takes."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import median

from suite.config import Trial
from suite.sweep.cost import CostModel, kind_of

START_SECONDS = 10.0  # of Ray and of the first workers, before the first step


class TimeLeft:
    """Seconds until a sweep ends, from the seconds that its trials themselves say they took.

    What trials wait for Ray and for imports is in none of them, so the first ones do not make it ten times too long.
    A trial unlike any finished one takes as long as those, in proportion to its width.

    Args:
        trials: are to run, by trial_id.
        known: what like trials took in earlier runs.
        at_once: how many run at a time, as far as that is known.
        clock: in seconds.
    """

    def __init__(
        self,
        trials: Mapping[str, Trial],
        known: Mapping[str, CostModel],
        at_once: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._began, self._at_once = clock, clock(), at_once
        self._kinds = {trial_id: kind_of(trial.model_dump(mode="json")) for trial_id, trial in trials.items()}
        self._widths = {self._kinds[trial_id]: trial.model.width_mult for trial_id, trial in trials.items()}
        self._epochs = {trial_id: float(trial.epochs) for trial_id, trial in trials.items()}  # that are left
        self._known = {kind: known[kind].epoch for kind in self._widths if kind in known}
        self._measured: dict[str, list[float]] = defaultdict(list)
        self._running: dict[str, tuple[float, float]] = {}  # by trial: its first end of an epoch, and epochs left then
        self._paces: dict[str, float] = {}  # by kind, of trials that run
        self._first: float | None = None  # when an epoch was first seen to end

    def progress(self, trial_id: str, epochs_left: float, at: float | None = None) -> None:
        """A trial has so many epochs left, as of a time ``at``."""
        self._first = self._first or self._clock()
        self._epochs[trial_id] = epochs_left
        if at is not None:
            began, left_then = self._running.setdefault(trial_id, (at, epochs_left))
            if left_then > epochs_left:
                self._paces[self._kinds[trial_id]] = (at - began) / (left_then - epochs_left)

    def measured(self, trial_id: str, seconds: float, epochs: int) -> None:
        """A trial says that it took so many seconds."""
        self._measured[self._kinds[trial_id]].append(seconds / max(epochs, 1))

    def runs(self, trials: int) -> None:
        """So many trials run at this moment."""
        self._at_once = max(self._at_once, trials)

    def seconds(self) -> float | None:
        """The seconds left; None before anything is known."""
        paces = self._known | self._paces | {kind: median(seconds) for kind, seconds in list(self._measured.items())}
        if not paces:
            return None
        per_width = median(pace / self._widths[kind] for kind, pace in paces.items())
        each = [
            left * paces.get(kind, per_width * self._widths[kind])
            for kind, left in ((self._kinds[trial_id], left) for trial_id, left in self._epochs.items())
            if left
        ]
        to_start = max(0.0, START_SECONDS - (self._clock() - self._began)) if self._first is None else 0.0
        return max([sum(each) / min(self._at_once, len(each) or 1), *each]) + to_start
