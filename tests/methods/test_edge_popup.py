"""Edge-popup against itself as slow layers: the same losses, scores and masks, bit for bit."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from suite.methods import prunable
from suite.methods.edge_popup import EdgePopup

SGD = {"momentum": 0.9, "weight_decay": 1e-3}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank_by", ["scores", "abs_scores"])
@pytest.mark.parametrize("distribution", ["signed_constant", "kaiming_uniform"])
def test_equals_the_layer_form(slow: SimpleNamespace, distribution: str, rank_by: str, dtype: torch.dtype) -> None:
    fast = slow.small_net(dtype)
    settings = {"sparsity": 0.6, "distribution": distribution, "rank_by": rank_by, "lr": 0.3, **SGD}
    optimizer = EdgePopup(prunable(fast), seed=1, **settings)
    reference = slow.net(dtype, optimizer, sparsity=0.6, rank_by=rank_by)
    first = [layer.mask().clone() for layer in slow.layers(reference)]
    slow.assert_same_training(optimizer, fast, reference, lr=0.3, num_steps=100, dtype=dtype, **SGD)
    changed = [(a != layer.mask()).sum() for a, layer in zip(first, slow.layers(reference), strict=True)]
    assert min(changed) > 0  # masks that stand still would prove nothing


@pytest.mark.parametrize("sgd", [{"momentum": 0.0, "weight_decay": 0.0}, {"momentum": 0.5, "weight_decay": 0.0}])
@pytest.mark.parametrize("sparsity", [0.0, 0.95])
def test_equals_the_layer_form_with_other_settings(
    slow: SimpleNamespace, sparsity: float, sgd: dict[str, float]
) -> None:
    fast = slow.small_net()
    optimizer = EdgePopup(prunable(fast), sparsity=sparsity, lr=0.1, score_init="fan_in_uniform", **sgd)
    reference = slow.net(torch.float32, optimizer, sparsity=sparsity, rank_by="scores")
    slow.assert_same_training(optimizer, fast, reference, lr=0.1, num_steps=20, dtype=torch.float32, **sgd)


def test_fixed_random_weights_stay_fixed(slow: SimpleNamespace) -> None:
    model = slow.small_net()
    optimizer = EdgePopup(prunable(model), sparsity=0.5, lr=0.3)
    before = [optimizer.state[param]["theta"].clone() for _, param in prunable(model)]
    for step in range(5):
        slow.train_step(model, optimizer, step, torch.float32)
    assert all(torch.equal(optimizer.state[p]["theta"], b) for (_, p), b in zip(prunable(model), before, strict=True))


def test_one_weight_by_hand() -> None:
    """Three weights, sparsity 0.5: one is pruned. Everything is a power of two, so exact."""
    weight = nn.Parameter(torch.tensor([[2.0, -4.0, 8.0]]))
    optimizer = EdgePopup([weight], sparsity=0.5, lr=0.5, momentum=0.5, weight_decay=0.25, distribution=None)
    optimizer.state[weight]["scores"].copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    weight.grad = torch.tensor([[-1.0, 1.0, 0.5]])
    optimizer.step()
    # step = grad * theta + scores / 4 = (-1.75, -3.5, 4.75); scores - step / 2
    assert optimizer.state[weight]["momentum_buffer"].tolist() == [[-1.75, -3.5, 4.75]]
    assert optimizer.state[weight]["scores"].tolist() == [[1.875, 3.75, 0.625]]
    assert weight.tolist() == [[2.0, -4.0, 0.0]]
    assert optimizer.mask(weight).tolist() == [[True, True, False]]
    optimizer.param_groups[0].update(rank_by="abs_scores", weight_decay=0.0)
    optimizer.state[weight]["scores"].copy_(torch.tensor([[-1.0, 0.0, 4.0]]))
    optimizer.step()
    # step = grad * theta * sign(scores) = (2, 0, 4); momentum (1.125, -1.75, 6.375); scores (-1.5625, 0.875, 0.8125)
    assert optimizer.state[weight]["scores"].tolist() == [[-1.5625, 0.875, 0.8125]]
    assert weight.tolist() == [[2.0, -4.0, 0.0]]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_dense_group_is_torch_sgd(slow: SimpleNamespace, dtype: torch.dtype, momentum: float) -> None:
    """Beside a masked group: norms and biases, and a weight, with their own learning rate."""
    settings = {"lr": 0.05, "momentum": momentum, "weight_decay": 1e-2}
    dense = nn.Sequential(nn.Linear(54, 8), nn.LayerNorm(8), nn.Linear(8, 3)).to(dtype)
    masked = nn.Linear(128, 54, bias=False).to(dtype)
    twin = copy.deepcopy(dense)
    optimizer = EdgePopup(
        [
            {"params": [masked.weight]},
            {"params": list(dense.parameters()), "sparsity": None, "distribution": None, **settings},
        ],
        sparsity=0.5,
        lr=0.3,
    )
    assert all(torch.equal(a, b) for a, b in zip(dense.parameters(), twin.parameters(), strict=True))
    sgd = torch.optim.SGD(twin.parameters(), foreach=False, **settings)
    for step in range(30):
        images, classes = slow.batch(step, dtype)
        hidden = masked(images.flatten(1))
        F.cross_entropy(dense(hidden), classes).backward()
        F.cross_entropy(twin(hidden.detach()), classes).backward()
        optimizer.step()
        sgd.step()
        optimizer.zero_grad()
        sgd.zero_grad()
        for param, other in zip(dense.parameters(), twin.parameters(), strict=True):
            assert slow.equal_bits(param, other)
            if momentum:
                buffers = (optimizer.state[param]["momentum_buffer"], sgd.state[other]["momentum_buffer"])
                assert slow.equal_bits(*buffers)


def test_a_dense_group_is_drawn_too_unless_told_otherwise() -> None:
    """As ``Weights`` draws: parameters with 2 dimensions or more, the others stay."""
    weight, bias = nn.Parameter(torch.zeros(6, 8)), nn.Parameter(torch.zeros(6))
    EdgePopup([{"params": [weight, bias], "sparsity": None}], sparsity=0.5, lr=0.1, distribution="signed_constant")
    assert torch.equal(weight.abs(), torch.full((6, 8), 0.5))
    assert not bias.any()
