"""Sweeps whose trials are jobs, as a user runs them: with the real Ray, from a login node or from a job."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.slurm_cluster import Cluster
from support.slurm_trials import records, run_quietly, scancel
from support.stores import write_empty_store
from support.sweep_processes import ROOT, result_mtimes, run_sweep, start_sweep, write_sweep
from support.trial_processes import signal_processes, unexpected_files, wait_for

from suite.config.sweep_file import load_sweep
from suite.records.ledger import Ledger
from suite.slurm.record import read_job
from suite.tracking.store import DATABASE, URI_VARIABLE, store_uri

pytestmark = pytest.mark.slow

SLURM = ("--launcher", "slurm", "--profile", "profile.yaml")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where MLflow keeps what all sweeps here publish."""
    return store_uri(write_empty_store(tmp_path_factory.mktemp("mlflow") / DATABASE).parent)


@pytest.fixture
def written(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, ...]]:
    """Writes a sweep of the three methods and a profile; returns the flags of the command."""

    def write(
        changes: dict[str, Any] | None = None, base: dict[str, Any] | None = None, **sweep: Any
    ) -> tuple[str, ...]:
        settings = {**yaml.safe_load((ROOT / "slurm" / "test.yaml").read_text()), **(changes or {})}
        (tmp_path / "profile.yaml").write_text(yaml.safe_dump(settings))
        file = write_sweep(tmp_path / "s.yaml", **sweep)
        content = yaml.safe_load(file.read_text())
        content["base"] |= base or {}
        file.write_text(yaml.safe_dump(content))
        monkeypatch.setenv(URI_VARIABLE, store)
        return ("s.yaml", *SLURM)

    return write


def check_like_quiet(folder: Path) -> None:
    """Every trial of the sweep is done, with the bits that it has where nothing happens to it."""
    trials = list(load_sweep(folder / "s.yaml").trials.values())
    assert [records(trial, folder / "results") for trial in trials] == run_quietly(trials, folder / "quiet")
    assert all(unexpected_files(path.parent) == [] for path in folder.glob("results/trials/*/result.json"))


