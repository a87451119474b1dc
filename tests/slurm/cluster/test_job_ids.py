"""Ids of jobs as real squeue prints them: tasks of arrays, components of heterogeneous jobs, jobs that squeue hides."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.slurm_cluster import Cluster, running_cluster
from support.slurm_trials import scancel, scontrol
from support.trial_processes import ROOT, wait_for

from suite.slurm import controller

pytestmark = pytest.mark.slow

NOBODY = 65534
HETEROGENEOUS = "#SBATCH --ntasks=1\n#SBATCH hetjob\n#SBATCH --ntasks=1\n"

AsNobody = Callable[[str], None]


@pytest.fixture
def as_nobody(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsNobody:
    """Puts a command of SLURM on PATH that an ordinary user calls, who is not the one that runs these tests."""
    cluster.root.chmod(0o755)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")

    def as_nobody(name: str) -> None:
        shim = tmp_path / "bin" / name
        line = f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {name} "$@"'
        shim.write_text(f"#!/bin/bash\nPATH=${{PATH#*:}}\n{line}\n")
        shim.chmod(0o755)

    return as_nobody


def running_array(cluster: Cluster, folder: Path, text: str = "sleep 60") -> tuple[str, list[str]]:
    """The id of an array of two tasks that run, and what each of them finds in SLURM_JOB_ID."""
    tell = f'echo $SLURM_JOB_ID >"{folder}/$SLURM_ARRAY_TASK_ID.tmp"; mv "{folder}/$SLURM_ARRAY_TASK_ID".{{tmp,id}}\n'
    array = cluster.submit(tell + text, array="0-1", exclusive=True)
    files = [folder / f"{index}.id" for index in range(2)]
    wait_for(lambda: all(file.exists() for file in files), 60)
    return array, [file.read_text().strip() for file in files]


def restarts(cluster: Cluster, jobs: list[str]) -> list[int]:
    """How often each of these jobs was begun again."""
    return [cluster.job(job)["restarts"] for job in jobs]


# Arrays -------------------------------------------------------------------------------------------------------------


def test_a_task_of_an_array_is_over_when_it_is(cluster: Cluster, tmp_path: Path) -> None:
    array, jobs = running_array(cluster, tmp_path)
    assert array in jobs  # the last one to begin has the id of the array
    for index, job in enumerate(jobs):
        for name in (job, f"{array}_{index}"):
            assert not controller.is_over(name) and controller.is_running(name), name
    for index, other in ((0, 1), (1, 0)):
        scancel(f"{array}_{index}")
        cluster.wait_over(jobs[index])
        for name in (jobs[index], f"{array}_{index}"):
            assert controller.is_over(name) and not controller.is_running(name), name
        assert controller.is_over(jobs[other]) is (index == 1)


def test_a_living_owner_in_a_task_of_an_array_keeps_its_trial(cluster: Cluster, tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from suite.launch.lease import Busy, Lease\n"
        "said = pathlib.Path(sys.argv[1])\n"
        "try:\n"
        "    with Lease.acquire(said / 'trial', timeout=30) as lease:\n"
        "        (said / f'attempt-{lease.number}').touch()\n"
        "        time.sleep(60)\n"
        "except Busy as error:\n"
        "    (said / 'busy').write_text(str(error))\n"
    )
    run = f"cd {ROOT}; exec {sys.executable} - {tmp_path} <<'CODE'\n{code}CODE"
    running_array(cluster, tmp_path, run)
    wait_for(lambda: (tmp_path / "busy").exists() or (tmp_path / "attempt-2").exists(), 60)
    assert (tmp_path / "attempt-1").exists()
    assert not (tmp_path / "attempt-2").exists()
    assert "runs this trial" in (tmp_path / "busy").read_text()


def test_an_array_that_waits(cluster: Cluster) -> None:
    array = cluster.submit("sleep 60", array="0-40:2%3", begin="now+1hour")
    for name in (array, f"{array}_0", f"{array}_6", f"{array}_40"):
        assert not controller.is_over(name) and not controller.is_running(name), name
    assert controller.is_over(f"{array}_7")  # it has no such task
    jobs = controller.my_jobs()
    assert jobs and jobs[array].state == "PENDING"
    scancel(array)
    assert controller.is_over(array) and controller.is_over(f"{array}_6")


def test_tasks_of_an_array_are_in_the_queue_under_their_own_ids(cluster: Cluster, tmp_path: Path) -> None:
    _, jobs = running_array(cluster, tmp_path)
    queue = controller.my_jobs()
    assert queue is not None
    assert [queue[job].state for job in jobs] == ["RUNNING", "RUNNING"]


def test_a_task_of_an_array_is_requeued_alone(cluster: Cluster, tmp_path: Path) -> None:
    """SLURM requeues all tasks of an array where it is given the id of the last one to begin."""
    array, jobs = running_array(cluster, tmp_path)
    jobs.sort(key=lambda job: job == array)
    assert controller.requeue(jobs[0])
    wait_for(lambda: restarts(cluster, jobs) == [1, 0], 30)
    cluster.wait_running(jobs[0])
    assert controller.requeue(jobs[1])
    wait_for(lambda: restarts(cluster, jobs) == [1, 1], 30)
    cluster.wait_running(jobs[1])
    assert restarts(cluster, jobs) == [1, 1]


def test_a_task_of_an_array_that_is_preempted_goes_back(cluster: Cluster, tmp_path: Path) -> None:
    """After TERM the controller is asked whether the task still runs: it is not being cancelled then."""
    code = (
        "import signal\n"
        "from suite.launch.job_entry import requeue\n"
        "from suite.stopping import StopRequest\n"
        "requeue(signal.SIGTERM, StopRequest())\n"
    )
    once = f"[ -n \"$SLURM_RESTART_COUNT\" ] || {sys.executable} - <<'CODE'\n{code}CODE\nsleep 60"
    _, jobs = running_array(cluster, tmp_path, f"cd {ROOT}; {once}")
    wait_for(lambda: restarts(cluster, jobs) == [1, 1], 60)
    for job in jobs:
        cluster.wait_running(job)
    assert restarts(cluster, jobs) == [1, 1]


# Heterogeneous jobs -------------------------------------------------------------------------------------------------


def test_components_of_a_heterogeneous_job(cluster: Cluster, tmp_path: Path) -> None:
    step = f"""srun --het-group=0,1 bash -c 'echo $SLURM_JOB_ID >"{tmp_path}/$SLURM_PROCID.id"; sleep 60'"""
    job = cluster.submit(HETEROGENEOUS + step)
    files = [tmp_path / f"{rank}.id" for rank in range(2)]
    wait_for(lambda: all(file.exists() and file.read_text().strip() == job for file in files), 60)
    component = str(int(job) + 1)
    leader_names, component_names = (job, f"{job}+0"), (component, f"{job}+1")
    for name in leader_names + component_names:
        assert not controller.is_over(name) and controller.is_running(name), name
    queue = controller.my_jobs()
    assert queue and [queue[name].state for name in (job, component)] == ["RUNNING", "RUNNING"]
    scancel(f"{job}+1")
    cluster.wait_over(component)
    assert all(map(controller.is_over, component_names))
    assert not any(map(controller.is_over, leader_names))
    scancel(job)
    cluster.wait_over(job)
    assert all(map(controller.is_over, leader_names))


def test_a_heterogeneous_job_is_requeued(cluster: Cluster) -> None:
    job = cluster.submit(f"{HETEROGENEOUS}sleep 60")
    cluster.wait_running(job)
    assert controller.requeue(job)
    wait_for(lambda: restarts(cluster, [job]) == [1], 30)


# What is no word about a job ----------------------------------------------------------------------------------------


def test_an_id_that_is_none(cluster: Cluster) -> None:
    assert controller.is_over("999999") and controller.is_over("999999_1")
    for name in ("", "garbage", "_", "12_", "12-3", "12_[0-3]", "1,2", "99999999999999999999"):
        assert not controller.is_over(name), name


def test_a_job_that_the_cluster_hides_from_others(cluster: Cluster, as_nobody: AsNobody) -> None:
    """With PrivateData=jobs a job of somebody else is unknown while it runs."""
    job = cluster.submit("sleep 60")
    cluster.wait_running(job)
    file = cluster.root / "slurm.conf"
    before = file.read_text()
    try:
        file.write_text(f"{before}PrivateData=jobs\n")
        scontrol("reconfigure")
        as_nobody("squeue")
        assert not controller.is_over(job)
    finally:
        file.write_text(before)
        scontrol("reconfigure")
    assert not controller.is_over(job) and controller.is_over("999999")


def test_a_job_in_a_hidden_partition_is_in_the_queue(cluster: Cluster, as_nobody: AsNobody) -> None:
    scontrol("create", "PartitionName=hidden", "Nodes=ALL", "Hidden=YES")
    as_nobody("sbatch")
    as_nobody("squeue")
    job = cluster.submit("sleep 60", partition="hidden", chdir="/tmp")
    cluster.wait_running(job)
    try:
        queue = controller.my_jobs()
        assert queue and queue[job].state == "RUNNING"
        assert not controller.is_over(job)
    finally:
        scancel(job)
        cluster.wait_over(job)
        wait_for(lambda: subprocess.run(["scontrol", "delete", "PartitionName=hidden"], check=False).returncode == 0)


def test_another_cluster_of_the_same_name_has_ids_of_its_own(cluster: Cluster) -> None:
    """It answers, and knows nothing of the job: is_over is a word about an id, no proof that nobody runs."""
    job = cluster.submit("sleep 60")
    cluster.wait_running(job)
    assert not controller.is_over(job)
    with running_cluster():
        assert controller.is_over(job)
    assert not controller.is_over(job)


def test_what_a_user_sets_for_scancel_changes_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    job = cluster.submit("sleep 60")
    cluster.wait_running(job)
    monkeypatch.setenv("SCANCEL_STATE", "PENDING")
    assert controller.cancel([job])
    assert cluster.wait_over(job, 20)["state"] == "CANCELLED"
