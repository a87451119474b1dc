"""What the user sees of a plan and of a sweep that runs."""

import time
from collections import deque
from typing import Any

from suite.config import Trial
from suite.config.sweep_file import Sweep
from suite.records.ledger import FINAL, Ledger
from suite.sweep.cost import duration
from suite.sweep.plan import Plan
from suite.terminal import LivePanel, console, show_table

_PLAIN_SECONDS = 5.0  # at most one line this often where the output is not a terminal


def label(trial: Trial) -> str:
    """A trial in one short line."""
    return f"{trial.method.name} {trial.model.name} x{trial.model.width_mult:g} {trial.dataset.name} seed {trial.seed}"


def show_plan(sweep: Sweep, plan: Plan, ledger: Ledger) -> None:
    """The dry run: each trial with what has become of it."""
    header = ("trial_id", "method", "model", "dataset", "seed", "state")
    rows = []
    for trial_id, trial in sweep.trials.items():
        state = "to run" if trial_id in plan.to_run else plan.found[trial_id].state
        model = f"{trial.model.name} x{trial.model.width_mult:g}"
        rows.append((trial_id, trial.method.name, model, trial.dataset.name, str(trial.seed), state))
    show_table(f"{sweep.name}: {sweep.path}", header, rows)
    show_counts(plan, ledger)


def show_counts(plan: Plan, ledger: Ledger) -> None:
    """One line: how many trials are in each state."""
    states = ", ".join(f"{number} {state}" for state, number in sorted(plan.counts.items()))
    console.print(f"{len(plan.found)} trials in {ledger.root}: {states}; {len(plan.to_run)} to run")


class SweepDisplay:
    """Done, running, failed and the time left: a live panel on a terminal, else a line now and then."""

    def __init__(self, trials: dict[str, Trial], ledger: Ledger) -> None:
        self._trials, self._ledger = trials, ledger
        self._running: dict[str, dict[str, Any]] = {}
        self._done, self._failed = 0, 0
        self._ends: deque[float] = deque(maxlen=21)  # of the last trials, for the time left
        self._said = 0.0
        self._panel = LivePanel("trials", len(trials), self._lines)

    def __enter__(self) -> "SweepDisplay":
        self._panel.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._panel.stop()

    def ray_died(self) -> None:
        """Ray is dead, and the sweep ends."""
        self._panel.stop()
        console.print(
            "Ray was killed (out of memory?): what is done is kept, and running trials go on from their last "
            "checkpoints: the same command goes on from here"
        )
        console.file.flush()

    def started(self, trial_id: str) -> None:
        """A trial has begun."""
        if not self._ends:
            self._ends.append(time.monotonic())
        self._running[trial_id] = {}

    def epoch(self, trial_id: str, line: dict[str, Any]) -> None:
        """A trial has reported an epoch."""
        self._running[trial_id] = line

    def ended(self, trial_id: str) -> None:
        """A trial's attempt is over; how, the ledger says."""
        self._running.pop(trial_id, None)
        self._ends.append(time.monotonic())
        state = self._ledger.state(self._trials[trial_id])
        final = state in FINAL
        self._done, self._failed = self._done + final, self._failed + (not final)
        over = self._done + self._failed
        self._panel.update(over)
        if not final:
            console.print(f"{state}: {label(self._trials[trial_id])}: {self._ledger.folder(trial_id)}")
        elif not console.is_terminal and (self._ends[-1] - self._said > _PLAIN_SECONDS or over == len(self._trials)):
            self._said = self._ends[-1]
            console.print(f"[{over}/{len(self._trials)}] {state}: {label(self._trials[trial_id])}; {self._summary()}")

    def _summary(self) -> str:
        return f"{len(self._running)} running, {self._failed} failed, {self._time_left()} left"

    def _time_left(self) -> str:
        if len(self._ends) < 2:
            return "?"
        pace = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        return duration(pace * (len(self._trials) - self._done - self._failed))

    def _lines(self) -> list[str]:
        lines = [self._summary()]
        for trial_id, line in list(self._running.items()):
            trial = self._trials[trial_id]
            state = f"epoch {line['epoch'] + 1}/{trial.epochs}, val {line['val/top1']:.3f}" if line else "starting"
            lines.append(f"  {label(trial)}: {state}")
        return lines
