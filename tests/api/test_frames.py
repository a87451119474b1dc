"""Results as data frames: a row for each trial, or for each epoch."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.fake_results import create_trial_folder, fake_result, write_result
from support.sweep_files import AXES, GOOD, Load

import suite
from suite.config import Trial
from suite.config.sweep_file import Sweep
from suite.records import Stored, Writer, write_failure
from suite.records.ledger import Ledger

LEDGER = Ledger(Path("results"))


@pytest.fixture
def sweep(load: Load) -> Sweep:
    """Six trials: two seeds of weights and of edge-popup at two sparsities."""
    return load(AXES)


@pytest.fixture
def trials(sweep: Sweep) -> list[Trial]:
    return list(sweep.trials.values())


def write(trial: Trial, lines: list[dict[str, Any]], **changes: Any) -> None:
    writer = Writer(create_trial_folder(LEDGER, trial.trial_id), lines)
    writer.finish(fake_result(trial, **changes))


def test_a_row_is_a_trial_with_its_settings_metrics_and_provenance(sweep: Sweep, trials: list[Trial]) -> None:
    ticket = [Stored(form="ticket", bytes=1234)]
    for trial in trials:
        write_result(LEDGER, trial, stored=ticket if trial.method.name == "edge_popup" else [])
    frame = suite.results("s.yaml")
    assert list(frame["trial_id"]) == list(sweep.trials) and set(frame["status"]) == {"done"}
    assert list(frame["seed"]) == [1, 1, 1, 2, 2, 2] and frame["seed"].dtype == "int64"
    assert list(frame["method.sparsity"][1:3]) == [0.3, 0.6] and pd.isna(frame["method.sparsity"][0])
    assert list(frame["test/top1"]) == [0.8 + trial.seed / 100 for trial in trials]
    row = frame.iloc[1]
    assert (row["dataset.name"], row["model.width_mult"], row["method.name"]) == ("digits", 0.5, "edge_popup")
    assert (row["code_id"], row["versions.torch"], row["host"]) == ("code", "2.11", "host")
    assert (row["bytes.ticket"], row["params_kept"], row["seconds"]) == (1234, 250, 1.0) and row["record_bytes"] > 100


def test_trials_without_a_result_are_rows_too(sweep: Sweep, trials: list[Trial]) -> None:
    write_result(LEDGER, trials[0])
    write_result(LEDGER, trials[1], status="diverged", metrics={"val/top1": None})
    write_failure(create_trial_folder(LEDGER, trials[2].trial_id), trials[2].trial_id, ValueError("x"))
    create_trial_folder(LEDGER, trials[3].trial_id)
    frame = suite.results(sweep)
    assert list(frame["status"]) == ["done", "diverged", "failed", "unfinished", "missing", "missing"]
    assert frame["test/top1"].notna().tolist() == [True] + 5 * [False]
    assert frame["method.lr"].notna().all()


def test_only_what_was_asked_for(sweep: Sweep, trials: list[Trial]) -> None:
    for trial in trials:
        write_result(LEDGER, trial)
    assert len(suite.results(suite.load_sweep("s.yaml", only="method=weights"))) == 2


def test_epochs_have_the_settings_that_differ(sweep: Sweep, trials: list[Trial]) -> None:
    for trial in trials[:2]:
        write(trial, [{"epoch": i, "val/top1": 0.1 * i} for i in range(3)])
    attempt = create_trial_folder(LEDGER, trials[2].trial_id) / "attempt-1"
    attempt.mkdir()
    Writer(attempt, [{"epoch": 0, "val/top1": 0.5}])
    frame = suite.epochs(sweep)
    assert list(frame["trial_id"]) == [trials[i].trial_id for i in (0, 0, 0, 1, 1, 1, 2)]
    assert list(frame["epoch"]) == [0, 1, 2, 0, 1, 2, 0]
    names = ["trial_id", "method.name", "method.distribution", "seed"]
    assert set(names) <= set(frame.columns) and "model.name" not in frame.columns and "epochs" not in frame.columns
    assert frame.pivot_table("val/top1", "epoch", "method.sparsity").loc[0, 0.6] == 0.5


def test_epochs_of_one_trial_and_of_none(load: Load) -> None:
    sweep = load(GOOD)
    Path("results").mkdir()
    assert len(suite.epochs(sweep)) == 0
    write(next(iter(sweep.trials.values())), [{"epoch": 0, "val/top1": 0.5}])
    assert list(suite.epochs(sweep).columns) == ["trial_id", "epoch", "val/top1"]


@pytest.mark.parametrize("read", [suite.results, suite.epochs])
def test_a_folder_that_is_none_is_a_mistake(read: Any, sweep: Sweep) -> None:
    with pytest.raises(suite.InputError, match=r"^nowhere: no such folder: name one with the results of sweeps"):
        read(sweep, "nowhere")


def test_records_that_cannot_be_used_are_named(sweep: Sweep, trials: list[Trial]) -> None:
    (create_trial_folder(LEDGER, trials[0].trial_id) / "result.json").write_text("{")
    with pytest.raises(suite.InputError, match=r"result.json: is garbled"):
        suite.results(sweep)
    (LEDGER.folder(trials[0].trial_id) / "result.json").unlink()
    (LEDGER.folder(trials[0].trial_id) / "metrics.jsonl").write_text("{\n")
    with pytest.raises(suite.InputError, match=r"metrics.jsonl: is garbled"):
        suite.epochs(sweep)
