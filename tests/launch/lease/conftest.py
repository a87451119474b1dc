"""What the tests of leases share: a trial's folder, and other processes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.lease_processes import Process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a trial will be: it is not there yet."""
    return tmp_path / "trials" / "x"


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts processes, and ends them at the end of the test."""
    processes: list[Process] = []

    def start(**options: Any) -> Process:
        processes.append(Process(**options))
        assert processes[-1].answer() == "ready"
        return processes[-1]

    yield start
    for process in processes:
        process.close()


@pytest.fixture(scope="module")
def crowd() -> Iterator[list[Process]]:
    """Eight processes, for races."""
    processes = [Process() for _ in range(8)]
    assert [process.answer() for process in processes] == ["ready"] * 8
    yield processes
    for process in processes:
        process.close()
