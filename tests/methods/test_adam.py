"""``update: adam``: equal to ``torch.optim.Adam`` on the scores of slow layers, and on weights."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from suite import methods
from suite.methods.edge_popup import EdgePopup
from suite.methods.iterand import IteRand
from suite.methods.weights import Weights
from suite.testing.method.cases import advance, full_state, give_grads, net, params_of, through_file

ADAM: dict[str, Any] = {"update": "adam", "lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.02}
TORCH: dict[str, Any] = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.02, "foreach": False}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank_by", ["scores", "abs_scores"])
def test_scores_are_those_of_torchs_adam_on_slow_layers(
    dtype: torch.dtype, rank_by: Any, slow: SimpleNamespace
) -> None:
    fast = slow.small_net(dtype)
    optimizer = EdgePopup(methods.prunable(fast), sparsity=0.6, rank_by=rank_by, **ADAM)
    reference = slow.net(dtype, optimizer, sparsity=0.6, rank_by=rank_by)
    layers = slow.layers(reference)
    theirs = torch.optim.Adam([layer.scores for layer in layers], **TORCH)
    for step in range(100):
        losses = [slow.train_step(fast, optimizer, step, dtype), slow.train_step(reference, theirs, step, dtype)]
        assert slow.equal_bits(*losses)
        for layer, param in zip(layers, optimizer.param_groups[0]["params"], strict=True):
            assert slow.equal_bits(optimizer.state[param]["scores"], layer.scores)
            assert torch.equal(optimizer.mask(param), layer.mask().bool())
            for key in ("exp_avg", "exp_avg_sq", "step"):
                assert slow.equal_bits(optimizer.state[param][key], theirs.state[layer.scores][key])


def of_net(cls: Any, **settings: Any) -> Any:
    model = net()
    if cls is Weights:
        return Weights(model.named_parameters(), **ADAM, **settings)
    return cls(methods.trainable(model), sparsity=0.6, **ADAM, **settings)


@pytest.mark.parametrize("cls", [Weights, EdgePopup])
def test_what_has_no_mask_is_trained_as_by_torchs_adam(cls: Any) -> None:
    optimizer = of_net(cls)
    own = params_of(optimizer) if cls is Weights else optimizer.param_groups[1]["params"]
    copies = [nn.Parameter(param.detach().clone()) for param in own]
    decay = 0.02 if cls is Weights else 0.0  # trainable() has none for biases and norms
    theirs = torch.optim.Adam(copies, **{**TORCH, "weight_decay": decay})
    for step in range(20):
        give_grads(params_of(optimizer), step)
        for param, other in zip(own, copies, strict=True):
            assert param.grad is not None
            other.grad = param.grad.clone()
        optimizer.step()
        theirs.step()
        for param, other in zip(own, copies, strict=True):
            assert torch.equal(param, other)


@pytest.mark.parametrize("cls", [Weights, EdgePopup, IteRand])
@pytest.mark.parametrize("num", [0, 1, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(cls: Any, num: int) -> None:
    """The state can be loaded any number of times, and stays as it is."""
    whole, first = of_net(cls), of_net(cls)
    advance(whole, range(7))
    advance(first, range(num))
    saved, values = through_file(first.state_dict()), copy.deepcopy(params_of(first))
    for _ in range(2):
        second = of_net(cls, seed=5)
        second.load_state_dict(saved)
        with torch.no_grad():
            for param, value in zip(params_of(second), values, strict=True):
                param.copy_(value)
        advance(second, range(num, 7))
        assert full_state(second)[0]["state"] == full_state(whole)[0]["state"]
        assert all(torch.equal(a, b) for a, b in zip(params_of(second), params_of(whole), strict=True))


@pytest.mark.parametrize("first", ["sgd", "adam"])
def test_the_update_may_change_on_the_way(first: str) -> None:
    optimizer = of_net(EdgePopup)
    optimizer.param_groups[0]["update"] = optimizer.param_groups[1]["update"] = first
    advance(optimizer, range(2))
    for group in optimizer.param_groups:
        group["update"] = "adam" if first == "sgd" else "sgd"
    advance(optimizer, range(2, 4))
    other = of_net(EdgePopup, seed=3)
    other.load_state_dict(optimizer.state_dict())
    assert full_state(other)[0] == full_state(optimizer)[0]


def test_groups_of_weights_have_one_update() -> None:
    first, second = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, 3))
    optimizer = Weights([{"params": [first]}, {"params": [second], "update": "adam"}], lr=0.1)
    first.grad = second.grad = torch.ones(2, 3)
    with pytest.raises(ValueError, match="update: 'sgd': must be that of all groups, another one has 'adam'"):
        optimizer.step()


def test_a_state_of_an_earlier_release_is_of_sgd() -> None:
    old = EdgePopup(methods.prunable(net()), sparsity=0.5, lr=0.1)
    advance(old, range(2))
    state = old.state_dict()
    for group in state["param_groups"]:
        for key in ("update", "beta1", "beta2", "eps"):
            del group[key]
    new = EdgePopup(methods.prunable(net()), sparsity=0.5, seed=4, **ADAM)
    new.load_state_dict(state)
    assert full_state(new) == full_state(old)


def test_clipping_bounds_what_adam_gets(slow: SimpleNamespace) -> None:
    optimizer = EdgePopup([nn.Parameter(torch.zeros(6, 5))], sparsity=0.5, max_score_grad_norm=0.5, **ADAM)
    (param,) = params_of(optimizer)
    scores = nn.Parameter(optimizer.state[param]["scores"].clone())
    theirs = torch.optim.Adam([scores], **TORCH)
    for step in range(5):
        give_grads([param], step)
        scores.grad = param.grad * optimizer.theta(param)
        nn.utils.clip_grad_norm_([scores], 0.5, foreach=False)
        optimizer.step()
        theirs.step()
        assert slow.equal_bits(optimizer.state[param]["scores"], scores)
