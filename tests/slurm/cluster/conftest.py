"""All tests here need SLURM. They share one cluster, and each finds it empty."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.slurm_cluster import Cluster, running_cluster
from support.slurm_trials import TRIAL, Following, records, run_quietly
from support.trial_processes import unexpected_files

from suite.launch import job_chain, slurm


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("slurm")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real cluster of four nodes; SLURM's commands speak to it."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _restored(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.restore()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows a trial in this process looks often: nothing here is far away."""
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(slurm, "_SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(job_chain, "_LOOK_SECONDS", 0.1)


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The records of TRIAL where nothing happens to it."""
    return run_quietly([TRIAL], tmp_path_factory.mktemp("quiet"))[0]


@pytest.fixture
def check_done(cluster: Cluster, tmp_path: Path, quiet: Any) -> Callable[..., None]:
    """That TRIAL ended as it should, with so many jobs since the test began."""
    before = cluster.num_submitted()

    def check(following: Following, *, jobs: int = 1, restarts: int | None = None) -> None:
        assert following.wait().status == "done"
        assert records(TRIAL, tmp_path) == quiet
        assert unexpected_files(following.folder) == []
        assert cluster.num_submitted() - before == jobs
        last = max((job["id"] for job in cluster.jobs() if job["name"] == f"test.{TRIAL.trial_id}"), key=int)
        job = cluster.wait_over(last)
        assert job["state"] == "COMPLETED"
        assert restarts is None or job["restarts"] >= restarts > 0 or job["restarts"] == restarts == 0

    return check
