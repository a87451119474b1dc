"""What a sweep shows on terminals of several widths: its start, middle, stop and end, for tests and for the docs."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.fake_results import create_trial_folder, write_result
from support.screens import Screen

from suite import status, terminal
from suite.config import Trial
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import write_failure
from suite.records.ledger import Ledger
from suite.status import StatusMonitor
from suite.sweep import plan_view
from suite.sweep.cost import estimate
from suite.sweep.plan import make_plan, what_is_saved
from suite.sweep.progress import SweepDisplay
from suite.sweep.result_view import show_results
from suite.sweep.time_left import TimeLeft

WIDTHS = (80, 200)
_SWEEP = """\
name: sparsity
base: {dataset: digits, epochs: 100, global_batch_size: 64}
grid:
  model: {name: conv2, width_mult: [0.0625, 0.25]}
  seed: [1, 2]
  method:
    - {name: weights, lr: 0.1}
    - {name: edge_popup, lr: 0.3, sparsity: [0.3, 0.5]}
    - {name: iterand, lr: 1.0, sparsity: 0.5}
"""
_TABLE = """\
dataset,model,width,method,n,planned,seeds,mean,low,high,parameters,kept
digits,conv2,0.0625,weights,2,2,1 2,0.9583,0.9073,0.9818,1670,1670
digits,conv2,0.0625,edge_popup sparsity=0.3,2,2,1 2,0.5263,0.4373,0.6095,1670,1169
digits,conv2,0.0625,edge_popup sparsity=0.5,1,2,1,0.5708,,,1670,860
digits,conv2,0.0625,iterand,2,2,1 2,0.8111,0.7540,0.8602,1670,860
digits,conv2,0.25,weights,2,2,1 2,0.9889,0.9717,0.9957,23738,23738
digits,conv2,0.25,edge_popup sparsity=0.3,2,2,1 2,0.9611,0.9130,0.9831,23738,16616
digits,conv2,0.25,edge_popup sparsity=0.5,0,2,,,,,,
digits,conv2,0.25,iterand,2,2,1 2,0.9500,0.9163,0.9893,23738,11954
"""
_DIFFERENCES = """\
dataset,model,width,method,minus,n,seeds,mean,half_width,low,high
digits,conv2,0.0625,iterand,weights,2,1 2,-0.1472,0.059,-0.2063,-0.0883
digits,conv2,0.25,iterand,weights,2,1 2,-0.0389,0.067,-0.1060,0.0282
"""


@contextlib.contextmanager
def on_terminal(columns: int) -> Iterator[Screen]:
    """The suite's console writes to a screen of so many columns: ``screen.text`` is what a person sees."""
    console, file = terminal.console, _Fed(Screen(columns))
    names = ("_file", "_force_terminal", "is_interactive", "_width", "_height")
    before = {name: getattr(console, name) for name in names}
    for name, value in zip(names, (file, True, True, columns, 50), strict=True):
        setattr(console, name, value)
    try:
        yield file.screen
    finally:
        for name, value in before.items():
            setattr(console, name, value)


