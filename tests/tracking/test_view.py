"""What MLflow's page shows of a sweep: parameters that vary, the others as tags, short accuracies, and a view."""

import json
from pathlib import Path

import mlflow
import pytest
from support.fake_results import write_result
from support.stores import write_empty_store

from suite import records, tracking
from suite.config.sweep_file import Sweep, load_sweep
from suite.records.ledger import Ledger
from suite.tracking import store, view

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy

FILE = """\
name: shown
description: What is asked.
base: {{dataset: digits, epochs: 1, global_batch_size: 64}}
grid:
  model: {{name: conv2, width_mult: [0.25, 0.5]}}
  seed: [1]
  method: {{name: iterand, lr: {lr}, sparsity: 0.5}}
"""


def planned(ledger: Ledger, lr: str) -> Sweep:
    """A sweep whose trials are done, and have one accuracy of many digits."""
    file = ledger.root.parent / "shown.yaml"
    file.write_text(FILE.format(lr=lr))
    sweep = load_sweep(file)
    for trial in sweep.trials.values():
        write_result(ledger, trial, started_at=1000.0, metrics={"test/top1": 179 / 180, "test/loss": 1 / 3})
        line = {"epoch": 1, "step": 1, "timestamp": 1001.0, "val/top1": 8 / 9, "val/loss": 1 / 3}
        (ledger.folder(trial.trial_id) / records.METRICS).write_text(records.line_text(line))
    return sweep


def test_what_varies_is_a_parameter_and_what_varies_later_becomes_one(tmp_path: Path) -> None:
    write_empty_store(tmp_path / "results" / store.DATABASE)
    ledger = Ledger(tmp_path / "results")
    client = mlflow.MlflowClient(store.store_uri(ledger.root))
    first = planned(ledger, "0.1")
    (tmp_path / "table.md").write_text("| a |\n")
    for _ in range(2):  # publishing again changes nothing
        _, experiment = tracking.publish(first, ledger, uri=None, report=[tmp_path / "table.md"])
    trial_id, trial = next(iter(first.trials.items()))
    (run,) = client.search_runs([experiment], f"tags.trial_id = '{trial_id}'")
    assert run.data.params == {"method.name": "iterand", "model.width_mult": str(trial.model.width_mult)}
    assert (run.data.tags["method.lr"], run.data.tags["epochs"]) == ("0.1", "1")
    assert run.info.run_name == f"IteRand, conv2 x{trial.model.width_mult:g}, seed 1, {trial.trial_id}"
    assert run.data.metrics["test/top1"] == 0.9944 and run.data.metrics["val/top1"] == 0.8889
    assert run.data.metrics["test/loss"] == run.data.metrics["val/loss"] == 1 / 3

    tags = client.get_experiment(experiment).tags
    shown = json.loads(tags[view.TAG])
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert shown["selectedColumns"] == ["metrics.`test/top1`", "params.`method.name`", "params.`model.width_mult`"]
    found = client.search_runs([experiment], shown["searchFilter"])
    assert {each.data.tags["trial_id"] for each in found} == set(first.trials)  # the report stands apart
    (report,) = client.search_runs([experiment], "tags.report = 'shown'")
    assert report.info.run_id in tags["mlflow.note.content"] and tags["mlflow.note.content"].startswith(
        "What is asked."
    )

    wider = planned(ledger, "[0.1, 0.2]")
    assert set(first.trials) < set(wider.trials)
    assert tracking.publish(wider, ledger, uri=None, report=[])[0] == 2
    (run,) = client.search_runs([experiment], f"tags.trial_id = '{trial_id}'")
    assert run.data.params["method.lr"] == run.data.tags["method.lr"] == "0.1"
    assert "params.`method.lr`" in json.loads(client.get_experiment(experiment).tags[view.TAG])["selectedColumns"]


def test_a_store_of_before_stays_as_it_is_and_gets_the_view(tmp_path: Path) -> None:
    """Its runs have all settings as parameters, and a person wrote a description."""
    write_empty_store(tmp_path / "results" / store.DATABASE)
    ledger = Ledger(tmp_path / "results")
    sweep = planned(ledger, "0.1")
    client = mlflow.MlflowClient(store.store_uri(ledger.root))
    experiment = client.create_experiment("shown", tags={"mlflow.note.content": "mine", view.TAG: "{}"})
    for trial_id, trial in sweep.trials.items():
        run = client.create_run(experiment, start_time=1_000_000, tags={"trial_id": trial_id}).info.run_id
        for key, value in view.settings_of(trial).items():
            client.log_param(run, key, value)
        client.set_terminated(run)
    before = {run.info.run_id: run.data.params for run in client.search_runs([experiment])}
    assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 0
    assert {run.info.run_id: run.data.params for run in client.search_runs([experiment])} == before
    tags = client.get_experiment(experiment).tags
    assert tags["mlflow.note.content"] == "mine" and json.loads(tags[view.TAG])["groupBy"]


def test_settings_that_only_follow_the_method_get_no_column(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        FILE.format(lr="0.2")
        .replace("method: {", "method:\n    - {name: weights, lr: 0.1}\n    - {")
        .replace("0.5}", "[0.3, 0.5]}")
    )
    sweep = load_sweep(file)
    assert {"method.lr", "method.sparsity"} <= view.varying(sweep)
    columns = json.loads(view.state(sweep))["selectedColumns"]
    assert "params.`method.sparsity`" in columns and "params.`method.lr`" not in columns
