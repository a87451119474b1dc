"""An interrupted search stops the trials that a quiet one stops: what was judged is read from the records again."""

import itertools
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_results import create_trial_folder, write_result
from support.sweep_files import GOOD, Load

from suite.config import InputError, SchedulerSettings, Trial
from suite.records import METRICS, StoppedEarly, Writer, line_text, read_metrics, read_stopped, write_stopped
from suite.records.ledger import FINAL, Ledger
from suite.sweep import tune
from suite.sweep.early_stop import METRIC, reported
from suite.sweep.rungs import JUDGED, RungRecords

ASHA = SchedulerSettings(name="asha", reduction_factor=2)
EPOCHS = 9


@pytest.fixture
def trials(load: Load) -> dict[str, Trial]:
    text = GOOD.replace("seed: 1", f"seed: {list(range(8))}").replace("epochs: 2", f"epochs: {EPOCHS}")
    return load(text).trials


class Search:
    """A search whose trials report in an order, and with accuracies, of a seed."""

    def __init__(self, trials: dict[str, Trial], root: Path, seed: int) -> None:
        chance = random.Random(seed)
        self.trials, self.ledger, self.chance = trials, Ledger(root, ASHA), chance
        self.top1 = {(trial_id, epoch): chance.random() for trial_id in trials for epoch in range(EPOCHS)}
        times = {}
        for trial_id in trials:
            start, pace = 4 * chance.random(), 0.2 + chance.random()
            times |= {(trial_id, epoch): start + epoch * pace for epoch in range(EPOCHS)}
        self.coming = sorted(times, key=lambda report: times[report])

    def run(self, num_reports: int, *, unseen: bool = False, lost: bool = False) -> None:
        """One call of the command: it dies after some reports.

        Args:
            num_reports: epochs that trials report for the first time.
            unseen: one more is written, and the driver dies before it has judged it.
            lost: trials resume from older checkpoints, and make their last epochs again.
        """
        self._begin()
        for trial_id in self.running:
            lines = read_metrics(self._attempt(trial_id))
            for line in lines:  # as its worker does at once
                self._judge(trial_id, line)
            if lost:
                Writer(self._attempt(trial_id), lines[: self.chance.randint(0, len(lines))])  # type: ignore[arg-type]
        while num_reports and (report := self._next()):
            self._report(*report)
            num_reports -= 1
        if unseen and (report := self._next()):
            self._write(*report)

    def stopped(self) -> dict[str, int]:
        """After how many epochs the scheduler stopped trials."""
        found = {trial_id: read_stopped(self.ledger.folder(trial_id)) for trial_id in self.trials}
        return {trial_id: stopped.epochs for trial_id, stopped in found.items() if stopped}

    def _begin(self) -> None:
        to_run = {i: trial for i, trial in self.trials.items() if self.ledger.state(trial) not in FINAL}
        state: Any = SimpleNamespace(units=[[trial_id] for trial_id in to_run])
        self.scheduler = tune._scheduler(state, to_run, self.ledger, self.trials)
        self.running = {
            trial_id: SimpleNamespace(trial_id=f"{self.chance.random()}", config={"unit": unit})
            for unit, trial_id in enumerate(to_run)
        }
        for trial in self.running.values():
            self.scheduler.on_trial_add(None, trial)

    def _next(self) -> tuple[str, int] | None:
        while self.coming and self.ledger.state(self.trials[self.coming[0][0]]) in FINAL:
            self.coming.pop(0)
        return self.coming.pop(0) if self.coming else None

    def _report(self, trial_id: str, epoch: int) -> None:
        for missing in range(len(read_metrics(self._attempt(trial_id))), epoch):
            self._judge(trial_id, self._write(trial_id, missing))
        self._judge(trial_id, self._write(trial_id, epoch))

    def _write(self, trial_id: str, epoch: int) -> dict[str, Any]:
        line = {"epoch": epoch, METRIC: self.top1[trial_id, epoch]}
        with (self._attempt(trial_id) / METRICS).open("a") as file:
            file.write(line_text(line))
        return line

    def _judge(self, trial_id: str, line: dict[str, Any]) -> None:
        self.scheduler.on_trial_result(None, self.running[trial_id], reported(line))
        if line["epoch"] == EPOCHS - 1 and self.ledger.state(self.trials[trial_id]) not in FINAL:
            self.scheduler.on_trial_complete(None, self.running[trial_id], reported(line))
            lines = (self._attempt(trial_id) / METRICS).read_text()
            write_result(self.ledger, self.trials[trial_id])
            (self.ledger.folder(trial_id) / METRICS).write_text(lines)

    def _attempt(self, trial_id: str) -> Path:
        attempt = create_trial_folder(self.ledger, trial_id) / "attempt-1"
        attempt.mkdir(exist_ok=True)
        return attempt


