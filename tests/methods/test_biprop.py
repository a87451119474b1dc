"""Biprop against itself as slow layers: the same losses, scores and masks, bit for bit where float64 leaves room."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.methods import prunable
from suite.methods.biprop import BiProp
from suite.methods.edge_popup import EdgePopup

SGD = {"momentum": 0.9, "weight_decay": 1e-3}


class SlowBinary(torch.autograd.Function):
    """The forward pass of the definition, and the gradient that the authors put in place of its derivative."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, theta: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(scores, theta)
        kept = [abs(value) for value in theta[mask].tolist()]
        magnitude = math.fsum(kept) / len(kept)
        return torch.where(mask, torch.tensor(magnitude, dtype=theta.dtype) * theta.sign(), 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        scores, theta = ctx.saved_tensors
        return grads[0] * theta * scores.sign(), None, None


def slow_binary_net(slow: SimpleNamespace, dtype: torch.dtype, optimizer: Any) -> nn.Sequential:
    class SlowBinaryLayer(slow.Layer):  # type: ignore[name-defined, misc]
        def weight(self) -> Tensor:
            result: Tensor = SlowBinary.apply(self.scores, self.theta, self.mask().bool())
            return result

    found: nn.Sequential = slow.net(dtype, optimizer, sparsity=0.6, rank_by="abs_scores", make=SlowBinaryLayer)
    return found


@pytest.mark.parametrize(
    ("dtype", "distribution"),
    [
        (torch.float32, "signed_constant"),
        (torch.float32, "kaiming_uniform"),
        (torch.float32, "kaiming_normal"),
        (torch.float64, "signed_constant"),
    ],
)
def test_equals_the_layer_form(slow: SimpleNamespace, dtype: torch.dtype, distribution: str) -> None:
    fast = slow.small_net(dtype)
    optimizer = BiProp(prunable(fast), sparsity=0.6, lr=0.3, seed=1, distribution=distribution, **SGD)
    reference = slow_binary_net(slow, dtype, optimizer)
    first = [layer.mask().clone() for layer in slow.layers(reference)]
    slow.assert_same_training(optimizer, fast, reference, lr=0.3, num_steps=100, dtype=dtype, **SGD)
    changed = [(a != layer.mask()).sum() for a, layer in zip(first, slow.layers(reference), strict=True)]
    assert min(changed) > 0


def test_float64_differs_from_the_layer_form_in_the_last_bits_of_the_mean(slow: SimpleNamespace) -> None:
    """Sums in float64 round by their order, and there are no wider numbers to hide it: within 20 steps below 1e-12."""
    fast = slow.small_net(torch.float64)
    optimizer = BiProp(prunable(fast), sparsity=0.6, lr=0.3, seed=1, **SGD)
    reference = slow_binary_net(slow, torch.float64, optimizer)
    layers = slow.layers(reference)
    sgd = torch.optim.SGD([layer.scores for layer in layers], lr=0.3, foreach=False, **SGD)
    for step in range(20):
        losses = [slow.train_step(m, o, step, torch.float64) for m, o in ((fast, optimizer), (reference, sgd))]
        torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
        for (_, param), layer in zip(prunable(fast), layers, strict=True):
            assert torch.equal(optimizer.mask(param), layer.mask().bool())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank_by", ["scores", "abs_scores"])
def test_with_signed_constant_it_is_edge_popup(slow: SimpleNamespace, rank_by: str, dtype: torch.dtype) -> None:
    settings: dict[str, Any] = {
        "sparsity": 0.6,
        "lr": 0.3,
        "distribution": "signed_constant",
        "rank_by": rank_by,
        **SGD,
    }
    nets = [slow.small_net(dtype), slow.small_net(dtype)]
    optimizers = [cls(prunable(net), **settings) for cls, net in zip((EdgePopup, BiProp), nets, strict=True)]
    for step in range(30):
        pairs = zip(nets, optimizers, strict=True)
        assert slow.equal_bits(*(slow.train_step(net, opt, step, dtype) for net, opt in pairs))
    for (_, a), (_, b) in zip(prunable(nets[0]), prunable(nets[1]), strict=True):
        assert slow.equal_bits(a, b)
        assert slow.equal_bits(optimizers[0].state[a]["scores"], optimizers[1].state[b]["scores"])


def test_one_layer_by_hand() -> None:
    """Four weights of which round(0.5 * 3) = 2 are pruned; everything is a power of two, so exact."""
    weight = nn.Parameter(torch.tensor([[2.0, -4.0], [8.0, -16.0]]))
    optimizer = BiProp([weight], sparsity=0.5, lr=0.25, momentum=0.0, distribution=None)
    optimizer.state[weight]["scores"].copy_(torch.tensor([[1.0, -3.0], [0.5, -1.0]]))
    weight.grad = torch.tensor([[-1.0, 1.0], [1.0, 0.5]])
    optimizer.step()
    # step = grad * theta * sign(s) = (-2, 4, 8, 8), scores - step / 4
    assert optimizer.state[weight]["scores"].tolist() == [[1.5, -4.0], [-1.5, -3.0]]
    # 1.5 and -1.5 are pruned; the others' mean is (4 + 16) / 2
    assert optimizer.magnitude(weight) == 10
    assert weight.tolist() == [[0.0, -10.0], [0.0, -10.0]]
    assert optimizer.theta(weight).tolist() == [[2.0, -4.0], [8.0, -16.0]]
