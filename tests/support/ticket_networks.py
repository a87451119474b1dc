"""Networks of any shapes and dtypes, trained with gradients of no meaning, to be saved as tickets and loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from suite import methods, tickets
from suite.testing.method.cases import fingerprint
from suite.tickets.header import Header

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


class Bag(nn.Module):
    """Weights of any shapes, with what else a network may hold; never run."""

    def __init__(self, shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(shape).to(dtype)) for shape in shapes])
        self.bias = nn.Parameter(torch.randn(5).to(dtype))
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("flags", torch.tensor([True, False]))


def train(optimizer: Any, num_steps: int, seed: int = 0) -> None:
    """Steps with gradients of no meaning."""
    generator = torch.Generator().manual_seed(seed)
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for _ in range(num_steps):
        for param in params:
            param.grad = torch.empty_like(param).copy_(torch.randn(param.shape, generator=generator))
        optimizer.step()


def trained(name: str, params: Any, num_steps: int = 10, **settings: Any) -> Any:
    if name == "iterand":
        settings = {"rerandomize_every": 2, "rerandomize_prob": 0.3} | settings
    optimizer = methods.get(name)(params, **{"sparsity": 0.5, "lr": 0.3, **settings})
    train(optimizer, num_steps)
    return optimizer


def check_round_trip(path: Path, model: nn.Module, optimizer: Any, other: nn.Module | None = None) -> Header:
    """Saved and loaded: equal bits, and an equal sum of sizes; `other` takes what is loaded."""
    before = fingerprint(dict(model.state_dict()))
    stored = tickets.save(path, model, optimizer)
    assert fingerprint(dict(model.state_dict())) == before, "saving changes nothing"
    assert stored.bytes == path.stat().st_size == sum(stored.parts.values())
    loaded = tickets.load(path, model=other)
    assert not loaded.training
    assert fingerprint(dict(loaded.state_dict())) == before
    assert other is None or loaded is other
    found = tickets.info(path)
    assert found.stored == stored
    assert isinstance(found.header, Header)
    return found.header


def change(optimizer: Any, param: Tensor, values: Callable[[Tensor], Tensor]) -> None:
    """Other random weights by hand; the network follows."""
    state = optimizer.state[param]
    state["theta"] = values(state["theta"].clone())
    with torch.no_grad():
        param.copy_(torch.where(optimizer.mask(param), state["theta"], 0.0))
