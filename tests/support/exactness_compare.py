"""What must be equal of two computations: their steps, their checkpoints and their records."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.ranks import without_times
from torch import Tensor

from suite.records import read_metrics, read_result
from suite.train import checkpoint


def assert_same_steps(found: dict[str, Any], expected: dict[str, Any], *, steps: int | None = None) -> None:
    assert found["masks"][:steps] == expected["masks"][:steps]
    assert found["thetas"][:steps] == expected["thetas"][:steps]
    if steps is None:
        assert found["losses"] == pytest.approx(expected["losses"], rel=0, abs=1e-10)
        for name, param in expected["params"].items():
            torch.testing.assert_close(found["params"][name], param, rtol=0, atol=1e-10)


def final_state(folder: Path) -> dict[str, Any]:
    """What the last checkpoint of a trial holds, but for times: scores and momenta show what a loss may hide."""
    state = checkpoint.unpack(max(folder.glob("checkpoint-*.pt")).read_bytes().split(b"\n", 2)[2][:-32])
    progress = state.pop("progress")
    lines = [without_times(line) for line in progress["lines"]]
    return {**state, "lines": lines, "num_updates": progress["num_updates"]}


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two nested records differ, tensors by bits and types."""
    if isinstance(one, Tensor):
        same = isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [where]
    if isinstance(one, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for number, pair in pairs for found in differences(*pair, f"{where}/{number}")]
    return [] if one == other else [where]


def assert_equal_trials(one: Path, other: Path) -> None:
    assert differences(final_state(one), final_state(other)) == []
    assert_equal_records(one, other)


def assert_equal_records(one: Path, other: Path) -> None:
    results = [read_result(folder) for folder in (one, other)]
    first, second = (without_times(result.model_dump()) for result in results if result)
    assert first == second
    first_lines, second_lines = ([without_times(line) for line in read_metrics(folder)] for folder in (one, other))
    assert first_lines == second_lines
    assert len(first_lines) == 2
