"""Sweeps with made-up results: what tables and figures are tested on."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from support.fake_results import write_result

from analysis.parts import style
from suite.config import Trial
from suite.config.sweep_file import Sweep, load_sweep
from suite.records.ledger import Ledger

TWO_METHODS = """\
name: two_methods
base: {dataset: digits, epochs: 1, global_batch_size: 64}
grid:
  model: {name: conv2, width_mult: [0.5, 0.25]}
  seed: [1, 2, 3]
  method:
    - {name: weights, lr: 0.1}
    - {name: edge_popup, lr: 0.1, sparsity: 0.5}
"""


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up results need not outlive a power cut: waiting for the disk takes longer than to write them."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Load a sweep, with words of its text replaced."""

    def sweep(*replaced: tuple[str, str], text: str = TWO_METHODS) -> Sweep:
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "sweep.yaml").write_text(text)
        return load_sweep(tmp_path / "sweep.yaml")

    return sweep


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Ledger]:
    """A ledger with a result for each trial; ``change(trial)`` gives what is not made up, or None for no result."""

    def fill(sweep: Sweep, change: Callable[[Trial], dict[str, Any] | None] = lambda trial: {}) -> Ledger:
        ledger = Ledger(tmp_path / "results")
        for trial in sweep.trials.values():
            changes = change(trial)
            if changes is not None:
                write_result(ledger, trial, **changes)
        return ledger

    return fill


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures as they were when they had been written."""
    kept: list[Figure] = []
    close = style.pyplot.close
    monkeypatch.setattr(style.pyplot, "close", kept.append)
    yield kept
    for figure in kept:
        close(figure)


@pytest.fixture
def drawn(written: list[Figure], monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The same with empty files: layout and pixels take most of the time."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **rest: file.touch())
    return written
