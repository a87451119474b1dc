"""Tickets as artifacts of their runs in a real MLflow store, also where they cannot be brought there."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
from support.fake_results import write_result
from support.stores import write_empty_store
from support.sweep_processes import write_sweep

from suite import cli, tracking
from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import DENSE, TICKET, Stored
from suite.records.ledger import Ledger
from suite.sweep.__main__ import _keep_resolved
from suite.tracking import __main__ as command
from suite.tracking import store

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
MASKED = {"ticket": 210, "fp32": 4100}
PLAIN = {"fp32": 4100, "bf16": 2100, "int8": 1100}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A results folder with an empty store."""
    write_empty_store(tmp_path / "results" / store.DATABASE)
    return Ledger(tmp_path / "results")


def done(ledger: Ledger, *, kept: bool = True) -> Sweep:
    """A sweep of the three methods that was run; each trial has left some network, if any."""
    sweep = load_sweep(write_sweep(ledger.root.parent / "s.yaml", seeds=(1,)))
    _keep_resolved(sweep, ledger)
    for trial_id, trial in sweep.trials.items():
        dense = trial.method.name == "weights"
        forms = (PLAIN if dense else MASKED) if kept else {}
        stored = [Stored.model_validate({"form": form, "bytes": size}) for form, size in forms.items()]
        write_result(ledger, trial, stored=stored)
        if kept:
            (ledger.folder(trial_id) / (DENSE if dense else TICKET)).write_bytes(content_of(trial_id))
    return sweep


def content_of(trial_id: str) -> bytes:
    return f"network of {trial_id}\n".encode() * 20


def runs_of(ledger: Ledger, sweep: Sweep) -> dict[str, Any]:
    client = mlflow.MlflowClient(store.store_uri(ledger.root))
    experiment = client.get_experiment_by_name(sweep.name)
    found = client.search_runs([experiment.experiment_id], "tags.trial_id != ''")
    assert len(found) == len({run.data.tags["trial_id"] for run in found})
    return {run.data.tags["trial_id"]: run for run in found}


def artifacts_of(ledger: Ledger, run: Any) -> dict[str, bytes]:
    client = mlflow.MlflowClient(store.store_uri(ledger.root))
    files = client.list_artifacts(run.info.run_id)
    return {each.path: Path(client.download_artifacts(run.info.run_id, each.path)).read_bytes() for each in files}


def check_runs(ledger: Ledger, sweep: Sweep) -> dict[str, Any]:
    """All runs are there, whole, with the bytes of each form."""
    runs = runs_of(ledger, sweep)
    assert runs.keys() == sweep.trials.keys()
    for trial_id, run in runs.items():
        assert run.info.status == "FINISHED"
        sizes = {key: value for key, value in run.data.metrics.items() if key.startswith("stored_bytes/")}
        expected = PLAIN if sweep.trials[trial_id].method.name == "weights" else MASKED
        assert sizes == {f"stored_bytes/{form}": size for form, size in expected.items()}
        assert run.data.metrics["test/top1"] == pytest.approx(0.81)
        assert run.data.params["method.name"] == sweep.trials[trial_id].method.name
    return runs


def num_rows(ledger: Ledger) -> list[int]:
    """Of runs, metrics and parameters."""
    with closing(sqlite3.connect(f"file:{ledger.root / store.DATABASE}?mode=ro", uri=True)) as connection:
        tables = ("runs", "metrics", "params")
        return [connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables]


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_ticket_is_an_artifact_of_its_run_and_a_dense_network_is_not(ledger: Ledger) -> None:
    sweep = done(ledger)
    assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 3
    for trial_id, run in check_runs(ledger, sweep).items():
        dense = sweep.trials[trial_id].method.name == "weights"
        assert artifacts_of(ledger, run) == ({} if dense else {TICKET: content_of(trial_id)})
        assert (ledger.folder(trial_id) / (DENSE if dense else TICKET)).read_bytes() == content_of(trial_id)
    there = files_in(ledger.root / "mlartifacts")
    assert len(there) == 2 and {Path(name).name for name in there} == {TICKET}

    rows = num_rows(ledger)
    assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 0
    assert num_rows(ledger) == rows
    assert files_in(ledger.root / "mlartifacts") == there
    check_runs(ledger, sweep)


def test_trials_that_kept_nothing(ledger: Ledger) -> None:
    sweep = done(ledger, kept=False)
    assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 3
    for run in runs_of(ledger, sweep).values():
        assert run.info.status == "FINISHED" and artifacts_of(ledger, run) == {}
        assert not [key for key in run.data.metrics if key.startswith("stored_bytes/")]


def test_artifacts_that_cannot_be_written_keep_nothing_else_back(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = done(ledger)
    blocked = ledger.root / "mlartifacts"
    blocked.write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING, logger="suite.tracking"):
        assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 3
    said = [record.getMessage() for record in caplog.records if record.name == "suite.tracking"]
    tickets = [ledger.folder(trial_id) / TICKET for trial_id, t in sweep.trials.items() if t.method.name != "weights"]
    assert len(said) == len(tickets) == 2
    for path in tickets:
        (line,) = [line for line in said if line.startswith(f"{path}: stays beside its record alone: ")]
        assert len(line.splitlines()) == 1
    check_runs(ledger, sweep)
    rows = num_rows(ledger)
    assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 0
    assert num_rows(ledger) == rows and blocked.is_file()


def test_where_no_artifact_can_be_written_the_runs_are_there_before_the_report_is_refused(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = done(ledger)
    (ledger.root / "mlartifacts").write_text("a file where a folder should be")
    table = tmp_path / "table.md"
    table.write_text("| a |\n")
    with pytest.raises(InputError, match="all records are kept"):
        tracking.publish(sweep, ledger, uri=None, report=[table])
    check_runs(ledger, sweep)
    (ledger.root / "mlartifacts").unlink()
    assert tracking.publish(sweep, ledger, uri=None, report=[table])[0] == 0
    assert {Path(name).name for name in files_in(ledger.root / "mlartifacts")} == {"table.md"}


def test_the_command(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = done(ledger)
    line = ["publish", str(ledger.root)]
    for new in (3, 0):
        assert cli.run(lambda: command.main(line)) == 0
        assert capsys.readouterr().out.startswith(f"tiny: {new} new runs; ")
    tickets = [name for name in files_in(ledger.root / "mlartifacts") if Path(name).name == TICKET]
    assert len(tickets) == 2
    check_runs(ledger, sweep)
