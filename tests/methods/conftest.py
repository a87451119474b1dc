"""What the tests of methods share: small data, and edge-popup as slow layers (the reference)."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SlowTopK(torch.autograd.Function):
    """Rank values to a mask by sorting in Python; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, rank: Tensor, sparsity: float, frozen: Tensor | None = None) -> Tensor:
        return slow_keep(rank, sparsity, frozen).to(rank.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None


def slow_keep(rank: Tensor, sparsity: float, frozen: Tensor | None = None) -> Tensor:
    """The definition in docs/explanation/methods.md: order by (is NaN, value, logical index), prune the first ones.

    What is ``frozen`` (int8) comes first where it is removed for ever, -1, and last where it is kept for ever, 1.
    """
    values = rank.detach().contiguous().flatten().tolist()
    is_nan = [math.isnan(value) for value in values]
    kind = [0] * len(values) if frozen is None else frozen.contiguous().flatten().tolist()
    order = sorted(range(len(values)), key=lambda i: (kind[i], is_nan[i], 0.0 if is_nan[i] else values[i], i))
    keep = [True] * len(values)
    for i in order[: round(sparsity * (len(values) - 1))]:
        keep[i] = False
    return torch.tensor(keep).view(rank.shape)


class SlowLayer(nn.Module):
    """A convolution or linear layer, which holds theta and recomputes its mask in each forward."""

    def __init__(
        self, layer: nn.Conv2d | nn.Linear, theta: Tensor, scores: Tensor, sparsity: float, rank_by: str
    ) -> None:
        super().__init__()
        self.register_buffer("theta", theta.clone())
        self.scores = nn.Parameter(scores.clone())
        self.stride = layer.stride if isinstance(layer, nn.Conv2d) else None
        self.sparsity, self.rank_by = sparsity, rank_by

    def mask(self) -> Tensor:
        return SlowTopK.apply(self.scores if self.rank_by == "scores" else self.scores.abs(), self.sparsity)

    def not_redrawn(self) -> Tensor:
        return self.mask()

    def weight(self) -> Tensor:
        return self.theta * self.mask()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight()
        return F.linear(x, weight) if self.stride is None else F.conv2d(x, weight, stride=self.stride, padding=1)


def small_net(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Two convolutions with batch norm and one linear layer, 8x8 images, no bias: 3 weights, 522 numbers."""
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5, affine=False),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(6, affine=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(54, 3, bias=False),
    ).to(dtype)


def slow_net(
    dtype: torch.dtype, optimizer: Any, *, sparsity: float, rank_by: str, make: type[SlowLayer] = SlowLayer
) -> nn.Sequential:
    """``small_net`` of slow layers, from the theta and scores with which ``optimizer`` starts."""
    model = small_net(dtype)
    states = iter([optimizer.state[param] for param in optimizer.param_groups[0]["params"]])
    for i, layer in enumerate(model):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            state = next(states)
            model[i] = make(layer, state["theta"], state["scores"], sparsity, rank_by)
    return model


def slow_layers(model: nn.Module) -> list[SlowLayer]:
    return [module for module in model.modules() if isinstance(module, SlowLayer)]


def batch(step: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Batch number ``step``: four images and their classes."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(4, 2, 8, 8, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.randint(3, (4,), generator=generator)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, dtype: torch.dtype) -> Tensor:
    """Forward, backward and update with batch number ``step``; the loss."""
    images, classes = batch(step, dtype)
    loss = F.cross_entropy(model(images), classes)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def equal_bits(a: Tensor, b: Tensor) -> bool:
    """Equal shapes, dtypes and bytes: NaN equals itself, -0 differs from +0."""
    same_form = a.shape == b.shape and a.dtype == b.dtype
    return same_form and torch.equal(*(x.detach().contiguous().view(-1).view(torch.uint8) for x in (a, b)))


def assert_same_training(
    optimizer: Any,
    fast: nn.Module,
    slow: nn.Module,
    *,
    lr: float,
    num_steps: int,
    dtype: torch.dtype,
    before_forward: Callable[[int, list[SlowLayer]], None] = lambda step, layers: None,
    after_update: Callable[[int, list[SlowLayer]], None] = lambda step, layers: None,
    **sgd: float,
) -> None:
    """Train both; losses, theta, scores, momenta and masks must be equal bit for bit after each step."""
    layers, params = slow_layers(slow), optimizer.param_groups[0]["params"]
    slow_optimizer = torch.optim.SGD([layer.scores for layer in layers], lr=lr, foreach=False, **sgd)
    assert len(layers) == len(params) == 3
    for step in range(1, num_steps + 1):
        before_forward(step, layers)
        losses = train_step(fast, optimizer, step, dtype), train_step(slow, slow_optimizer, step, dtype)
        after_update(step, layers)
        assert equal_bits(*losses), f"step {step}: losses {losses}"
        for layer, param in zip(layers, params, strict=True):
            state = optimizer.state[param]
            assert equal_bits(state["theta"], layer.theta), f"step {step}: theta"
            assert equal_bits(state["scores"], layer.scores), f"step {step}: scores"
            assert torch.equal(optimizer.mask(param), layer.mask().bool()), f"step {step}: mask"
            if sgd.get("momentum"):
                assert torch.equal(state["momentum_buffer"], slow_optimizer.state[layer.scores]["momentum_buffer"])


@pytest.fixture(scope="session")
def slow() -> SimpleNamespace:
    """The reference and its data, as one namespace."""
    return SimpleNamespace(
        keep=slow_keep,
        Layer=SlowLayer,
        TopK=SlowTopK,
        net=slow_net,
        layers=slow_layers,
        small_net=small_net,
        batch=batch,
        train_step=train_step,
        equal_bits=equal_bits,
        assert_same_training=assert_same_training,
    )
