"""What a record says about the machine."""

import resource
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from suite.records import provenance


@pytest.mark.parametrize(("system", "megabytes"), [("linux", 2048.0), ("darwin", 2.0)])
def test_peak_memory_without_proc(system: str, megabytes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux counts in KiB, macOS in bytes."""

    def missing(path: Path, *args: Any, **kwargs: Any) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=2_000_000))
    monkeypatch.setattr(sys, "platform", system)
    assert provenance.peak_memory_mb(torch.device("cpu")) == megabytes
