"""An owner elsewhere that is part of a SLURM job: what its cluster says of the job is believed, silence is not."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.disks import list_names
from support.lease_processes import change_owner, fake_heartbeat, owner_in

from suite.launch import lease
from suite.launch.lease import Busy, Lease, Owner

Squeue = Callable[[str], Path]
OVER = {
    "forgotten": "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1",
    "not listed": "exit 0",
    **{state.lower(): f"echo '77|{state}|sweep.x|x 0'" for state in ("CANCELLED", "TIMEOUT", "NODE_FAIL", "COMPLETED")},
}
NOT_OVER = {
    "running": "echo '77|RUNNING|sweep.x|x 0'",
    "ending": "echo '77|COMPLETING|sweep.x|x 0'",
    "waiting again": "echo '77|PENDING|sweep.x|x 0'",
    "silent": "echo 'Unable to contact slurm controller' >&2; exit 1",
}


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Squeue:
    """Puts a squeue on PATH that runs a line of shell; returns the file with the calls it had."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    (tmp_path / "bin").mkdir()

    def squeue(body: str) -> Path:
        (tmp_path / "bin" / "squeue").write_text(f'#!/bin/sh\necho "$*" >>"{tmp_path}/calls"\n{body}\n')
        (tmp_path / "bin" / "squeue").chmod(0o755)
        (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho 'PrivateData = none'\n")
        (tmp_path / "bin" / "scontrol").chmod(0o755)
        return tmp_path / "calls"

    return squeue


def left_elsewhere(folder: Path, *, job: str = "77", restarts: str = "0") -> Path:
    """An attempt whose owner is on another machine, in a job."""
    with Lease.acquire(folder, timeout=0) as first:
        pass
    change_owner(first.folder, released=False, host="node1", boot="another", job=job, restarts=restarts)
    return first.folder


@contextmanager
def takes(folder: Path, timeout: float) -> Iterator[float]:
    """Take it, and give the seconds that it took."""
    began = time.monotonic()
    with Lease.acquire(folder, timeout=timeout) as held:
        assert held.number == 2
        yield time.monotonic() - began


def calls(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("body", OVER.values(), ids=OVER)
def test_an_owner_whose_job_is_over_is_gone_after_three_beats(
    folder: Path, squeue: Squeue, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.2)
    asked = squeue(body)
    left_elsewhere(folder)
    with takes(folder, 60) as seconds:
        assert 0.6 <= seconds < 5
    (call,) = calls(asked)
    assert call.startswith("--jobs=77 ")


@pytest.mark.parametrize("body", OVER.values(), ids=OVER)
def test_the_word_of_a_cluster_does_not_override_a_heartbeat(folder: Path, squeue: Squeue, body: str) -> None:
    """Another cluster of the same name may know another job by this id, or none."""
    asked = squeue(body)
    attempt = left_elsewhere(folder)
    with fake_heartbeat(attempt), pytest.raises(Busy, match="on node1 runs this trial"):
        Lease.acquire(folder, timeout=60)
    assert list_names(folder) == ["attempt-1"]
    assert len(calls(asked)) == 1


def test_an_earlier_run_of_our_own_job_lives_while_its_heart_beats(
    folder: Path, squeue: Squeue, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue(NOT_OVER["running"])
    attempt = left_elsewhere(folder)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with fake_heartbeat(attempt), pytest.raises(Busy, match="on node1 runs this trial"):
        Lease.acquire(folder, timeout=60)


@pytest.mark.parametrize("body", NOT_OVER.values(), ids=NOT_OVER)
def test_else_its_heartbeat_decides(folder: Path, squeue: Squeue, body: str) -> None:
    asked = squeue(body)
    attempt = left_elsewhere(folder)
    with fake_heartbeat(attempt), pytest.raises(Busy, match="on node1 runs this trial"):
        Lease.acquire(folder, timeout=3)
    assert list_names(folder) == ["attempt-1"]
    with takes(folder, 0.4) as seconds:  # it stands still now
        assert 0.4 <= seconds < 5
    assert len(calls(asked)) == 2  # once for each who asked, however long it waited


def test_without_squeue_its_heartbeat_decides(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node, or a machine of no cluster."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    attempt = left_elsewhere(folder)
    with fake_heartbeat(attempt), pytest.raises(Busy):
        Lease.acquire(folder, timeout=2)
    with takes(folder, 0.3) as seconds:
        assert 0.3 <= seconds < 5


def test_an_owner_of_no_job_is_not_asked_for(folder: Path, squeue: Squeue) -> None:
    asked = squeue("exit 0")
    left_elsewhere(folder, job="", restarts="")
    with takes(folder, 0.3) as seconds:
        assert 0.3 <= seconds < 5
    assert calls(asked) == []


def test_an_earlier_run_of_our_own_job_is_gone_without_asking(
    folder: Path, squeue: Squeue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = squeue(NOT_OVER["running"])
    attempt = left_elsewhere(folder)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.2)
    assert owner_in(attempt).is_earlier_run_of_our_job
    with takes(folder, 60) as seconds:
        assert 0.6 <= seconds < 5
        assert (owner_in(folder / "attempt-2").job, owner_in(folder / "attempt-2").restarts) == ("77", "1")
    assert calls(asked) == []


@pytest.mark.parametrize(("job", "restarts"), [("77", "0"), ("77", None), ("78", "1")])
def test_the_same_run_or_another_job_says_nothing(
    folder: Path, squeue: Squeue, monkeypatch: pytest.MonkeyPatch, job: str, restarts: str | None
) -> None:
    asked = squeue(NOT_OVER["running"])
    attempt = left_elsewhere(folder)
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    if restarts:
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    assert owner_in(attempt).state() == "unknown"
    with fake_heartbeat(attempt), pytest.raises(Busy):
        Lease.acquire(folder, timeout=3)
    assert len(calls(asked)) == 1


def test_an_owner_says_in_which_job_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")  # of no job
    assert (Owner.here(1).job, Owner.here(1).restarts) == ("", "")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert (Owner.here(1).job, Owner.here(1).restarts) == ("5", "3")
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    assert (Owner.here(1).job, Owner.here(1).restarts) == ("5", "0")
    assert Owner.here(1).pid == os.getpid()


def test_an_owner_of_an_earlier_version_names_no_job(folder: Path) -> None:
    attempt = left_elsewhere(folder)
    old = owner_in(attempt).model_dump(exclude={"job", "restarts"})
    assert Owner.model_validate(old).job == ""
