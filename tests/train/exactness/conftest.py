"""What the tests of exactness share: each number of processes is started once."""

from pathlib import Path
from typing import Any

import pytest
from support.exactness_work import FOURS, JOBS, by_four, by_two
from support.ranks import on_ranks

pytest.register_assert_rewrite("exactness.compare")  # its asserts say as much as those of tests


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``pair`` leaves the records of WHOLE."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, whole: Path) -> list[dict[str, Any]]:
    """What 2 processes make of every job, by rank."""
    return on_ranks(2, by_two, tmp_path_factory.mktemp("pair"), jobs=JOBS, folder=str(whole))


@pytest.fixture(scope="session")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """What 4 processes make of FOURS and FEWER: the folder of their records, and what they returned."""
    folder = tmp_path_factory.mktemp("four")
    return folder, on_ranks(4, by_four, folder, folder=str(folder), jobs=FOURS)
