"""Trials that a scheduler stops early: in sweep files, in the ledger, by Tune's own scheduler, and for real."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.fake_results import create_trial_folder, write_result
from support.stores import write_empty_store
from support.sweep_files import AXES, GOOD, Load, Problems, only, valid
from support.sweep_processes import result_mtimes, run_sweep

from suite import cli
from suite.config import SchedulerSettings
from suite.config.sweep_file import load_sweep
from suite.records import (
    StoppedEarly,
    newest_checkpoint,
    read_metrics,
    read_stopped,
    source_code,
    write_failure,
    write_stopped,
)
from suite.records.ledger import Ledger
from suite.sweep import __main__ as command
from suite.sweep import worker
from suite.sweep.early_stop import EPOCHS, METRIC, reported, with_recorded_stops
from suite.sweep.plan import make_plan
from suite.sweep.rungs import RungRecords
from suite.tracking.store import DATABASE

ASHA = SchedulerSettings(name="asha")


def searching(base: str = GOOD) -> str:
    return base.replace("name: t", "name: t\nsearch: grid", 1)


def with_scheduler(text: str, base: str = GOOD) -> str:
    return searching(base).replace("name: t", f"name: t\nscheduler: {text}", 1)


def stop(ledger: Ledger, trial_id: str, scheduler: SchedulerSettings = ASHA) -> None:
    write_stopped(create_trial_folder(ledger, trial_id), StoppedEarly(scheduler=scheduler.model_dump(), epochs=1))


# Sweep files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("asha", {"name": "asha"}),
        ("fifo", {}),
        ("{name: asha}", {"name": "asha"}),
        (
            "{name: asha, grace_epochs: 3, reduction_factor: 2}",
            {"name": "asha", "grace_epochs": 3, "reduction_factor": 2},
        ),
        ("{}", {}),
    ],
)
def test_schedulers(load: Load, text: str, settings: dict[str, Any]) -> None:
    sweep = load(with_scheduler(text))
    assert sweep.scheduler == SchedulerSettings(**settings)
    assert only(sweep).trial_id == only(load(searching())).trial_id  # it changes no numbers
    assert load(GOOD).scheduler.name == "fifo"


@pytest.mark.parametrize("text", ["asha", "{name: asha, grace_epochs: 3}"])
def test_only_a_search_stops_trials_early(problems: Problems, text: str) -> None:
    (line,) = problems(with_scheduler(text).replace("search: grid\n", ""))
    assert line.startswith("s.yaml: scheduler: ")
    assert line.endswith(": needs search: a trial that is stopped early never stands in a comparison")
    (line,) = problems(with_scheduler(text).replace("search: grid", "search: gird"))  # wrong, but there
    assert line.startswith("s.yaml: search.name")


def test_without_a_search_the_default_scheduler_may_be_named(load: Load) -> None:
    assert load(GOOD + "scheduler: fifo\n").trials == load(GOOD).trials


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ashe", "scheduler.name: \"ashe\": must be 'fifo' or 'asha'"),
        ("{name: 3}", "scheduler.name: 3: must be 'fifo' or 'asha'"),
        (
            "{name: asha, grace_epoch: 1}",
            f"scheduler.grace_epoch: 1: not a setting of scheduler; did you mean grace_epochs? "
            f"{valid(SchedulerSettings)}",
        ),
        ("{name: asha, grace_epochs: 0}", "scheduler.grace_epochs: 0: must be greater than or equal to 1"),
        ("{name: asha, reduction_factor: 1}", "scheduler.reduction_factor: 1: must be greater than or equal to 2"),
        ("{name: asha, reduction_factor: 2.5}", "scheduler.reduction_factor: 2.5: must be a valid integer"),
    ],
)
def test_mistakes(problems: Problems, text: str, problem: str) -> None:
    assert problems(with_scheduler(text)) == [f"s.yaml: {problem}"]


@pytest.mark.parametrize("text", ["[asha]", "null", "3"])
def test_what_is_no_scheduler(problems: Problems, text: str) -> None:
    (line,) = problems(with_scheduler(text))
    assert line.startswith("s.yaml: scheduler: ") and "must be a block" in line


def test_a_resolved_sweep_keeps_the_scheduler(load: Load, tmp_path: Path) -> None:
    sweep = load(with_scheduler("{name: asha, grace_epochs: 2}", AXES))
    ledger = Ledger(tmp_path / "results", sweep.scheduler)
    command._keep_resolved(sweep, ledger)
    kept = load_sweep(ledger.root / "sweeps" / "t.yaml")
    assert (kept.scheduler, kept.trials) == (sweep.scheduler, sweep.trials)


# The ledger ---------------------------------------------------------------------------------------------------------


def test_a_trial_is_stopped_for_the_scheduler_that_stopped_it(load: Load, tmp_path: Path) -> None:
    trial = only(load(GOOD))
    ledger = Ledger(tmp_path / "results", ASHA)
    assert ledger.state(trial) == "missing"
    stop(ledger, trial.trial_id)
    assert ledger.state(trial) == "stopped"
    others = [None, SchedulerSettings(), *(ASHA.model_copy(update={key: 2}) for key in ASHA.model_dump() if "_" in key)]
    for other in others:
        assert Ledger(ledger.root, other).state(trial) == "unfinished"
    write_failure(ledger.folder(trial.trial_id), trial.trial_id, ValueError("x"))
    assert ledger.state(trial) == "failed"
    write_result(ledger, trial)  # it had ended before it saw that it was to stop
    assert {Ledger(ledger.root, other).state(trial) for other in [ASHA, *others]} == {"done"}


def test_a_sweep_with_stopped_trials_is_complete(load: Load, tmp_path: Path) -> None:
    sweep = load(with_scheduler("asha", AXES))
    ledger, trials = Ledger(tmp_path / "results", sweep.scheduler), list(sweep.trials.values())
    for trial in trials[:2]:
        write_result(ledger, trial)
    for trial in trials[2:-1]:
        stop(ledger, trial.trial_id)
    plan = make_plan(sweep, ledger)
    assert list(plan.to_run) == [trials[-1].trial_id] and not plan.complete
    stop(ledger, trials[-1].trial_id)
    plan = make_plan(sweep, ledger, retry_failed=True)
    assert plan.complete and not plan.to_run and plan.counts == {"done": 2, "stopped": 4}
    other = make_plan(load(searching(AXES)), Ledger(ledger.root))
    assert not other.complete and other.counts == {"done": 2, "unfinished": 4}


# Tune's schedulers --------------------------------------------------------------------------------------------------


class Base:
    """A scheduler that stops whatever has done two epochs."""

    CONTINUE, STOP, PAUSE = "CONTINUE", "STOP", "PAUSE"

    def __init__(self, word: str = STOP) -> None:
        self.word, self.results, self.completed = word, list[int](), list[str]()

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self.results.append(result[EPOCHS])
        return self.word if result[EPOCHS] >= 2 else self.CONTINUE

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.completed.append(trial.trial_id)


def epoch(number: int, top1: float | None = 0.5) -> dict[str, Any]:
    return reported({"epoch": number, METRIC: top1})


def test_an_epoch_as_it_is_reported() -> None:
    assert reported({"epoch": 0, "x": 1.5}) == {"epoch": 0, "x": 1.5, EPOCHS: 1}


def test_a_decision_is_told_once_and_tune_goes_on() -> None:
    told: list[tuple[str, int]] = []
    scheduler = with_recorded_stops(Base)(lambda trial, epochs: told.append((trial.trial_id, epochs)))
    one, two = SimpleNamespace(trial_id="1"), SimpleNamespace(trial_id="2")
    assert [scheduler.on_trial_result(None, one, epoch(i)) for i in range(4)] == ["CONTINUE"] * 4
    assert told == [("1", 2)]
    assert scheduler.results == [1, 2]  # what a stopped trial still does is not counted
    assert scheduler.on_trial_result(None, two, {"other": 1}) == "CONTINUE"  # no epoch
    assert scheduler.on_trial_result(None, two, epoch(4)) == "CONTINUE"
    assert told == [("1", 2), ("2", 5)]


def test_ends_of_stopped_trials_and_of_those_without_an_epoch_are_not_passed_on() -> None:
    scheduler = with_recorded_stops(Base)(lambda *decision: None)
    trials = [SimpleNamespace(trial_id=str(i)) for i in range(3)]
    scheduler.on_trial_result(None, trials[0], epoch(3))
    for trial, last in zip(trials, (epoch(3), epoch(0), {}), strict=True):
        scheduler.on_trial_complete(None, trial, last)
    assert scheduler.completed == ["1"]


def test_no_other_word_stops_a_trial() -> None:
    told: list[Any] = []
    scheduler = with_recorded_stops(Base)(lambda *decision: told.append(decision), word=Base.PAUSE)
    assert scheduler.on_trial_result(None, SimpleNamespace(trial_id="1"), epoch(7)) == "CONTINUE"
    assert told == []


def test_the_real_scheduler() -> None:
    """Successive halving by hand: at 1, 2 and 4 epochs the better half goes on."""
    from ray.tune.schedulers import AsyncHyperBandScheduler

    told: list[tuple[str, int]] = []
    scheduler = with_recorded_stops(AsyncHyperBandScheduler)(
        lambda trial, epochs: told.append((trial.trial_id, epochs)),
        time_attr=EPOCHS,
        metric=METRIC,
        mode="max",
        grace_period=1,
        reduction_factor=2,
        max_t=10**9,
        stop_last_trials=False,
    )
    good, fair, bad, slow = (SimpleNamespace(trial_id=name) for name in ("good", "fair", "bad", "slow"))
    for trial in (good, fair, bad, slow):
        scheduler.on_trial_add(None, trial)

    def report(trial: Any, number: int, top1: float | None) -> None:
        assert scheduler.on_trial_result(None, trial, epoch(number, top1)) == "CONTINUE"

    report(good, 0, 0.8)  # nobody to compare with
    report(fair, 0, 0.9)
    assert told == []
    report(bad, 0, 0.1)
    assert told == [("bad", 1)]
    report(bad, 1, 0.99)  # until it has seen that it is stopped
    report(good, 1, 0.85)
    report(fair, 1, 0.7)
    assert told == [("bad", 1), ("fair", 2)]
    report(slow, 0, None)  # as a record has it that cannot say NaN
    report(slow, 0, float("nan"))  # diverged: that is for the trial to end
    for number in range(2, 9):
        report(good, number, 0.9)
    assert told == [("bad", 1), ("fair", 2)]
    for trial in (good, fair, bad):
        scheduler.on_trial_complete(None, trial, epoch(9))


# A real sweep -------------------------------------------------------------------------------------------------------

SWEEP = {
    "name": "early",
    "search": "grid",
    "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    "base": {"dataset": "digits", "epochs": 4, "global_batch_size": 4},  # slow enough to be stopped in time
    "grid": {
        "model": {"name": "conv2", "width_mult": 0.0625},
        "seed": 1,
        "method": {"name": "weights", "lr": [0.02, 0.01, 1e-5, 1e-6]},  # two at once, the good ones first
    },
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*noload.*")
def test_trials_of_a_real_sweep_are_stopped_beside_those_of_an_earlier_call_and_can_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "early.yaml"
    file.write_text(yaml.safe_dump(SWEEP))
    write_empty_store(tmp_path / "results" / DATABASE)
    inline = (file, "--launcher", "inline")
    status, said = run_sweep(*inline, "--part", "--only", "method.lr=0.02", cwd=tmp_path)  # without tables and MLflow
    assert status == 0, said
    status, said = run_sweep(*inline, cwd=tmp_path)
    assert status == 0, said
    sweep = load_sweep(file)
    ledger = Ledger(tmp_path / "results", sweep.scheduler)
    plan, first = make_plan(sweep, ledger), result_mtimes(tmp_path)
    stopped = {trial_id: ledger.folder(trial_id) for trial_id, state in plan.states.items() if state == "stopped"}
    assert stopped and first and len(stopped) + len(first) == 4 and plan.complete
    for folder in stopped.values():
        assert newest_checkpoint(folder) and not (folder / "result.json").exists()
        kept = read_stopped(folder)
        assert kept and kept.scheduler == SWEEP["scheduler"] and 1 <= kept.epochs < 4
        assert kept.epochs <= len(read_metrics(folder)) < 4
    before = {trial_id: read_metrics(folder) for trial_id, folder in stopped.items()}

    # The second call compared with the trial of the first one.
    good, *_, bad = sweep.trials
    assert good in first and bad in stopped
    kept = read_stopped(stopped[bad])
    assert kept and kept.epochs == 1
    rungs = RungRecords(ledger).read(sweep.trials, to_run=sweep.trials)  # as they were judged
    assert [set(rungs[trial_id]) for trial_id in (good, bad)] == [{1, 2, 4}, {1}]

    monkeypatch.chdir(tmp_path)
    assert cli.run(lambda: command.main([*map(str, inline)])) == 0
    said = capsys.readouterr().out
    assert "0 to run" in said or "are final, and the report is up to date" in said
    assert result_mtimes(tmp_path) == first
    assert {trial_id: read_metrics(folder) for trial_id, folder in stopped.items()} == before

    file.write_text(yaml.safe_dump({**SWEEP, "scheduler": "fifo"}))
    plan = make_plan(load_sweep(file), Ledger(ledger.root))
    assert {trial_id for trial_id, state in plan.states.items() if state == "unfinished"} == stopped.keys()
    rest = {"root": str(ledger.root), "data_dir": None, "launcher": "inline", "every_epoch": False}
    rest |= {"site": None, "stop": str(tmp_path / "stop"), "code_id": source_code.known_code_id()}
    monkeypatch.setenv("SUITE_CODE_ID", "")  # where the worker keeps it, taken back after this test
    units = [([trial_id], False) for trial_id in plan.to_run]
    for place in worker.write_unit_specs(tmp_path / "cells", units, plan.to_run, rest):
        worker.run(worker.read_unit_spec(tmp_path / "cells", place), lambda line: None)  # as processes of Ray do
    now = result_mtimes(tmp_path)
    assert len(now) == 4 and {trial_id: now[trial_id] for trial_id in first} == first
    for trial_id, folder in stopped.items():
        lines = read_metrics(folder)
        assert len(lines) == 4
        assert lines[: len(before[trial_id])] == before[trial_id]  # times and all: it went on from its checkpoint
        assert not (folder / "stopped.json").exists()
