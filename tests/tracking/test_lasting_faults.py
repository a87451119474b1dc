"""Faults of a store that do not pass by themselves: told uncut, with the cure; one sweep keeps no other back."""

import re
import shlex
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from mlflow.experiments import commands as experiments
from support.fake_results import write_result
from support.stores import write_empty_store
from support.sweep_processes import write_sweep

from suite import cli, tracking
from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import kept_plans
from suite.records.ledger import Ledger
from suite.tracking import __main__ as command
from suite.tracking import store

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
Said = pytest.CaptureFixture[str]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A results folder with an empty store."""
    write_empty_store(tmp_path / "results" / store.DATABASE)
    return Ledger(tmp_path / "results")


def kept(ledger: Ledger, name: str, seed: int) -> Sweep:
    """A sweep of 3 trials that was run."""
    file = write_sweep(ledger.root.parent / f"{name}.yaml", seeds=(seed,))
    file.write_text(file.read_text().replace("name: tiny", f"name: {name}"))
    sweep = load_sweep(file)
    kept_plans.keep(sweep, ledger.root)
    for trial in sweep.trials.values():
        write_result(ledger, trial)
    return sweep


def publish(results: Path, *more: str) -> int:
    return cli.run(lambda: command.main(["publish", str(results), *more]))


def test_a_deleted_experiment_is_told_with_its_cure_and_keeps_no_other_back(
    ledger: Ledger, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("one", "two", "zen")):
        kept(ledger, name, seed)
    client = mlflow.MlflowClient(store.store_uri(ledger.root))
    client.delete_experiment(client.create_experiment("one"))
    assert publish(ledger.root) == 1
    told = capsys.readouterr()
    assert [line.split(";")[0] for line in told.out.splitlines()] == ["two: 3 new runs", "zen: 3 new runs"]
    (line,) = told.err.splitlines()
    assert "the experiment one was deleted there, so the sweep one is not published" in line
    assert "answers again" not in line
    variable, *words = shlex.split(re.findall("`(.+)`", line)[0])
    name, _, uri = variable.partition("=")
    assert words[:4] == [sys.executable, "-m", "mlflow", "experiments"]
    with monkeypatch.context() as pasted:
        pasted.setenv(name, uri)
        experiments.main(words[4:], standalone_mode=False)
    capsys.readouterr()
    assert publish(ledger.root) == 0
    assert capsys.readouterr().out.startswith("one: 3 new runs; ")


@pytest.mark.parametrize("revision", ["0a8213491aaa", "ffffffffffff"], ids=["older", "newer"])
def test_a_database_of_another_version_is_no_store_that_answers_again(ledger: Ledger, revision: str) -> None:
    sweep = kept(ledger, "one", 1)
    with closing(sqlite3.connect(ledger.root / store.DATABASE)) as database, database:
        database.execute("update alembic_version set version_num = ?", [revision])
    with pytest.raises(InputError) as caught:
        tracking.publish(sweep, ledger, uri=None, report=[])
    told = str(caught.value)
    assert f"its database is of another version of MLflow than {mlflow.__version__}: " in told
    assert f"mlflow db upgrade {store.store_uri(ledger.root)}`: " in told and told.endswith(
        "brings them there once that is mended"
    )


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("foo://host/store", "foo"),
        ("mysql+nothing://host/store", "nothing"),
        ("sqlite:////proc/no/such/x.db", "No such file"),
        ("oracle://host/store", "oracle"),
    ],
)
def test_an_address_that_is_refused_is_told_whole(ledger: Ledger, uri: str, says: str) -> None:
    sweep = kept(ledger, "one", 1)
    with pytest.raises(InputError) as caught:
        tracking.publish(sweep, ledger, uri=uri, report=[])
    told = str(caught.value)
    assert says in told and told.endswith("brings them there once that is mended") and "..." not in told


def test_a_server_that_does_not_answer_may_answer_again(ledger: Ledger, capsys: Said) -> None:
    kept(ledger, "one", 1)
    kept(ledger, "two", 2)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert publish(ledger.root, "--tracking-uri", f"http://127.0.0.1:{closed.getsockname()[1]}") == 2
    (line,) = capsys.readouterr().err.splitlines()  # the second sweep does not wait for it, too
    assert line.endswith("brings them there when it answers again")


def test_runs_of_different_trials_have_different_names(ledger: Ledger) -> None:
    sweep = load_sweep(write_sweep(ledger.root.parent / "tiny.yaml"), overrides=["method.lr=[0.1, 0.2]"])
    for trial in sweep.trials.values():
        write_result(ledger, trial)
    _, experiment = tracking.publish(sweep, ledger, uri=None, report=[])
    runs = mlflow.MlflowClient(store.store_uri(ledger.root)).search_runs([experiment])
    assert len({run.info.run_name for run in runs}) == len(sweep.trials) == 12


@pytest.mark.parametrize(
    ("status", "passes"), [(401, False), (403, False), (404, False), (408, True), (429, True), (503, True)]
)
def test_a_server_that_refuses_will_refuse_again(status: int, passes: bool) -> None:
    said = f"API request to endpoint /api/2.0/mlflow/experiments failed with error code {status} != 200"
    assert tracking._passes(RuntimeError(said)) == passes
