"""The contract of ``suite.methods`` for the suite's own methods: on two ranks."""

from pathlib import Path

import pytest
from support.ranks import join_group, on_ranks

from suite.testing.method import test_ranks
from suite.testing.method.test_ranks import *


def on_a_rank(folder: str) -> dict[str, object]:
    with join_group() as group:
        return test_ranks.found_on(group.rank, Path(folder))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """From processes that are forked, which have torch already."""
    folder = tmp_path_factory.mktemp("contract")
    return on_ranks(2, on_a_rank, folder, folder=str(folder))
