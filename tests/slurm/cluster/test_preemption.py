"""A trial whose nodes are taken away: the one run through SLURM that the fast tests make."""

from collections.abc import Callable
from pathlib import Path

from support.slurm_cluster import Cluster
from support.slurm_trials import TRIAL, Following, profile


def test_preempted_by_a_higher_partition(cluster: Cluster, tmp_path: Path, check_done: Callable[..., None]) -> None:
    with Following(TRIAL, tmp_path, profile()) as following:
        job = cluster.job(following.wait_paused())
        assert job["name"] == f"test.{TRIAL.trial_id}"
        assert job["comment"].startswith(f"{TRIAL.trial_id} ")
        urgent = cluster.submit("sleep 1", partition="high", nodes=4, exclusive=True)
        cluster.wait_over(urgent)
        check_done(following, jobs=2, restarts=1)
