"""States to save and to compare, bit for bit."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trial_processes import trial_of
from torch import Tensor

from suite import methods
from suite.testing.method.cases import cases_of
from suite.train import checkpoint

MAGIC = b"suite checkpoint 1\n"
IDENTITY = {"trial_id": "0123456789ab", "train_id": "d1", "code_id": "c1", "torch": "2.11"}
tiny = functools.partial(trial_of, model={"name": "conv2", "width_mult": 0.0625}, checkpoint={})  # 20 steps an epoch
each_method = pytest.mark.parametrize("method", cases_of(methods.names()))


def state_of(step: int, size: int = 1000) -> dict[str, Any]:
    """A state that says in each of its numbers of which step it is."""
    return {"step": step, "tensors": [torch.full((size,), float(step)), torch.full((3, size), step)]}


def save(folder: Path, step: int, *, size: int = 1000, **identity: str) -> Path:
    saved = checkpoint.save(folder, state_of(step, size), step=step, identity={**IDENTITY, **identity})
    path = folder / f"checkpoint-{step:010d}.pt"
    assert path.stat().st_size == saved
    return path


def step_read(folder: Path, **identity: str) -> int | None:
    """The step of the checkpoint that can be used, after a look whether all of it is there."""
    found = checkpoint.read(folder, {**IDENTITY, **identity})
    if found is None:
        return None
    state = checkpoint.unpack(found)
    step: int = state["step"]
    assert bitwise_equal(state, state_of(step, len(state["tensors"][0])))
    return step


def bitwise_equal(one: Any, other: Any) -> bool:
    """Equal in kind and in every bit, whatever it is made of."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and torch.equal(bytes_of(one), bytes_of(other))
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and list(one) == list(other)
            and all(bitwise_equal(one[key], other[key]) for key in one)
        )
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(bitwise_equal, one, other))
    return type(one) is type(other) and repr(one) == repr(other)  # which tells -0.0 from 0.0, and NaN is NaN


def bytes_of(tensor: Tensor) -> Tensor:
    return tensor.detach().flatten().contiguous().view(torch.uint8)


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
