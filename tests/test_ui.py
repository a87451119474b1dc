"""The MLflow page of a sweep, in a real browser; and publishing to a real server."""

import base64
import getpass
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
from support.listening import family, listening
from support.stores import write_empty_store
from support.sweep_processes import ROOT, write_sweep
from support.trial_processes import alive, wait_for

from suite import cli, tracking, ui
from suite.config import InputError
from suite.config.method_looks import readable
from suite.config.sweep_file import Sweep, load_sweep
from suite.launch import inline
from suite.records import read_result
from suite.records.ledger import Ledger
from suite.tracking.store import DATABASE, without_secret

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
def server(results: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str], list[str]]]:
    """`python -m suite.ui` on a free port: its address, its process, and what it has said."""
    port = free_port()
    command = [sys.executable, "-m", "suite.ui", "--results", str(results), "--port", str(port), *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        said = [process.stdout.readline() for _ in range(4)]
        assert said[1].startswith(f"ready: http://suite.localhost:{port}"), "".join(said) + process.stdout.read()
        yield f"http://127.0.0.1:{port}", process, said
    finally:
        process.terminate()
        process.communicate(timeout=60)


def status(address: str, authorization: str | None = None) -> int:
    """Of a request to the page's own interface."""
    headers = {"Authorization": f"Basic {base64.b64encode(authorization.encode()).decode()}"} if authorization else {}
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/experiments/get?experiment_id=0", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.chromium
def test_the_page_shows_every_run_by_name_with_its_metrics_and_the_report(
    done: tuple[Sweep, Ledger], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, ledger = done
    table = tmp_path / "table.md"
    table.write_text("| a | b |\n")
    write_empty_store(ledger.root / DATABASE)
    new, _ = tracking.publish(sweep, ledger, uri=None, report=[table])
    assert new == 3
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    browser += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    shot = Path(os.environ.get("SCREENSHOTS", tmp_path)) / "mlflow.png"
    browser += ["--hide-scrollbars", f"--screenshot={shot}"]
    browser += [f"--user-data-dir={tmp_path}", "--window-size=1280,800", "--virtual-time-budget=30000", "--dump-dom"]
    with server(ledger.root) as (address, process, said):
        port = address.rpartition(":")[2]
        assert f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{socket.gethostname()}," in said[2]
        assert said[3] == "every user of this machine can open and change it; --auth asks for a password\n"
        there = family(process.pid)
        assert {port.address for port in listening(there)} == {"127.0.0.1"}
        client = mlflow.MlflowClient(address)
        page = subprocess.run(
            [*browser, said[1].removeprefix("ready: ").removesuffix(" (Ctrl-C ends it)\n")],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        run = client.search_runs(["1"], "tags.report = 'tiny'")[0].info.run_id
        with urllib.request.urlopen(f"{address}/get-artifact?path=table.md&run_uuid={run}", timeout=30) as file:
            assert file.read() == table.read_bytes()
        assert cli.run(lambda: ui.main(["--results", str(ledger.root), "--port", port])) == 2
        assert f"--port {port}: Address already in use: name another one" in capsys.readouterr().err
        folder = Path(next(e.command for e in there if "suite-ui-" in e.command).split()[-1])
        assert folder.stat().st_mode & 0o777 == 0o700 and len(there) >= 4
        process.kill()  # what it started ends all the same, and leaves nothing
        wait_for(lambda: not any(alive(each.pid) for each in there) and not folder.exists(), 10)
    assert shot.stat().st_size > 10_000
    assert "tiny" in page and ">report<" not in page and "MLflow Assistant" not in page
    for trial_id, trial in sweep.trials.items():
        assert f"{readable(trial.method.name)}, conv2 x0.0625, seed 1" in page
        result = read_result(ledger.folder(trial_id))
        assert result is not None and f">{round(result.metrics['test/top1'] or 0, 4)}<" in page


@pytest.mark.slow
def test_a_real_server_takes_each_trial_once_from_those_with_the_password_and_its_absence_is_told(
    done: tuple[Sweep, Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, ledger = done
    write_empty_store(tmp_path / "server.db")
    with server(tmp_path, "--auth", "--store", f"sqlite:///{tmp_path}/server.db") as (address, process, said):
        folder = Path(said[3].removeprefix("user: admin, password: in ").strip()).parent
        password = (folder / "password").read_text().strip()
        assert (status(address), status(address, "admin:x"), status(address, f"admin:{password}")) == (401, 401, 200)
        assert folder.stat().st_mode & 0o777 == 0o700 and (folder / "auth.ini").stat().st_mode & 0o777 == 0o600
        assert not any(password in each.command for each in family(process.pid))
        assert password not in (folder / "log.txt").read_text() + "".join(said)
        with pytest.raises(InputError, match="all records are kept"):
            tracking.publish(sweep, ledger, uri=address, report=[])
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        assert tracking.publish(sweep, ledger, uri=address, report=[sweep.path])[0] == 3
        assert tracking.publish(sweep, ledger, uri=address, report=[sweep.path])[0] == 0
        client = mlflow.MlflowClient(address)
        experiment = client.get_experiment_by_name("tiny")
        assert len(client.search_runs([experiment.experiment_id])) == 4
        process.terminate()
        assert process.wait(timeout=30) == 130
        assert not folder.exists()
    started = time.monotonic()
    with pytest.raises(InputError, match="all records are kept"):
        tracking.publish(sweep, ledger, uri=address, report=[])
    assert time.monotonic() - started < 60  # MLflow's own default would wait for minutes


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "no mlflow.db: run a sweep, or `python -m suite.tracking publish"),
        (["--store", "https://me:word@host"], "https://***@host: is a server itself: open it in a browser"),
        (["--store", "sqlite:///x.db", "--port", "70000"], "--port 70000: "),
    ],
)
def test_what_cannot_be_served_is_told_in_a_line(
    flags: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(lambda: ui.main(["--results", str(tmp_path), *flags])) == 2
    said = capsys.readouterr().err
    assert told in said and len(said.splitlines()) == 1


def test_a_run_begun_by_a_killed_publisher_is_made_anew(done: tuple[Sweep, Ledger], tmp_path: Path) -> None:
    sweep, ledger = done
    store = f"sqlite:///{write_empty_store(tmp_path / 'store.db')}"
    client = mlflow.MlflowClient(store)
    experiment = client.create_experiment("tiny", artifact_location=(tmp_path / "artifacts").as_uri())
    client.create_run(experiment, tags={"trial_id": next(iter(sweep.trials))})
    assert tracking.publish(sweep, ledger, uri=store, report=[])[0] == 3
    runs = client.search_runs([experiment], "tags.trial_id != ''")
    assert sorted(run.data.tags["trial_id"] for run in runs) == sorted(sweep.trials)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_secrets_in_addresses_are_left_out() -> None:
    assert without_secret("https://me:word@host:5000/x y") == "https://***@host:5000/x y"
