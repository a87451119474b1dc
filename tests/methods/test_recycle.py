"""Weight recycling: when and what it copies, against a reference that sorts one number at a time."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from suite.methods import prunable
from suite.methods.edge_popup import EdgePopup
from suite.methods.recycle import Recycle

SGD = {"momentum": 0.9, "weight_decay": 1e-3}


def slow_recycle(layer: Any, share: float) -> None:
    """The i-th lowest absolute score's weight takes the value of the i-th of the k highest ones."""
    scores, theta = layer.scores.detach().flatten().tolist(), layer.theta.view(-1)
    order = sorted(range(len(scores)), key=lambda i: (math.isnan(scores[i]), abs(scores[i]), i))
    count = math.floor(share * len(scores))
    old = theta.tolist()
    for low, high in zip(order[:count], order[len(order) - count :], strict=True):
        theta[low] = old[high]


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rank_by", ["scores", "abs_scores"])
@pytest.mark.parametrize("distribution", ["signed_constant", "kaiming_uniform"])
def test_equals_the_layer_form(slow: SimpleNamespace, distribution: str, rank_by: str, dtype: torch.dtype) -> None:
    """100 steps; the last recycling is at step 90 = T - K_per."""
    fast = slow.small_net(dtype)
    settings = {"sparsity": 0.6, "distribution": distribution, "rank_by": rank_by, "lr": 0.3, "seed": 7, **SGD}
    own = {"recycle_every": 5, "recycle_share": 0.21, "num_steps": 95}
    optimizer = Recycle(prunable(fast), **own, **settings)
    reference = slow.net(dtype, optimizer, sparsity=0.6, rank_by=rank_by)
    recycled = []

    def after_update(step: int, layers: list[Any]) -> None:
        if step % 5 == 0 and step <= 90:
            recycled.append(step)
            for layer in layers:
                slow_recycle(layer, 0.21)

    slow.assert_same_training(
        optimizer, fast, reference, lr=0.3, num_steps=100, dtype=dtype, after_update=after_update, **SGD
    )
    assert recycled == [*range(5, 91, 5)]


@pytest.mark.parametrize(("every", "num_steps", "expected"), [(3, None, [3, 6, 9]), (3, 9, [3, 6]), (3, 8, [3])])
def test_the_last_recycling_is_a_period_before_the_end(every: int, num_steps: int | None, expected: list[int]) -> None:
    weight = nn.Parameter(torch.zeros(30, 40))
    settings: dict[str, Any] = dict(sparsity=0.5, lr=0.1, distribution="kaiming_uniform")
    optimizer = Recycle([weight], recycle_every=every, num_steps=num_steps, **settings)
    changed = []
    for step in range(1, 10):
        before = optimizer.theta(weight).clone()
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
        optimizer.step()
        if not torch.equal(before, optimizer.theta(weight)):
            changed.append(step)
    assert changed == expected


def test_one_layer_by_hand() -> None:
    """Ten weights, of which floor(0.35 * 10) = 3 are replaced; equal absolute scores go by index."""
    weight = nn.Parameter(torch.arange(10.0).view(2, 5))
    optimizer = Recycle([weight], sparsity=0.5, lr=0.0, distribution=None, recycle_every=1, recycle_share=0.35)
    optimizer.state[weight]["scores"].copy_(torch.tensor([[3.0, -3.0, 0.5, 9.0, -0.5], [0.0, -7.0, 3.0, 1.0, 2.0]]))
    weight.grad = torch.zeros(2, 5)
    optimizer.step()
    # ascending: 5, 2 and 4, 8, 9, 0 and 1 and 7, 6, 3: so 5 takes the value of 7, 2 that of 6, 4 that of 3
    assert optimizer.theta(weight).flatten().tolist() == [0, 1, 6, 3, 3, 7, 6, 7, 8, 9]
    # raw scores keep all but 6, 1, 4 and 5
    assert weight.flatten().tolist() == [0, 0, 6, 3, 0, 0, 0, 7, 8, 9]


def test_a_share_of_zero_is_edge_popup(slow: SimpleNamespace) -> None:
    settings: dict[str, Any] = {"sparsity": 0.6, "lr": 0.3, "seed": 4, **SGD}
    nets = [slow.small_net(), slow.small_net()]
    plain = EdgePopup(prunable(nets[0]), **settings)
    other = Recycle(prunable(nets[1]), recycle_every=2, recycle_share=0.0, **settings)
    for step in range(10):
        pairs = zip(nets, (plain, other), strict=True)
        assert slow.equal_bits(*(slow.train_step(net, opt, step, torch.float32) for net, opt in pairs))


def test_packed_signs_are_recycled_alike(slow: SimpleNamespace) -> None:
    settings: dict[str, Any] = {"sparsity": 0.6, "lr": 0.3, "recycle_every": 2, **SGD}
    nets = [slow.small_net(), slow.small_net()]
    optimizers = [
        Recycle(prunable(net), pack_signs=packs, **settings) for net, packs in zip(nets, (False, True), strict=True)
    ]
    for step in range(10):
        pairs = zip(nets, optimizers, strict=True)
        assert slow.equal_bits(*(slow.train_step(net, opt, step, torch.float32) for net, opt in pairs))
    for (_, a), (_, b) in zip(prunable(nets[0]), prunable(nets[1]), strict=True):
        assert slow.equal_bits(optimizers[0].theta(a), optimizers[1].theta(b))


def test_no_number_depends_on_the_memory_format(slow: SimpleNamespace) -> None:
    weights = [nn.Parameter(torch.zeros(6, 4, 3, 3)), nn.Parameter(torch.zeros(6, 4, 3, 3))]
    weights[1].data = weights[1].data.to(memory_format=torch.channels_last)
    settings: dict[str, Any] = dict(sparsity=0.5, lr=0.1, distribution="kaiming_normal", recycle_every=2)
    optimizers = [Recycle([weight], **settings) for weight in weights]
    for step in range(6):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
            weight.grad = torch.empty_like(weight).copy_(noise)
            optimizer.step()
        assert slow.equal_bits(*(opt.theta(weight) for weight, opt in zip(weights, optimizers, strict=True)))
        assert slow.equal_bits(*weights)
