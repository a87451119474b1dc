"""Bringing records to MLflow: whole folders, interrupted, twice, to servers that fail, and on network disks."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import mlflow
import pytest
from support.disks import list_names, mount_small_disk
from support.fake_results import write_result
from support.stores import write_empty_store
from support.sweep_processes import ROOT, write_sweep
from support.trial_processes import alive, descendants, trial_of, wait_for

from suite import cli, records, tracking
from suite.config import InputError
from suite.config.method_looks import readable
from suite.config.sweep_file import Sweep, load_sweep
from suite.records.ledger import Ledger
from suite.sweep.__main__ import _keep_resolved
from suite.tracking import __main__ as command
from suite.tracking import background, store

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A results folder with an empty store."""
    write_empty_store(tmp_path / "results" / store.DATABASE)
    return Ledger(tmp_path / "results")


def kept(ledger: Ledger, name: str, *seeds: int, done: bool = True) -> Sweep:
    """A sweep that was run, as its driver leaves it: 3 trials a seed."""
    file = write_sweep(ledger.root.parent / f"{name}.yaml", seeds=seeds)
    file.write_text(file.read_text().replace("name: tiny", f"name: {name}"))
    sweep = load_sweep(file)
    _keep_resolved(sweep, ledger)
    for trial in sweep.trials.values() if done else ():
        write_result(ledger, trial, started_at=1000.0 + trial.seed, seconds=7.5)
        points = [{"epoch": i, "step": 10 * i, "timestamp": 1001.5 + i, "val/top1": 0.5} for i in (1, 2)]
        (ledger.folder(trial.trial_id) / records.METRICS).write_text("".join(map(records.line_text, points)))
    return sweep


def publish(results: Path, *flags: str) -> int:
    """The exit status of the command."""
    return cli.run(lambda: command.main(["publish", str(results), *flags]))


def publisher(results: Path, *flags: str) -> subprocess.Popen[str]:
    """The command as a process."""
    line = [sys.executable, "-m", "suite.tracking", "publish", str(results), *flags]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def runs(database: Path, experiment: str, *, whole: bool = True) -> list[str]:
    """Of which trials there are runs, with all doubles; without MLflow, which takes seconds to start."""
    query = (
        "select tags.value, runs.status from runs join tags using (run_uuid) join experiments using (experiment_id) "
        "where tags.key = 'trial_id' and runs.lifecycle_stage = 'active' and experiments.name = ?"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=20)) as connection:
        found = connection.execute(query, [experiment]).fetchall()
    return sorted(trial_id for trial_id, status in found if status == "FINISHED" or not whole)


def one_each(database: Path, sweep: Sweep) -> bool:
    """One run a trial, and each is finished."""
    return runs(database, sweep.name, whole=False) == runs(database, sweep.name) == sorted(sweep.trials)


