"""Whatever happens to the job of a trial: the trial is done once, with the bits of a quiet run, by no job too many."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.slurm_cluster import Cluster
from support.slurm_trials import TRIAL, Following, profile, records, scancel, scontrol
from support.trial_processes import newest_checkpoint, start, trial_of, wait_for

from suite.config import InputError
from suite.records import read_failure
from suite.slurm.record import read_job, write_job
from suite.stopping import Stopped

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_preempted_without_a_warning(tmp_path: Path, check_done: Callable[..., None]) -> None:
    """TERM alone, as clusters send it without preempt_send_user_signal: a job that leaves then is over for SLURM."""
    with Following(TRIAL, tmp_path, profile()) as following:
        scancel("--signal=TERM", following.wait_paused())
        following.resume()
        check_done(following, restarts=1)


@pytest.mark.long
def test_longer_than_the_time_limit(cluster: Cluster, tmp_path: Path) -> None:
    # SLURM looks every 30 s whether the warning is due, here 8 s after the start
    trial = trial_of("iterand", epochs=900, checkpoint={"every_seconds": 1, "max_time_share": 1})
    quiet = start(trial, tmp_path / "here", "--launcher", "local")
    with Following(trial, tmp_path / "there", profile(timeout_min=1, signal_seconds=52)) as following:
        job = following.wait_job()
        assert following.wait(250).status == "done"
    assert cluster.job(job)["restarts"] >= 1
    assert quiet.wait(100) == 0
    assert records(trial, tmp_path / "there") == records(trial, tmp_path / "here")


@pytest.mark.long
def test_requeued_by_somebody(tmp_path: Path, check_done: Callable[..., None]) -> None:
    with Following(TRIAL, tmp_path, profile()) as following:
        scontrol("requeue", following.wait_paused())
        check_done(following, restarts=1)


def test_a_power_cut(cluster: Cluster, tmp_path: Path, check_done: Callable[..., None]) -> None:
    with Following(TRIAL, tmp_path, profile()) as following:
        [node] = cluster.job(following.wait_paused())["nodes"]
        cluster.kill_node(int(node.removeprefix("node")))
        check_done(following, restarts=1)


@pytest.mark.long
def test_its_processes_killed(tmp_path: Path, check_done: Callable[..., None]) -> None:
    """As the kernel does where memory runs out."""
    with Following(TRIAL, tmp_path, profile()) as following:
        scancel("--signal=KILL", f"{following.wait_paused()}.0")
        check_done(following, jobs=2)
    assert "submitting it again" in (following.folder / "log.txt").read_text()


def test_cancelled_by_the_user(tmp_path: Path, check_done: Callable[..., None]) -> None:
    with Following(TRIAL, tmp_path, profile()) as following:
        job = following.wait_paused()
        scancel(job)
        with pytest.raises(Stopped, match=rf"job {job}: CANCELLED; its log: {following.folder}/job-\w+: .*again"):
            following.wait()
    assert newest_checkpoint(following.folder)
    with Following(TRIAL, tmp_path, profile()) as again:
        check_done(again, jobs=2)


def test_stopped_by_a_scheduler(cluster: Cluster, tmp_path: Path, check_done: Callable[..., None]) -> None:
    with Following(TRIAL, tmp_path, profile()) as following:
        job = following.wait_paused()
        following.stop()
        assert cluster.wait_over(job)["state"] == "CANCELLED"
        with pytest.raises(Stopped, match=f"job {job} was cancelled"):
            following.wait()
    with Following(TRIAL, tmp_path, profile()) as again:  # at once: the job may still be leaving
        check_done(again, jobs=2)


@pytest.mark.parametrize("state", ["RUNNING", pytest.param("PENDING", marks=pytest.mark.long)])
def test_a_driver_that_goes_away(cluster: Cluster, tmp_path: Path, check_done: Callable[..., None], state: str) -> None:
    if state == "PENDING":
        blocker = cluster.submit("sleep 60", nodes=4, exclusive=True)
        cluster.wait_running(blocker)
    with Following(TRIAL, tmp_path, profile()) as following:
        job = following.wait_job()
        if state == "RUNNING":
            following.wait_paused()
    with pytest.raises(Stopped, match=f"job {job} goes on"):
        following.wait()
    assert cluster.job(job)["state"] == state
    with Following(TRIAL, tmp_path, profile()) as again:
        assert again.wait_job() == job
        if state == "PENDING":
            scancel(blocker)
        else:
            following.resume()
        check_done(again, jobs=1 + (state == "PENDING"), restarts=0)


def test_a_driver_killed_before_it_knew_the_id(tmp_path: Path, check_done: Callable[..., None]) -> None:
    with Following(TRIAL, tmp_path, profile()) as following:
        job = following.wait_paused()
    record = read_job(following.folder)
    assert record is not None
    write_job(following.folder, record.model_copy(update={"id": None}))
    with Following(TRIAL, tmp_path, profile()) as again:
        assert again.wait_job() == job
        following.resume()
        check_done(again)


@pytest.mark.long
def test_an_answer_of_sbatch_that_is_lost(
    tmp_path: Path, check_done: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "bin" / "sbatch"
    shim.parent.mkdir()
    shim.write_text(
        '#!/bin/bash\nPATH=${PATH#*:}\nsbatch "$@" >/dev/null\n'
        "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2\nexit 1\n"
    )
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    with Following(TRIAL, tmp_path, profile()) as following:
        check_done(following)


def test_a_controller_that_is_away(cluster: Cluster, tmp_path: Path, check_done: Callable[..., None]) -> None:
    """Its job ends meanwhile; nothing is submitted while the queue is not known."""
    with Following(TRIAL, tmp_path, profile()) as following:
        following.wait_paused()
        cluster.stop_controller()
        with pytest.raises(InputError, match="does not answer: nothing was submitted"):
            Following(TRIAL, tmp_path / "other", profile()).__enter__()
        following.resume()
        wait_for((following.folder / "result.json").exists, 60)
        cluster.start_controller()
        check_done(following)


def test_jobs_that_lead_nowhere(cluster: Cluster, tmp_path: Path, check_done: Callable[..., None]) -> None:
    before = cluster.num_submitted()
    with (
        Following(TRIAL, tmp_path, profile(setup=["echo the module system is down", "exit 3"])) as following,
        pytest.raises(RuntimeError, match="given up after 3 without a newer checkpoint"),
    ):
        following.wait()
    assert cluster.num_submitted() - before == 3
    failure = read_failure(following.folder)
    assert failure is not None
    assert f"{following.folder}/job-" in failure.error and "the module system is down" in failure.error
    with Following(TRIAL, tmp_path, profile()) as again:  # as --retry-failed does
        check_done(again, jobs=4)


def test_allocations_that_lead_nowhere(cluster: Cluster, tmp_path: Path, check_done: Callable[..., None]) -> None:
    """Also where no driver is there to count them."""
    before = cluster.num_submitted()
    with Following(TRIAL, tmp_path, profile()) as following:
        job = following.wait_job()
        (following.folder / "allocations").write_text("\n" * 3)
        with pytest.raises(RuntimeError, match="given up after 3 allocations in a row without a newer checkpoint"):
            following.wait()
    assert cluster.num_submitted() - before == 1
    assert cluster.wait_over(job)["state"] == "FAILED"
    with Following(TRIAL, tmp_path, profile()) as again:
        check_done(again, jobs=2)


def test_gpus_as_slurm_gave_them(cluster: Cluster, tmp_path: Path) -> None:
    trial = trial_of("iterand", processes=2, resources={"gpus": 2})
    seen = tmp_path / "seen"
    setup = [*profile().setup, f'echo "$CUDA_VISIBLE_DEVICES" > {seen}']
    occupied = cluster.submit("sleep 60", nodes=4, gpus_per_node=2)  # so that ours are not the first ones
    cluster.wait_running(occupied)
    with (
        Following(trial, tmp_path, profile(setup=setup)) as following,
        pytest.raises(InputError, match=r"resources.gpus: 2.0: torch .* sees no GPU here"),
    ):
        following.wait()
    assert seen.read_text().strip() == "2,3"
    assert read_failure(following.folder) is None  # nothing is wrong with the trial


def test_what_slurm_refuses(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.num_submitted()
    with (
        Following(TRIAL, tmp_path, profile(partition="nosuch")) as following,
        pytest.raises(InputError, match=r"sbatch: .*invalid partition specified: nosuch"),
    ):
        following.wait()
    assert cluster.num_submitted() == before
    assert json.loads((following.folder / "job.json").read_text())["id"] is None
