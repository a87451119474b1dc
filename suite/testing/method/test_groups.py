"""The contract of ``suite.methods``, held against every registered method: groups of masked methods."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from suite import methods
from suite.testing.method.cases import (
    NUM_STEPS,
    advance,
    build,
    check_effective,
    each_masked,
    fingerprint,
    full_state,
    give_grads,
    groups,
    net,
    params_of,
    through_file,
)


@each_masked
@pytest.mark.parametrize("named", [True, False])
def test_a_masked_parameter_needs_two_dimensions(name: str, named: bool) -> None:
    model = net()
    params = model[0].named_parameters() if named else model[0].parameters()
    who = "bias" if named else "number 1 of its group"
    with pytest.raises(ValueError, match=rf"^parameter {who}: shape \(4,\)") as caught:
        build(name, params)
    text = str(caught.value)
    assert "methods.prunable(model)" in text
    assert "sparsity=None" in text


@each_masked
def test_a_dense_group_is_trained_by_sgd_in_the_same_step(name: str) -> None:
    model, twin = net(), net()
    settings = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.02}
    optimizer = build(name, groups(name, model), **settings)
    dense = [param for _, param in groups(name, twin)[1]["params"]]
    sgd = SGD(dense, foreach=False, **settings)
    ours = optimizer.param_groups[1]["params"]
    assert len(ours) == 4
    for step in range(NUM_STEPS):
        give_grads(params_of(optimizer), step)
        for param, other in zip(ours, dense, strict=True):
            other.grad = param.grad.clone()
        optimizer.step()
        sgd.step()
        assert fingerprint(ours) == fingerprint(dense)
    momenta = [
        [each.state[param]["momentum_buffer"] for param in group] for each, group in ((optimizer, ours), (sgd, dense))
    ]
    assert fingerprint(momenta[0]) == fingerprint(momenta[1])


@each_masked
def test_all_groups_may_be_dense(name: str) -> None:
    model = net()
    optimizer = build(name, model.named_parameters(), sparsity=None)
    advance(optimizer, range(2))
    resumed = restore_dense(name, optimizer)
    advance(optimizer, range(2, 5))
    advance(resumed, range(2, 5))
    assert full_state(optimizer) == full_state(resumed)


def restore_dense(name: str, optimizer: Any) -> Any:
    other = build(name, net(seed=1).named_parameters(), sparsity=None, seed=4)
    for param, saved in zip(params_of(other), params_of(optimizer), strict=True):
        param.data.copy_(saved)
    other.load_state_dict(through_file(optimizer.state_dict()))
    return other


@each_masked
def test_groups_may_differ_in_sparsity(name: str) -> None:
    weights = [nn.Parameter(torch.zeros(10, 10)) for _ in range(3)]
    given = [{"params": [weight], "sparsity": p} for weight, p in zip(weights, (0.0, 0.3, 0.99), strict=True)]
    optimizer = build(name, given)
    advance(optimizer, range(3))
    check_effective(optimizer)


@each_masked
def test_a_divergence_keeps_the_weights_finite(name: str) -> None:
    """NaN and infinite gradients: the scores are lost, and random weights stay finite."""
    weight = nn.Parameter(torch.zeros(6, 7))
    optimizer = build(name, [weight])
    for value in (float("inf"), float("nan"), 1.0):
        weight.grad = torch.full_like(weight, value)
        optimizer.step()
        check_effective(optimizer)
        assert weight.isfinite().all() or methods.trains_weights(optimizer)