@pytest.mark.parametrize(
    ("unseen", "lost"),
    [
        pytest.param(False, True, id="judged-lost"),
        pytest.param(True, False, id="unseen-saved"),
        pytest.param(False, False, id="judged-saved", marks=pytest.mark.slow),
        pytest.param(True, True, id="unseen-lost", marks=pytest.mark.slow),
    ],
)
def test_a_search_interrupted_at_any_report(trials: dict[str, Trial], unseen: bool, lost: bool, tmp_path: Path) -> None:
    quiet = Search(trials, tmp_path / "quiet", 0)
    quiet.run(10**6)
    assert len(trials) > len(quiet.stopped()) > len(trials) / 2
    for point in itertools.count(1):
        other = Search(trials, tmp_path / str(point), 0)
        other.run(point, unseen=unseen)
        if not other.coming:
            break
        other.run(10**6, lost=lost)
        assert other.stopped() == quiet.stopped(), f"after {point} reports"
    assert point > 20


@pytest.mark.parametrize(("seed", "every"), [(1, 1), (2, 2), (3, 3), (4, 5)])
@pytest.mark.parametrize("unseen", [False, True], ids=["judged", "unseen"])
def test_a_search_interrupted_again_and_again(
    trials: dict[str, Trial], unseen: bool, seed: int, every: int, tmp_path: Path
) -> None:
    quiet, other = (Search(trials, tmp_path / name, seed) for name in ("quiet", "other"))
    quiet.run(10**6)
    while other.coming:
        other.run(every, unseen=unseen, lost=True)
    other.run(0)
    assert other.stopped() == quiet.stopped()


# What the records say -----------------------------------------------------------------------------------------------


def write_lines(ledger: Ledger, trial: Trial, num: int, *, done: bool = False) -> None:
    """A trial that was never judged; its val/top1 is a tenth of the epoch's number."""
    folder = create_trial_folder(ledger, trial.trial_id)
    if done:
        write_result(ledger, trial)
    else:
        folder = folder / "attempt-1"
        folder.mkdir()
    lines = [{"epoch": epoch, METRIC: (epoch + 1) / 10} for epoch in range(num)]
    (folder / METRICS).write_text("".join(map(line_text, lines)))


def read(ledger: Ledger, trials: dict[str, Trial], to_run: tuple[str, ...] = ()) -> dict[str, dict[int, float]]:
    return RungRecords(ledger).read(trials, to_run)


def test_trials_of_other_sweeps_count_where_they_are_not_run(trials: dict[str, Trial], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ASHA)
    done, stopped, failed, unfinished, *_ = trials
    write_lines(ledger, trials[done], 9, done=True)
    write_lines(ledger, trials[stopped], 5)
    write_stopped(ledger.folder(stopped), StoppedEarly(scheduler=ASHA.model_dump(), epochs=2))
    write_lines(ledger, trials[failed], 3)
    write_lines(ledger, trials[unfinished], 3)
    assert read(ledger, trials, (unfinished,)) == {
        done: {1: 0.1, 2: 0.2, 4: 0.4, 8: 0.8},
        stopped: {1: 0.1, 2: 0.2},  # what it did until it saw that it was stopped does not count
        failed: {1: 0.1, 2: 0.2},
    }
    grace = Ledger(tmp_path, SchedulerSettings(name="asha", grace_epochs=3, reduction_factor=3))
    assert read(grace, trials, (stopped, unfinished)) == {done: {3: 0.3, 9: 0.9}, failed: {3: 0.3}}


def test_what_was_judged_is_kept_with_the_trial(trials: dict[str, Trial], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ASHA)
    first, second, *_ = trials
    create_trial_folder(ledger, first)
    records = RungRecords(ledger)
    for epochs in (1, 3, 3, 7, 4):
        records.record(first, epochs, epochs / 10)
    records.record(first, 9, float("nan"))
    records.record(second, 1, 0.5)  # its folder is gone: the search goes on
    for to_run in ((), (first, second)):
        assert read(ledger, trials, to_run) == {first: {1: 0.1, 2: 0.3, 4: 0.7}}
    other = Ledger(tmp_path, ASHA.model_copy(update={"grace_epochs": 2}))
    assert read(other, trials) == {}  # of another scheduler


def test_a_resumed_trial_is_not_judged_again(trials: dict[str, Trial], tmp_path: Path) -> None:
    """It was good enough when it came to its rung, and others came to it since; it is not to be stopped for that."""
    search = Search(trials, tmp_path, 0)
    early, *late = trials
    search._begin()
    for trial_id, top1 in [(early, 0.1), *((other, 0.9) for other in late)]:
        search.top1[trial_id, 0] = top1
        search._report(trial_id, 0)
    assert search.stopped() == {}
    search._begin()
    search._report(early, 0)
    search.top1[early, 1] = 0.95
    search._report(early, 1)
    assert search.stopped() == {}
    search.top1[late[0], 1] = 0.5
    search._report(late[0], 1)
    assert search.stopped() == {late[0]: 2}


def test_garbled_records_are_named(trials: dict[str, Trial], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ASHA)
    first, *_ = trials
    (create_trial_folder(ledger, first) / JUDGED).write_text("{")
    with pytest.raises(InputError, match=rf"{first}/{JUDGED}: is garbled .*: move it away, and the trial is judged"):
        read(ledger, trials)
