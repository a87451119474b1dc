"""The cluster that other tests trust in: jobs, GPUs, power cuts, and a controller that is away."""

import subprocess
from pathlib import Path

import pytest
from support.slurm_cluster import Cluster
from support.trial_processes import wait_for

pytestmark = pytest.mark.slow


def test_a_job_runs_and_can_submit_another(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.num_submitted()
    submit = f"sbatch --parsable --output=/dev/null --job-name=second --wrap='touch {tmp_path}/there'"
    first = cluster.submit(submit, job_name="a name", comment="x y=z", output=tmp_path / "said")
    assert cluster.wait_over(first) == {
        "id": first,
        "state": "COMPLETED",
        "name": "a name",
        "comment": "x y=z",
        "nodes": ["node1"],
        "restarts": 0,
    }
    second = (tmp_path / "said").read_text().strip()
    assert cluster.wait_over(second)["name"] == "second" and (tmp_path / "there").exists()
    assert cluster.num_submitted() == before + 2


def test_a_job_sees_the_gpus_it_was_given(cluster: Cluster, tmp_path: Path) -> None:
    text = 'echo "$CUDA_VISIBLE_DEVICES" >$SLURM_JOB_ID.txt; sleep 60'
    jobs = [cluster.submit(text, gpus_per_node=2, nodelist="node2", chdir=tmp_path) for _ in range(2)]
    files = [tmp_path / f"{job}.txt" for job in jobs]
    wait_for(lambda: all(file.exists() and file.read_text() for file in files), 30)
    assert sorted(file.read_text().strip() for file in files) == ["0,1", "2,3"]


@pytest.mark.long  # test_a_power_cut shows it with a trial
def test_a_job_whose_node_loses_power_runs_again_on_another(cluster: Cluster, tmp_path: Path) -> None:
    text = f"for i in {{1..600}}; do date +%s.%N >>{tmp_path}/$(uname -n)-beats; sleep 0.1; done"
    job = cluster.submit(text, nodes=1)
    (node,) = cluster.wait_running(job)["nodes"]
    beats = tmp_path / f"{node}-beats"
    wait_for(beats.exists, 30)
    cluster.kill_node(int(node.removeprefix("node")))
    seen = beats.read_text()
    wait_for(lambda: cluster.job(job)["restarts"] == 1, every=0.2)
    again = cluster.wait_running(job)
    assert again["nodes"] != [node] and beats.read_text() == seen


@pytest.mark.long  # test_a_controller_that_is_away does, too
def test_the_controller_comes_back_with_its_queue(cluster: Cluster) -> None:
    running = cluster.submit("sleep 60")
    waiting = cluster.submit("sleep 60", begin="now+1hour")
    cluster.wait_running(running)
    cluster.stop_controller()
    assert subprocess.run(["scontrol", "ping"], capture_output=True, check=False).returncode
    cluster.start_controller()
    assert [cluster.job(job)["state"] for job in (running, waiting)] == ["RUNNING", "PENDING"]
