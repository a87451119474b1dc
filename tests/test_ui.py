"""The MLflow page of a sweep, in a real browser; and publishing to a real server."""

import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
from sweeping import write_sweep

from suite import tracking
from suite.config import InputError
from suite.launch import inline
from suite.ledger import Ledger
from suite.sweepfile import Sweep, load_sweep

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Ledger]:
    """A sweep of three trials that is done."""
    folder = tmp_path_factory.mktemp("ui")
    sweep, ledger = load_sweep(write_sweep(folder / "tiny.yaml", seeds=(1,))), Ledger(folder / "results")
    for trial_id, trial in sweep.trials.items():
        inline.run(trial, ledger.folder(trial_id), data_dir=None, on_epoch=lambda line: None)
    return sweep, ledger


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(command: str) -> Iterator[str]:
    """Run the command that `suite.sweep` prints, on a free port; gives the address, ends every process."""
    port = free_port()
    process = subprocess.Popen(
        shlex.split(command.replace("--port 5000", f"--port {port}")),
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


@pytest.mark.chromium
def test_the_page_shows_every_run_by_name(done: tuple[Sweep, Ledger], tmp_path: Path) -> None:
    sweep, ledger = done
    assert tracking.publish(sweep, ledger, uri=None, report=[]) == 3
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    browser += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    browser += [f"--user-data-dir={tmp_path}", "--window-size=1600,900", "--virtual-time-budget=30000", "--dump-dom"]
    with server(tracking.ui_command(ledger, None)) as address:
        page = subprocess.run(
            [*browser, f"{address}/#/experiments/1/runs"], capture_output=True, text=True, timeout=120, check=True
        ).stdout
    assert "tiny" in page
    for trial in sweep.trials.values():
        assert f"{trial.method.name}-conv2-w0.0625-s1" in page
    assert ">report<" in page


def test_a_real_server_takes_each_trial_once_and_its_absence_is_told(
    done: tuple[Sweep, Ledger], tmp_path: Path
) -> None:
    sweep, ledger = done
    command = tracking.ui_command(ledger, f"sqlite:///{tmp_path}/server.db")
    command += f" --default-artifact-root {tmp_path}/artifacts"
    with server(command) as address:
        assert tracking.publish(sweep, ledger, uri=address, report=[sweep.path]) == 3
        assert tracking.publish(sweep, ledger, uri=address, report=[sweep.path]) == 0
        client = mlflow.MlflowClient(address)
        experiment = client.get_experiment_by_name("tiny")
        assert len(client.search_runs([experiment.experiment_id])) == 4
    started = time.monotonic()
    with pytest.raises(InputError, match="all records are kept"):
        tracking.publish(sweep, ledger, uri=address, report=[])
    assert time.monotonic() - started < 60  # MLflow's own default would wait for minutes


def test_a_run_begun_by_a_killed_publisher_is_made_anew(done: tuple[Sweep, Ledger], tmp_path: Path) -> None:
    sweep, ledger = done
    store = f"sqlite:///{tmp_path}/store.db"
    client = mlflow.MlflowClient(store)
    experiment = client.create_experiment("tiny", artifact_location=(tmp_path / "artifacts").as_uri())
    client.create_run(experiment, tags={"trial_id": next(iter(sweep.trials))})
    assert tracking.publish(sweep, ledger, uri=store, report=[]) == 3
    runs = client.search_runs([experiment], "tags.trial_id != ''")
    assert sorted(run.data.tags["trial_id"] for run in runs) == sorted(sweep.trials)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_secrets_in_addresses_are_left_out() -> None:
    assert tracking.without_secret("https://me:word@host:5000/x y") == "https://***@host:5000/x y"