def test_a_folder_of_results_is_published_whole_and_once(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = kept(ledger, "one", 1, 2), kept(ledger, "two", 2, 3)
    assert len(one.trials.keys() & two.trials.keys()) == 3
    (ledger.root / "sweeps/broken.yaml").write_text("name: broken\ngrid: {seed: [x]}\n")
    other = trial_of("weights", seed=77)
    write_result(ledger, other)
    write_result(ledger, trial_of("weights", seed=78), config={"a setting": "of long ago"})
    (ledger.root / "reports/one/table.md").write_text("| a |\n")
    assert publish(ledger.root) == 1
    told = capsys.readouterr()
    assert "sweeps/broken.yaml:2: grid" in told.err and "made with settings of another version: left out" in told.err
    assert "Traceback" not in told.err
    assert [line.partition(" new runs; ")[0] for line in told.out.splitlines()] == ["one: 6", "two: 6", "other: 1"]
    assert f"--results {ledger.root}, then http://suite.localhost:5000/#/experiments/" in told.out

    database = ledger.root / store.DATABASE
    assert one_each(database, one) and one_each(database, two)
    assert runs(database, "other") == [other.trial_id]
    client = mlflow.MlflowClient(store.store_uri(ledger.root))
    experiment = client.get_experiment_by_name("one").experiment_id
    (report,) = client.search_runs([experiment], "tags.report = 'one'")
    assert {file.path for file in client.list_artifacts(report.info.run_id)} == {"sweep.yaml", "table.md"}
    trial_id, trial = next(iter(one.trials.items()))
    (run,) = client.search_runs([experiment], f"tags.trial_id = '{trial_id}'")
    names_of = {key: run.data.tags[key] for key in ("method", "model", "width_mult", "dataset", "seed", "status")}
    assert list(names_of.values()) == [trial.method.name, "conv2", "0.0625", "digits", str(trial.seed), "done"]
    assert run.info.run_name == f"{readable(trial.method.name)}, conv2 x0.0625, seed {trial.seed}, {trial.trial_id}"
    assert run.info.start_time == 1000 * (1000 + trial.seed) and run.info.end_time == run.info.start_time + 7500
    points = client.get_metric_history(run.info.run_id, "val/top1")
    assert [(each.step, each.timestamp, each.value) for each in points] == [(10, 1002500, 0.5), (20, 1003500, 0.5)]
    assert len(client.search_runs([experiment], "tags.method = 'iterand' and tags.width_mult = '0.0625'")) == 2

    assert publish(ledger.root) == 1
    again = capsys.readouterr().out.splitlines()
    assert [line.partition(" new runs; ")[0] for line in again] == ["one: 0", "two: 0", "other: 0"]
    assert one_each(database, one) and runs(database, "other") == [other.trial_id]
    assert client.get_metric_history(run.info.run_id, "val/top1") == points
    assert len(client.search_runs([experiment])) == 7

    copied = tmp_path / "copied"
    shutil.copytree(ledger.root, copied, ignore=shutil.ignore_patterns("ml*", "index.jsonl", "broken.yaml"))
    shutil.rmtree(ledger.root / "reports")  # a copy stands alone
    write_empty_store(tmp_path / "another.db")
    assert publish(copied, "--tracking-uri", f"sqlite:///{tmp_path}/another.db") == 0
    assert one_each(tmp_path / "another.db", one) and one_each(tmp_path / "another.db", two)
    assert not (copied / store.DATABASE).exists() and (copied / "mlartifacts").exists()
    assert publish(copied, "--sweep", "three") == 2
    assert f"--sweep three: no {copied}/sweeps/three.yaml" in capsys.readouterr().err
    assert publish(tmp_path / "nowhere") == 2


def test_of_several_runs_of_a_trial_one_that_is_finished_stays(ledger: Ledger) -> None:
    sweep = kept(ledger, "one", 1)
    client = mlflow.MlflowClient(store.store_uri(ledger.root))
    experiment = client.create_experiment("one")
    first, second, third = sweep.trials
    for trial_id, finished in ((first, "nynyn"), (second, "nn"), (third, "yy")):
        for each in finished:
            run = client.create_run(experiment, tags={"trial_id": trial_id}).info.run_id
            if each == "y":
                client.set_terminated(run, "FINISHED")
    assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 1
    assert one_each(ledger.root / store.DATABASE, sweep)


def test_a_result_that_was_made_anew_takes_the_place_of_its_run(ledger: Ledger) -> None:
    """As where its folder was moved away and it ran again; a result of before is no reason to remove a run."""
    sweep, database = kept(ledger, "one", 1), ledger.root / store.DATABASE
    assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 3
    trial_id, trial = next(iter(sweep.trials.items()))
    client = mlflow.MlflowClient(store.store_uri(ledger.root))
    experiment = client.get_experiment_by_name("one").experiment_id
    for started_at, accuracy, expected, new in (
        (2000.5, 0.25, 0.25, 1),
        (2000.5, 0.25, 0.25, 0),
        (900.0, 0.5, 0.25, 0),
    ):
        write_result(ledger, trial, started_at=started_at, seconds=7.5, metrics={"test/top1": accuracy})
        assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == new
        (run,) = client.search_runs([experiment], f"tags.trial_id = '{trial_id}'")
        assert run.data.metrics["test/top1"] == expected and run.info.start_time == 2_000_500
        assert one_each(database, sweep)


@pytest.mark.slow
def test_an_interrupted_publication_goes_on_and_two_at_once_make_no_doubles(ledger: Ledger) -> None:
    sweep, database = kept(ledger, "many", *range(20)), ledger.root / store.DATABASE
    process = publisher(ledger.root)
    try:
        wait_for(lambda: len(runs(database, "many")) > 5, 60)
    finally:
        process.kill()
        process.communicate()
    assert 5 < len(runs(database, "many")) < 60
    pair = [publisher(ledger.root) for _ in range(2)]
    said = [each.communicate(timeout=60)[0] for each in pair]
    assert [each.returncode for each in pair] == [0, 0], said
    assert sorted("many: 0 new runs" in text for text in said) == [False, True]
    assert one_each(database, sweep)


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("http://me:pass.word@127.0.0.1:9/x", "pass.word"),
        ("http://me:pass/word@127.0.0.1:9", "pass/word"),
        ("postgresql://me:pass.word@127.0.0.1:9/db", "pass.word"),  # no driver of it is installed
        ("weird://me:pass@word@host/x", "pass"),
        ("sqlite:////no/such/folder/pass.db", "\n\n"),
    ],
)
def test_a_store_that_cannot_be_reached_is_told_in_a_line_without_the_password(
    uri: str, secret: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(ledger, "one", 1)
    assert publish(ledger.root, "--tracking-uri", uri) == 2
    said = capsys.readouterr()
    assert secret not in said.out + said.err
    assert said.err.startswith("MLflow store ") and len(said.err.splitlines()) == 1 and "all records are" in said.err


def test_a_garbled_store_is_told(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = kept(ledger, "one", 1)
    (ledger.root / store.DATABASE).write_bytes(b"garbled " * 1000)
    for network in (False, True):
        monkeypatch.setattr(store, "is_network", lambda kind, network=network: network)
        with pytest.raises(InputError, match=r"not a database.*all records are kept"):
            tracking.publish(sweep, ledger, uri=None, report=[])


PARENT = """
import sys, time
from pathlib import Path
from suite.records.ledger import Ledger
from suite.config.sweep_file import load_sweep
from suite.tracking import background
background.EVERY_SECONDS = 0.5
with background.publishing(load_sweep(sys.argv[1]), Ledger(Path(sys.argv[2]))):
    time.sleep(120)
"""


@pytest.mark.slow
def test_a_sweep_is_published_meanwhile_and_neither_its_death_nor_a_server_that_hangs_leaves_a_process(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = kept(ledger, "one", 1)
    late = next(iter(sweep.trials.values()))
    shutil.rmtree(ledger.folder(late.trial_id))
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    others = set(descendants(os.getpid()))  # of earlier tests
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(sweep.path), str(ledger.root)], cwd=ROOT)
    try:
        assert background.EVERY_SECONDS >= 30 and background._END_SECONDS <= 10
        monkeypatch.setattr(background, "EVERY_SECONDS", 0.1)
        monkeypatch.setattr(background, "_END_SECONDS", 1.0)
        with socket.create_server(("127.0.0.1", 0)) as hangs, ExitStack() as held:
            monkeypatch.setenv(store.URI_VARIABLE, f"http://127.0.0.1:{hangs.getsockname()[1]}")
            hangs.settimeout(60)
            with background.publishing(sweep, ledger):
                held.enter_context(hangs.accept()[0])  # it has connected, and waits for an answer
                (started,) = set(descendants(os.getpid())) - others - {parent.pid, *descendants(parent.pid)}
                over = time.monotonic()
            assert time.monotonic() - over < 10 and not alive(started)
        wait_for(lambda: len(runs(ledger.root / store.DATABASE, "one")) == 2, 60)
        write_result(ledger, late)
        wait_for(lambda: one_each(ledger.root / store.DATABASE, sweep), 20)
        (started,) = descendants(parent.pid)
        parent.kill()
        parent.wait()
        wait_for(lambda: not alive(started), 20)
    finally:
        parent.kill()
        parent.wait()


def test_on_a_network_disk_the_store_is_never_opened_in_place(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(store, "is_network", lambda kind: True)
    sweep, database = kept(ledger, "one", 1), ledger.root / store.DATABASE
    before, stood, seen = database.stat().st_ino, database.read_bytes(), []
    read = records.read_metrics

    def look(folder: Path) -> list[dict[str, float | None]]:
        seen.append(list_names(ledger.root))
        assert str(database) not in opened() and database.read_bytes() == stood
        return read(folder)

    monkeypatch.setattr(records, "read_metrics", look)
    assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 3
    assert len(seen) == 3 and not any(name.startswith((".mlflow.db", "mlflow.db-")) for each in seen for name in each)
    assert database.stat().st_ino != before and one_each(database, sweep)
    for _ in range(3):  # as a publisher does each minute
        assert tracking.publish(sweep, ledger, uri=None, report=[])[0] == 0
    assert list_names(scratch) == []
    assert not [path for path in opened() if path.startswith(str(scratch))]  # their room would not be given back
    assert list_names(ledger.root) == seen[0]


def opened() -> list[str]:
    """The files that this process has open."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(path))
        except FileNotFoundError:
            continue
    return found


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from suite.tracking import store
store.is_network = lambda kind: True
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
with store.writing(Path(sys.argv[1]), None) as uri:
    sqlite3.connect(uri.removeprefix("sqlite:///")).execute("create table new (x)")
"""


def test_a_crash_while_the_store_is_copied_back_leaves_the_old_one(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = ledger.root / store.DATABASE
    stood = database.read_bytes()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(ledger.root)], cwd=ROOT, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL and database.read_bytes() == stood
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(store, "is_network", lambda kind: True)
    with store.writing(ledger.root, None) as uri:
        left = [path for path in tmp_path.glob("suite-mlflow-*") if str(path) not in uri]
    assert left == [] and [path.name for path in ledger.root.iterdir() if path.name.startswith(".mlflow.db")] == []


def test_which_disks_are_shared_with_other_machines() -> None:
    shared = "nfs nfs4 cifs smb3 lustre gpfs beegfs ceph fuse fuse.sshfs fuse.glusterfs 9p afs"
    own = "ext4 xfs btrfs zfs tmpfs overlay fuseblk nfsd proc"
    assert [kind for kind in shared.split() if not store.is_network(kind)] == []
    assert [kind for kind in ["", *own.split()] if store.is_network(kind)] == []


def test_what_a_folder_lies_on(tmp_path: Path) -> None:
    assert store.file_system(Path("/proc")) == store.file_system(Path("/proc/self/no/such")) == "proc"
    (tmp_path / "link").symlink_to("/proc/self")
    assert store.file_system(tmp_path / "link") == store.file_system(tmp_path / "link" / "fd") == "proc"
    (tmp_path / "to the mount").symlink_to("/proc")
    assert store.file_system(tmp_path / "to the mount") == "proc"


def test_what_a_folder_with_a_blank_in_its_name_lies_on(tmp_path: Path) -> None:
    with mount_small_disk(tmp_path / "a disk", 64) as disk:
        assert store.file_system(disk / "results") == store.file_system(disk) == "tmpfs"
