"""Several sweep files in one call, and what a call does with the address of a tracking server."""

import argparse
import json
import os
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.fake_results import write_result
from support.sweep_processes import result_mtimes, run_sweep

from suite import cli, records, tracking
from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records.ledger import Ledger
from suite.sweep import __main__ as sweep
from suite.sweep import driver, progress
from suite.sweep.plan import Plan
from suite.tracking import background
from suite.tracking.store import URI_VARIABLE, without_secret

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
SECRET = "https://me:password@host:5000"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a sweep file of two trials into the present folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    monkeypatch.setattr(progress.console, "width", 200)

    def write(name: str, method: str = "weights", file: str | None = None, **changes: Any) -> Path:
        masked = {} if method == "weights" else {"sparsity": 0.5}
        base = {
            "dataset": "digits",
            "epochs": 1,
            "global_batch_size": 64,
            "method": {"name": method, "lr": 0.1, **masked},
        }
        grid = {"model": {"name": "conv2", "width_mult": [0.0625, 0.125]}, "seed": 1}
        path = Path(file or f"{name}.yaml")
        path.write_text(yaml.safe_dump({"name": name, "base": base, "grid": {**grid, **changes}}))
        return path

    return write


class Ran:
    """Stands for running, reporting and publishing; ``outcome`` says what becomes of the trials of a sweep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.published: list[tuple[str, str | None]] = []
        self.environments: list[str | None] = []  # the variable as processes of each run would see it
        self.outcome: dict[str, Callable[[Plan, Ledger], None]] = {}
        monkeypatch.setattr(sweep, "_run", self._run)
        monkeypatch.setattr(sweep, "_report", lambda *about, **how: [])
        monkeypatch.setattr(background, "publishing", lambda *about: nullcontext())
        monkeypatch.setattr(tracking, "publish", self._publish)

    def _run(self, plan: Plan, sweep: Sweep, ledger: Ledger, *rest: object) -> None:
        self.names.append(sweep.name)
        self.environments.append(os.environ.get(URI_VARIABLE))
        self.outcome.get(sweep.name, all_done)(plan, ledger)

    def _publish(self, sweep: Sweep, ledger: Ledger, *, uri: str | None, **rest: object) -> tuple[int, str]:
        self.published.append((sweep.name, uri))
        return 0, "1"


def all_done(plan: Plan, ledger: Ledger) -> None:
    for trial in plan.to_run.values():
        write_result(ledger, trial)


def one_fails(plan: Plan, ledger: Ledger) -> None:
    first, *others = plan.to_run.values()
    ledger.folder(first.trial_id).mkdir(parents=True)
    records.write_failure(ledger.folder(first.trial_id), first.trial_id, ValueError("oops"))
    for trial in others:
        write_result(ledger, trial)


def interrupted(plan: Plan, ledger: Ledger) -> None:
    raise KeyboardInterrupt


def cannot(plan: Plan, ledger: Ledger) -> None:
    raise InputError("no such data")


def call(*args: object) -> int:
    """The exit status of the command."""
    return cli.run(lambda: sweep.main([str(arg) for arg in args]))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    return Ran(monkeypatch)


@pytest.mark.parametrize(
    ("first", "second", "status", "begun"),
    [
        (all_done, all_done, 0, "ab"),
        (one_fails, all_done, 1, "ab"),
        (all_done, one_fails, 1, "ab"),
        (interrupted, all_done, 130, "a"),
        (all_done, interrupted, 130, "ab"),
        (one_fails, interrupted, 130, "ab"),
        (cannot, all_done, 2, "a"),
    ],
)
def test_both_run_in_their_order_and_the_worst_end_is_told(
    first: Any, second: Any, status: int, begun: str, files: Callable[..., Path], ran: Ran
) -> None:
    ran.outcome = {"a": first, "b": second}
    assert call(files("a"), files("b", "edge_popup")) == status
    assert "".join(ran.names) == begun


def test_each_has_its_own_report_and_what_both_ask_for_is_run_once(
    files: Callable[..., Path], ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = files("a"), files("b", seed=[1, 2])
    assert call(one, two) == 0
    said = capsys.readouterr().out
    assert "2 trials in results: 2 missing; 2 to run" in said and "2 done, 2 missing; 2 to run" in said
    for name, number in (("a", 2), ("b", 2)):
        kept = json.loads(Path(f"results/reports/{name}/cost.json").read_text())
        assert kept["actual"]["trials"] == number and Path(f"results/sweeps/{name}.yaml").exists()
    assert [name for name, _ in ran.published] == ["a", "b"]
    assert call(two, one) == 0 and ran.names == ["a", "b"] and len(result_mtimes(Path())) == 4


def test_the_dry_run_shows_both_and_runs_none(
    files: Callable[..., Path], ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(files("a"), files("b", "iterand"), "--dry-run", "--only", "model.width_mult=0.125") == 0
    said = capsys.readouterr().out
    assert "a: a.yaml" in said and "b: b.yaml" in said and said.count("1 trials in results: 1 missing; 1 to run") == 2
    assert said.count("cost: ") == 2
    assert ran.names == [] and not Path("results").exists()


def test_all_mistakes_of_all_files_are_told_before_anything_runs(
    files: Callable[..., Path], ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong, worse = files("a"), files("b", seed=-1), files("c", model={"name": "conv3"}, seed="x")
    assert call(right, wrong, "no.yaml", worse) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in told] == ["b.yaml:14", "no.yaml", "c.yaml:10", "c.yaml:11"]
    assert call(right, files("b"), "--profile", "mine") == 2
    assert call(right, files("b"), "--only", "seed=7") == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
    assert ran.names == [] and not Path("results").exists()


def test_two_sweeps_of_one_name_are_refused(
    files: Callable[..., Path], ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = files("a"), files("a", "edge_popup", file="other.yaml")
    assert call(one, two) == 2
    assert capsys.readouterr().err == "other.yaml: name: a: must be another one than in a.yaml\n"
    assert call(one, one) == 2
    assert ran.names == [] and not Path("results").exists()


def test_the_address_of_the_server_stands_in_the_environment_alone(
    files: Callable[..., Path], ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI_VARIABLE, "http://another")
    assert call(files("a")) == 0 and ran.published == [("a", "http://another")]
    assert call(files("b", "edge_popup"), "--tracking-uri", SECRET) == 0
    assert ran.published[1:] == [("b", SECRET)] and ran.environments == ["http://another", SECRET]
    assert os.environ[URI_VARIABLE] == "http://another"  # a second sweep in this process sees nothing of the first
    assert call(files("a")) == 0  # nothing to run: published all the same
    assert ran.published[2:] == [("a", "http://another")]
    monkeypatch.delenv(URI_VARIABLE)
    assert call(files("a"), "--tracking-uri", SECRET) == 0 and URI_VARIABLE not in os.environ


def test_the_driver_job_gets_all_options_but_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URI_VARIABLE, "")
    flags = ["a.yaml", "--tracking-uri", SECRET, "--only", "seed=1", "--set", "epochs=3", "--retry-failed"]
    args: argparse.Namespace = sweep._parse([*flags, "--results", "there", "--data-dir", "data"])
    given = driver._arguments(args, tmp_path)
    assert "password" not in " ".join(given) and args.tracking_uri == SECRET
    with sweep._in_environment(URI_VARIABLE, args.tracking_uri):  # which sbatch hands on to the job
        again = sweep._parse(given)
    assert again.files == [tmp_path / "sweep.yaml"] and again.driver == "here" and again.wait
    assert (again.only, again.set, again.retry_failed) == (["seed=1"], ["epochs=3"], True)
    assert again.results == Path("there").absolute() and again.data_dir == Path("data").absolute()
    assert again.tracking_uri == SECRET


@pytest.mark.parametrize(
    "text", ["postgresql://me:a/b@host/db", "https://me:a/b@host:5000/x y", "mysql://host/db?user=me&password=a/b"]
)
def test_passwords_of_any_form_are_left_out(text: str) -> None:
    assert "a/b" not in without_secret(text) and "host" in without_secret(text)


def test_where_no_password_stands_nothing_is_left_out() -> None:
    for text in (
        "http://127.0.0.1:5000/#/experiments/1",
        "sqlite:////home/me@work/mlflow.db",
        "a: b@c, see http://d/e",
    ):
        assert without_secret(text) == text


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that has one answer to everything."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                continue
            self.wfile.write(b"HTTP/1.1 %d Oops\r\nConnection: close\r\n\r\n%b" % (status, body))

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"oops"), (200, b"<html>sign in first</html>"), (200, b"[]"), (404, b"{}")]
)
def test_a_server_that_answers_nonsense_is_told_and_no_traceback(
    status: int, body: bytes, files: Callable[..., Path]
) -> None:
    found = load_sweep(files("a"))
    with answering(status, body) as address, pytest.raises(InputError, match="all records are kept"):
        tracking.publish(found, Ledger(Path("results")), uri=address, report=[])


@pytest.mark.slow
@pytest.mark.long
def test_two_small_sweeps_for_real(files: Callable[..., Path], tmp_path: Path) -> None:
    one, two = files("a"), files("b", "edge_popup")
    code, output = run_sweep(one, two, "--launcher", "inline", cwd=tmp_path)
    assert code == 0, output
    assert result_mtimes(tmp_path).keys() == load_sweep(one).trials.keys() | load_sweep(two).trials.keys()
    assert output.index("a.yaml" if "a.yaml" in output else "reports/a") < output.index("reports/b")
    assert output.count(f"MLflow: {sys.executable} -m suite.ui --results results, then") == 2
    assert output.count("took 0:0") == 2 and "Traceback" not in output
    for name in "ab":
        kept = json.loads((tmp_path / f"results/reports/{name}/cost.json").read_text())
        assert kept["actual"]["trials"] == 2 and kept["actual"]["seconds"] > 0
        assert kept["estimated"]["unknown"] == kept["estimated"]["trials"] == 2