def drivers(folder: Path) -> list[int]:
    """Processes that run the sweep's command, inside a job too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"suite.sweep" in words and str(folder).encode() in b" ".join(words):
                found.append(int(path.parent.name))
    return found


def job_mtimes(folder: Path) -> set[int]:
    """When the jobs of trials were written down: by whoever submitted them or has found them again."""
    return {path.stat().st_mtime_ns for path in folder.glob("results/trials/*/job.json")}


def num_jobs(folder: Path) -> int:
    """How many trials have a job whose id is known."""
    found = [read_job(path) for path in folder.glob("results/trials/*")]
    return sum(record is not None and record.id is not None for record in found)


def test_two_nodes_each_a_killed_driver_and_an_edited_checkout(
    cluster: Cluster, tmp_path: Path, written: Callable[..., tuple[str, ...]]
) -> None:
    flags = written({"nodes": 2, "tasks_per_node": 1}, {"processes": 2}, epochs=2, seeds=(1,))
    checkout = tmp_path / "checkout"
    for package in ("suite", "analysis"):
        shutil.copytree(ROOT / package, checkout / package)
    before = cluster.num_submitted()
    blocker = cluster.submit("sleep 100", nodes=4, exclusive=True)
    driver = start_sweep(*flags, cwd=tmp_path, root=checkout)
    wait_for(lambda: num_jobs(tmp_path) == 3, 90)
    driver.kill()
    driver.communicate()
    (checkout / "suite" / "train" / "loop.py").write_text("raise SystemExit('edited')")
    scancel(blocker)
    wait_for(lambda: result_mtimes(tmp_path), 90)

    status, output = run_sweep(*flags, cwd=tmp_path)
    assert status == 0, output
    assert cluster.num_submitted() - before == 1 + 3
    jobs = [job for job in cluster.jobs() if job["name"].startswith("tiny.")]
    assert all(len(job["nodes"]) == 2 for job in jobs[-3:])
    check_like_quiet(tmp_path)


def test_packed_trials(cluster: Cluster, tmp_path: Path, written: Callable[..., tuple[str, ...]]) -> None:
    flags = written({"nodes": 2, "pack": 3, "memory_gb": 3, "cpus_per_task": 1}, epochs=40, seeds=(1,))
    before = cluster.num_submitted()
    driver = start_sweep(*flags, cwd=tmp_path)
    try:
        wait_for(lambda: list(tmp_path.glob("results/trials/*/attempt-*/metrics.jsonl")), 120)
        for job in cluster.jobs():
            if job["state"] == "RUNNING":
                scancel("--signal=USR2", job["id"])  # as before the time limit
        output, _ = driver.communicate(timeout=200)
    finally:
        driver.kill()
    assert driver.returncode == 0, output
    assert cluster.num_submitted() - before == 1
    assert max(job["restarts"] for job in cluster.jobs() if job["name"] == "tiny.pack") >= 1
    assert list(tmp_path.glob("results/packs/*")) == []
    check_like_quiet(tmp_path)


def test_a_driver_in_a_job(cluster: Cluster, tmp_path: Path, written: Callable[..., tuple[str, ...]]) -> None:
    flags = (*written(seeds=(1,)), "--driver", "job")
    before = cluster.num_submitted()
    status, output = run_sweep(*flags, cwd=tmp_path, timeout=60)
    assert status == 0 and "the driver is job" in output
    blocker = cluster.submit("sleep 300", ntasks=14)  # all CPUs but the two of the driver: trials have to wait
    status, output = run_sweep(*flags, cwd=tmp_path, timeout=60)
    assert status == 0 and "the driver is there already" in output
    wait_for(lambda: num_jobs(tmp_path) == 3, 120)
    first = job_mtimes(tmp_path)
    killed = drivers(tmp_path)
    assert killed
    signal_processes(killed, signal.SIGKILL)
    wait_for(lambda: job_mtimes(tmp_path).isdisjoint(first), 120)  # the next driver has found them
    scancel(blocker)

    follow = [sys.executable, "-m", "suite.status", "s.yaml", "--follow", "--every", "1"]
    done = subprocess.run(
        follow, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stdout + done.stderr
    driver = read_job(tmp_path / "results" / "driver" / "tiny")
    assert driver is not None and driver.id is not None
    assert cluster.wait_over(driver.id)["state"] == "COMPLETED"
    assert cluster.num_submitted() - before == 1 + 1 + 3
    assert "tiny: test/top1" in "".join(path.read_text() for path in Path(driver.folder).glob("*.out"))


@pytest.mark.long
def test_stopped_early(cluster: Cluster, tmp_path: Path, written: Callable[..., tuple[str, ...]]) -> None:
    flags = written({"max_live_jobs": 2}, epochs=200)
    content = yaml.safe_load((tmp_path / "s.yaml").read_text())
    content["search"] = "grid"
    content["scheduler"] = {"name": "asha", "grace_epochs": 20, "reduction_factor": 2}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    status, output = run_sweep(*flags, cwd=tmp_path)
    assert status == 0, output
    ledger = Ledger(tmp_path / "results", load_sweep(tmp_path / "s.yaml").scheduler)
    states = {i: ledger.state(trial) for i, trial in load_sweep(tmp_path / "s.yaml").trials.items()}
    stopped = [i for i, state in states.items() if state == "stopped"]
    assert stopped and set(states.values()) <= {"done", "stopped"}
    for trial_id in stopped:
        record = read_job(ledger.folder(trial_id))
        assert record is not None and record.cancelled and record.id is not None
        assert cluster.wait_over(record.id)["state"] == "CANCELLED"
        assert list(ledger.folder(trial_id).glob("attempt-*/checkpoint-*.pt"))
    before = cluster.num_submitted()
    status, output = run_sweep(*flags, cwd=tmp_path)
    assert status == 0 and cluster.num_submitted() == before, output
