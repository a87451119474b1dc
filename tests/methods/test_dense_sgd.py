"""Weights: its cheaper step has the bits of torch's single operations."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from suite import methods
from suite.methods import dense_sgd

SHAPES = [(10,), (4, 1, 3, 3), (129, 129), (1,), (64, 32, 3, 3), (160, 160), (0, 3)]  # with ends of a line, and without


def grads(step: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(step)
    for shape in SHAPES:
        yield torch.randn(shape, generator=generator) * 0.1


def trained(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], dtype: torch.dtype, strides: str
) -> list[Tensor]:
    """Parameters and momenta after five steps; one parameter misses a gradient in some of them."""
    generator = torch.Generator().manual_seed(7)
    params = [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]
    if strides == "channels_last":
        for param in params:
            if param.ndim == 4:
                param.data = param.data.contiguous(memory_format=torch.channels_last)
    optimizer = make(params)
    for step in range(5):
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        for i, (param, grad) in enumerate(zip(params, grads(step), strict=True)):
            param.grad = None if i == 2 and step in (0, 3) else grad.to(dtype)
        optimizer.step()
    return [*params, *(optimizer.state[param]["momentum_buffer"] for param in params if optimizer.state[param])]


@pytest.mark.parametrize("strides", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("weight_decay", [0.01, 0.0])
def test_bits_of_torchs_single_operations(
    momentum: float, weight_decay: float, dtype: torch.dtype, strides: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dict(momentum=momentum, weight_decay=weight_decay)
    calls: list[int] = []
    plain = dense_sgd.sgd_
    monkeypatch.setattr("suite.methods.weights.sgd_", lambda *args, **kwargs: (calls.append(1), plain(*args, **kwargs)))
    expected = trained(lambda params: torch.optim.SGD(params, lr=0.1, foreach=False, **settings), dtype, strides)
    found = trained(lambda params: methods.Weights(params, lr=0.1, distribution=None, **settings), dtype, strides)
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert bool(calls) == (dtype in dense_sgd.DTYPES)


def test_large_tensors_go_through_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above compares single operations with themselves."""
    if not dense_sgd._fuses_alike(torch.float32, torch.get_num_threads()):
        pytest.skip("torch's fused operation rounds in another way here")
    sizes: list[int] = []
    fused = torch._fused_sgd_
    monkeypatch.setattr(
        torch, "_fused_sgd_", lambda params, *rest, **kw: (sizes.extend(map(len, params)), fused(params, *rest, **kw))
    )
    trained(lambda params: methods.Weights(params, lr=0.1, distribution=None), torch.float32, "contiguous")
    assert set(sizes) == {129 * 129 // 64 * 64, 64 * 32 * 9, 160 * 160}


@pytest.mark.parametrize("asked", [{"nesterov": True}, {"dampening": 0.5}, {"maximize": True}])
def test_what_else_sgd_can_do_is_done_by_torch(asked: dict[str, float]) -> None:
    def make(cls: type, params: list[nn.Parameter], **settings: object) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = cls(params, lr=0.1, momentum=0.9, weight_decay=0.01, **settings)
        optimizer.param_groups[0].update(asked)
        return optimizer

    expected = trained(lambda params: make(torch.optim.SGD, params, foreach=False), torch.float32, "contiguous")
    found = trained(lambda params: make(methods.Weights, params, distribution=None), torch.float32, "contiguous")
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