class _Fed(io.StringIO):
    """A file whose text goes to a screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def write(self, text: str) -> int:
        self.screen.feed(text.replace("\n", "\r\n"))  # as a terminal's driver does
        return len(text)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A sweep whose trials begin and end as a test says, in the present folder."""

    def __init__(self) -> None:
        Path("sparsity.yaml").write_text(_SWEEP)
        self.sweep: Sweep = load_sweep("sparsity.yaml")
        self.ledger, self.clock = Ledger(Path("results")), Clock()
        self.ids = list(self.sweep.trials)
        left = TimeLeft(self.sweep.trials, {}, clock=self.clock)
        self.display = SweepDisplay(self.sweep.trials, self.ledger, left, self.clock)

    def trial(self, i: int) -> Trial:
        return self.sweep.trials[self.ids[i]]

    def begin(self, i: int) -> None:
        create_trial_folder(self.ledger, self.ids[i])
        self.display.started(self.ids[i])

    def epoch(self, i: int, epoch: int, val: float) -> None:
        self.display.epoch(self.ids[i], {"epoch": epoch, "val/top1": val, "timestamp": self.clock.now})

    def end(self, i: int, seconds: float, how: str = "done") -> None:
        if how == "failed":
            write_failure(create_trial_folder(self.ledger, self.ids[i]), self.ids[i], ValueError("x"))
        else:
            write_result(self.ledger, self.trial(i), status=how, seconds=seconds, num_epochs=100)
        self.display.ended(self.ids[i])

    def start(self) -> None:
        """What is said before the first trial runs."""
        plan = make_plan(self.sweep, self.ledger)
        plan_view.show_counts(plan, self.ledger)
        terminal.console.print(estimate(plan.to_run.values(), {}).text())
        self.display.__enter__()
        self.clock.now += 2
        self.display.phase("starting Ray")

    def run_half(self) -> None:
        """Six of sixteen trials end, one of them diverged and one failed; two run."""
        self.clock.now += 8
        for i in (0, 1):
            self.begin(i)
        for i, (seconds, how) in enumerate([(4.1, "done"), (5.2, "done"), (4.0, "diverged"), (0, "failed")]):
            self.clock.now += 3
            self.end(i, seconds, how)
            self.begin(i + 2)
        for i in (4, 5):
            self.clock.now += 3
            self.end(i, 4.5)
            self.begin(i + 2)
        self.epoch(6, 70, 0.906)
        self.epoch(7, 11, 0.472)
        self.display._panel.refresh()

    def stop(self) -> None:
        """Ctrl-C, and 17 seconds later."""
        self.display.stopping(60.0)
        self.clock.now += 17
        self.display._panel.refresh()

    def stopped(self) -> None:
        """The end of a sweep that was stopped."""
        self.display.__exit__()
        said = what_is_saved(make_plan(self.sweep, self.ledger), self.ledger)
        terminal.console.print(f"stopped: what is done is kept, {said}")


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """A sweep in a folder of its own."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Scene()
        finally:
            os.chdir(before)


def captures(columns: int) -> dict[str, str]:
    """What a terminal of so many columns shows: at the start, in the middle, after Ctrl-C, and at the end."""
    found = {}
    with scene() as made, on_terminal(columns) as screen:
        made.start()
        found["start"] = screen.text
        made.run_half()
        found["middle"] = screen.text
        made.stop()
        found["stop"] = screen.text
        made.stopped()
        found["stopped"] = screen.text
    found["end"] = end(columns)
    found["status"] = state(columns)
    return found


def end(columns: int) -> str:
    """What a finished sweep shows of its results."""
    with tempfile.TemporaryDirectory() as folder, on_terminal(columns) as screen:
        (Path(folder) / "table.csv").write_text(_TABLE)
        (Path(folder) / "differences.csv").write_text(_DIFFERENCES)
        assert show_results(Path(folder))
        return screen.text


def state(columns: int) -> str:
    """What ``suite.status`` shows while half of the trials are over."""
    with scene() as made, contextlib.redirect_stdout(io.StringIO()):
        made.run_half()
        rows = StatusMonitor(made.sweep, made.ledger).poll()
        with on_terminal(columns) as screen:
            terminal.show_table_with_notes([], "sparsity: sparsity.yaml", status.COLUMNS, rows)
            return screen.text


_SAID = {
    "start": "The sweep starts",
    "middle": "Trials run",
    "stop": "After Ctrl-C",
    "end": "Results, at the end of a sweep",
    "status": "python -m suite.status",
}


def terminal_page() -> str:
    """The page of the docs."""
    shown = {columns: captures(columns) for columns in WIDTHS}
    parts = [
        "# What a terminal shows",
        "<!-- Made by `make docs-reference`: change the code, then run it. -->",
        "This page shows a sweep on terminals of 80 and of 200 columns. A narrow terminal leaves out columns, the "
        "least important first. Colours tell done, stopped, diverged and failed trials apart. Output that is piped "
        "into a file or a program has all columns and all tables.",
    ]
    for key, title in _SAID.items():
        parts.append(f"## {title}")
        parts += [f"{columns} columns:\n\n```text\n{shown[columns][key]}```" for columns in WIDTHS]
    return "\n\n".join(parts) + "\n"
