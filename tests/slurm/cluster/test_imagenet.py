"""The mission whole: a sweep of photos through DALI on two nodes, a trial preempted inside an epoch, rows compared."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from support.photos import write_tree
from support.slurm_cluster import Cluster
from support.slurm_trials import pause, records
from support.sweep_processes import result_mtimes, run_sweep, start_sweep
from support.trial_processes import ROOT, newest_checkpoint, unexpected_files, wait_for, without_volatile_fields

from suite.config.sweep_file import load_sweep
from suite.data.imagenet import scan
from suite.records.ledger import Ledger
from suite.tracking.store import store_uri

pytestmark = pytest.mark.slow

PHOTOS = {"train": 20, "val": 4}
STEPS = 26  # an epoch: 102 images in batches of 4


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The sweep that is shipped, saved after each step; its tree, and a profile of two nodes with one task each."""
    scan.main([str(write_tree(tmp_path / "data" / "imagenet-small", PHOTOS, shrink=2))])
    file = yaml.safe_load((ROOT / "sweeps" / "imagenet_small.yaml").read_text())
    file["base"]["checkpoint"] = {"every_seconds": 0, "max_time_share": 1}
    file["base"] |= {"global_batch_size": 4, "epochs": 2}
    file["grid"]["method"] = [each for each in file["grid"]["method"] if each["name"] == "iterand"]
    file["base"]["schedule"] = {}
    file["base"]["dataset"]["loader_threads"] = 1
    profile = yaml.safe_load((ROOT / "slurm" / "test.yaml").read_text())
    profile |= {"nodes": 2, "tasks_per_node": 1, "memory_gb": 2, "max_live_jobs": 1}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(file))
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(profile))
    return tmp_path


def preempt_inside_an_epoch(cluster: Cluster, folder: Path) -> str:
    """Take the nodes away from a trial inside an epoch, where it stands still until SLURM tells it to leave.

    Returns:
        Its finished epochs.
    """
    wait_for(lambda: 2 < step_of(folder) % STEPS < STEPS - 2, 120)
    pause(folder)
    urgent = cluster.submit("sleep 1", partition="high", nodes=4, exclusive=True)
    cluster.wait_running(urgent)
    [newest] = folder.glob(f"attempt-*/{newest_checkpoint(folder)}")
    stream = json.loads(newest.read_bytes().split(b"\n", 2)[1])["stream"]
    assert stream["batch"] == "4 on 2 processes"  # with the state of DALI
    lines = (next(folder.glob("attempt-*/metrics.jsonl"))).read_text()
    cluster.wait_over(urgent)
    assert step_of(folder) % STEPS
    return lines


def step_of(folder: Path) -> int:
    return int((re.findall(r"\d+", newest_checkpoint(folder)) or ["0"])[0])


@pytest.mark.dali
@pytest.mark.long  # two nodes without photos are in test_sweeps.py, photos without nodes in tests/data/imagenet/dali
@pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
def test_photos_through_dali_on_two_nodes(cluster: Cluster, sweep: Path) -> None:
    import mlflow

    trials = load_sweep(sweep / "s.yaml").trials
    ledger = Ledger(sweep / "results")
    [folder] = [ledger.folder(trial_id) for trial_id in trials]
    flags = ("s.yaml", "--data-dir", "data")
    before = cluster.num_submitted()
    with start_sweep(*flags, "--launcher", "slurm", "--profile", "profile.yaml", cwd=sweep) as driver:
        try:
            lines = preempt_inside_an_epoch(cluster, folder)
            output, _ = driver.communicate(timeout=240)
        finally:
            driver.kill()
    assert driver.returncode == 0, output
    assert cluster.num_submitted() - before == 2
    assert len(result_mtimes(sweep)) == 1
    assert (folder / "metrics.jsonl").read_text().startswith(lines)  # no epoch was made again

    shutil.copytree(sweep, sweep / "local", ignore=shutil.ignore_patterns("results", "data", "local"))
    (sweep / "local" / "data").symlink_to(sweep / "data")
    status, local = run_sweep(*flags, "--launcher", "local", cwd=sweep / "local")
    assert status == 0, local
    for trial_id, trial in trials.items():
        assert records(trial, sweep / "results") == records(trial, sweep / "local" / "results")
        assert unexpected_files(ledger.folder(trial_id)) == []
    assert table(output) == table(local) and "iterand" in table(local)

    runs = {}
    for place in (sweep, sweep / "local"):
        client = mlflow.MlflowClient(store_uri(place / "results"))
        experiment = client.get_experiment_by_name("imagenet_small")
        found = client.search_runs([experiment.experiment_id], "tags.trial_id != ''")
        runs[place.name] = {run.data.tags["trial_id"]: without_volatile_fields(run.data.metrics) for run in found}
        assert all("test/top1" in metrics for metrics in runs[place.name].values())
    assert runs[sweep.name] == runs["local"] and runs["local"].keys() == trials.keys()


def table(output: str) -> str:
    """The part of the output that says what came out, whatever it took."""
    return output[output.index("## imagenet_small") : output.index("### What training took")]
