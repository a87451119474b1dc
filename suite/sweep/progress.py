"""What the user sees of a sweep that runs."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from suite.config import InputError, Trial
from suite.config.varying import TrialNames
from suite.records import Result, read_metrics
from suite.records.ledger import FINAL, Ledger, State
from suite.sweep.cost import duration
from suite.sweep.time_left import TimeLeft
from suite.terminal import Line, LivePanel, console, say

_PLAIN_SECONDS = 5.0  # at most one line this often where the output is not a terminal
_STYLES = {"running": "bold", "done": "green", "stopped": "cyan", "diverged": "magenta"}  # others are red


class SweepDisplay:
    """How a sweep stands: a live panel on a terminal, with a line for each trial that ends; else a line now and then.

    Args:
        trials: are to run.
        ledger: knows how they end.
        left: how long they still take.
        clock: in seconds.
    """

    def __init__(
        self,
        trials: dict[str, Trial],
        ledger: Ledger,
        left: TimeLeft | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials, self._ledger, self._clock = trials, ledger, clock
        self._names, self._left = TrialNames(trials), left or TimeLeft(trials, {}, clock=clock)
        self._running: dict[str, dict[str, Any]] = {}
        self._ended: Counter[str] = Counter()
        self._epochs = dict.fromkeys(trials, 0)  # that are over
        self._said, self._phase = 0.0, ""
        self._stopping: tuple[int, float] | None = None  # trials that save themselves, and until when
        self._panel = LivePanel("epochs", sum(trial.epochs for trial in trials.values()), self._lines, clock)

    def __enter__(self) -> "SweepDisplay":
        self._panel.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._panel.stop()

    def phase(self, what: str) -> None:
        """What is done before the first trial starts: ``preparing data``."""
        self._phase = what
        self._show(f"{what} ...")

    def ray_died(self, *, asked: bool) -> int:
        """Ray is dead, and the sweep ends; returns the exit status. ``asked``: a signal asked all of it to stop."""
        self._panel.stop()
        what = "stopped, and Ray with it" if asked else "Ray was killed (out of memory?)"
        console.print(
            f"{what}: finished trials are kept, and the same command resumes the others from their last checkpoints"
        )
        console.file.flush()
        return 130 if asked else 1

    def stopping(self, seconds: float) -> None:
        """The sweep was asked to stop: running trials have so many seconds to save themselves; 0: none."""
        running = len(self._running)
        self._stopping = (running, self._clock() + seconds) if running and seconds else (0, 0.0)
        self._show(self._stopping_text())

    def started(self, trial_id: str) -> None:
        """A trial has begun."""
        self._phase = ""
        self._running[trial_id] = {}
        self._left.runs(len(self._running))
        with contextlib.suppress(InputError, OSError):  # garbled: the trial itself reports it
            self._over(trial_id, len(read_metrics(self._ledger.folder(trial_id))))

    def epoch(self, trial_id: str, line: dict[str, Any]) -> None:
        """A trial has reported an epoch."""
        self._running[trial_id] = line
        self._over(trial_id, line["epoch"] + 1, line.get("timestamp"))

    def ended(self, trial_id: str) -> None:
        """A trial's attempt is over; how, the ledger says."""
        self._running.pop(trial_id, None)
        trial = self._trials[trial_id]
        state, result = self._ledger.state(trial), self._ledger.result(trial)
        self._ended[state] += 1
        if state != "unfinished":
            self._over(trial_id, trial.epochs)
        if result:
            self._left.measured(trial_id, result.seconds, result.num_epochs)
        self._say_end(trial_id, state, result)

    def _show(self, news: str) -> None:
        """Draw the panel with what is new in it, or print that."""
        if self._panel.is_drawn:
            self._panel.refresh()
        else:
            console.print(news)

    def _over(self, trial_id: str, epochs: int, at: float | None = None) -> None:
        self._epochs[trial_id] = epochs
        if epochs:
            self._left.progress(trial_id, self._trials[trial_id].epochs - epochs, at)
        self._panel.update(sum(self._epochs.values()))

    def _say_end(self, trial_id: str, state: State, result: Result | None) -> None:
        over, now, name = self._ended.total(), self._clock(), self._names[trial_id]
        if state not in FINAL:
            say((f"{state}: {name}: {self._ledger.folder(trial_id)}", "red" if console.is_terminal else ""))
        elif console.is_terminal:
            say((f"{state:8}", _STYLES[state]), (f"  {_took(result)}  {name}", ""))
        elif now - self._said > _PLAIN_SECONDS or over == len(self._trials):
            self._said = now
            console.print(f"[{over}/{len(self._trials)}] {state}: {name}; {_plain(self._summary())}")

    def _summary(self) -> Line:
        counts = {"running": len(self._running), "done": 0, **self._ended}
        parts = [(f"{number} {state}", _STYLES.get(state, "red")) for state, number in counts.items()]
        waiting = len(self._trials) - self._ended.total() - len(self._running)
        left = self._left.seconds()
        rest = f"{waiting} waiting; {'time left: not known yet' if left is None else f'{duration(left)} left'}"
        return [piece for part in parts for piece in (part, (", ", ""))] + [(rest, "")]

    def _stopping_text(self) -> str:
        trials, until = self._stopping or (0, 0.0)
        if not trials:
            return "stopping now"
        seconds = max(0, round(until - self._clock()))
        saves = "1 trial saves itself" if trials == 1 else f"{trials} trials save themselves"
        return f"stopping: {saves}, at most {seconds} s; Ctrl-C again stops now"

    def _lines(self) -> list[Line]:
        first = [(self._stopping_text(), "bold yellow")] if self._stopping else self._summary()
        lines: list[Line] = [first, *([[(f"{self._phase} ...", "")]] if self._phase else [])]
        for trial_id, line in list(self._running.items()):
            epochs = self._trials[trial_id].epochs
            state = f"epoch {line['epoch'] + 1}/{epochs}, val {line['val/top1']:.3f}" if line else "starting"
            lines.append([(f"  {self._names[trial_id]}: {state}", "")])
        return lines


def _took(result: Result | None) -> str:
    """The time and the accuracy of a trial that has ended."""
    if result is None:
        return f"{'-':>7}  {'':11}"
    test, val = (result.metrics.get(f"{split}/top1") for split in ("test", "val"))
    value = f"test {test:.4f}" if test is not None else "" if val is None else f"val {val:.4f}"
    return f"{duration(result.seconds)}  {value:11}"


def _plain(line: Line) -> str:
    return "".join(text for text, _ in line)
