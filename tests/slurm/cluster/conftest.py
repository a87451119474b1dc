"""All tests here need SLURM. They share one cluster, and each finds it empty."""

from collections.abc import Iterator

import pytest
from support.slurm_cluster import Cluster, running_cluster


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
