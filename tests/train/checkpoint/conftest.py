"""What the tests of checkpoints share."""

import logging
from collections.abc import Callable

import pytest


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the suite has logged so far."""
    caplog.set_level(logging.INFO, logger="suite")
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("suite")]
