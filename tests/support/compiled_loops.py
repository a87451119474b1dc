"""Waiting for compiled loops: while one worker compiles, others do without."""

import time
from collections.abc import Callable
from typing import Any

_MOST_SECONDS = 120.0


def when_had(ask: Callable[[], Any]) -> Any:
    """What ``ask`` gives once it is not None; None where that takes too long."""
    end = time.monotonic() + _MOST_SECONDS
    while (found := ask()) is None and time.monotonic() < end:
        time.sleep(0.1)
    return found
