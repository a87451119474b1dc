"""What the tests of exactness share: each number of processes is started once."""

from pathlib import Path
from typing import Any

import pytest
from support.exactness_work import FOUR_RANK_TRIALS, FP64_JOBS, JOBS, run_four_rank_jobs, run_jobs, run_two_rank_jobs
from support.ranks import on_ranks

pytest.register_assert_rewrite("support.exactness_compare")  # its asserts say as much as those of tests


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``two_rank_results`` leaves the records of ``FULL_TRIAL``."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="session")
def fp64_results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What 2 processes make of ``FP64_JOBS``, by rank."""
    return on_ranks(2, run_jobs, tmp_path_factory.mktemp("fp64"), jobs=FP64_JOBS)


@pytest.fixture(scope="session")
def two_rank_results(tmp_path_factory: pytest.TempPathFactory, whole: Path) -> list[dict[str, Any]]:
    """What 2 processes make of every other job, by rank."""
    return on_ranks(2, run_two_rank_jobs, tmp_path_factory.mktemp("pair"), jobs=JOBS, folder=str(whole))


@pytest.fixture(scope="session")
def four_rank_results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """What 4 processes make of ``FOUR_RANK_TRIALS`` and ``FEWER``: the folder of records, and what they returned."""
    folder = tmp_path_factory.mktemp("four")
    return folder, on_ranks(4, run_four_rank_jobs, folder, folder=str(folder), jobs=FOUR_RANK_TRIALS)
