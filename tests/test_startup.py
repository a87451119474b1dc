"""Imports and ends without garbage collections, which come back where anything goes on."""

import gc
import importlib
import subprocess
import sys

import pytest

from suite import startup


def test_garbage_is_collected_again_after_it_whatever_happens() -> None:
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError, match="no_module_False"), startup.without_garbage_collection():
        importlib.import_module(f"no_module_{gc.isenabled()}")
    assert gc.isenabled()


def test_what_was_garbage_meanwhile_is_collected_later() -> None:
    """A worker imports for one trial after the other: nothing of them may stay."""
    kept = gc.get_freeze_count()
    with startup.without_garbage_collection():
        pass
    assert gc.get_freeze_count() == kept


def test_a_command_leaves_nothing_to_search_at_its_end_and_not_before() -> None:
    code = (
        "import atexit, gc; at_start = gc.get_freeze_count()\n"  # Python 3.12 starts with some
        "atexit.register(lambda: print(gc.get_freeze_count() > at_start + 1000))\n"
        "from suite import cli; cli.run(lambda: print(gc.get_freeze_count() - at_start) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]
