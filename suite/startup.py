"""Importing what is large, sooner, and leaving it."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Import without searches for garbage: they find none, and take a fifth of the time of torch or MLflow."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def end_without_garbage_collection() -> None:
    """Let this process end without a search of all that it imported, which takes up to a second."""
    atexit.register(_freeze)


def _freeze() -> None:
    if "triton" not in sys.modules:  # frozen, its types are reported as leaks
        gc.freeze()
