"""The contract of ``suite.methods`` for the suite's own methods: draws."""

import copy
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from torch import nn
from torch.optim import SGD

from suite import config
from suite.methods.random import draw_scores_, draw_values_
from suite.testing.method.cases import (
    DTYPES,
    SELECTING,
    build,
    check_effective,
    each_method,
    each_selecting,
    fingerprint,
    model_and_optimizer,
    net,
    params_of,
    tensor_state,
    with_settings,
)
from suite.testing.method.test_draws import *


@each_method
@pytest.mark.parametrize("distribution", get_args(config.Distribution))
@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_depend_on_seed_and_position_alone(name: str, dtype: torch.dtype, distribution: str) -> None:
    """Whatever the parameters held, however they are grouped, whatever torch's own generator says."""
    model, optimizer = model_and_optimizer(name, dtype, distribution=distribution, seed=3)
    wide = torch.promote_types(dtype, torch.float32)
    for position, param in enumerate(params_of(optimizer)):
        if param.ndim < 2:
            continue
        where = {"fan_in": param[0].numel(), "seed": 3, "parameter": position}
        values = draw_values_(torch.empty(param.shape, dtype=wide), distribution, draw=0, **where)
        state = optimizer.state[param]
        if name in SELECTING:
            assert fingerprint(state["theta"]) == fingerprint(values)
            assert fingerprint(state["scores"]) == fingerprint(draw_scores_(values, "kaiming_uniform", **where))
            assert not state["momentum_buffer"].any()
        else:
            drawn = torch.where(state.get("mask", torch.tensor(True)), values, 0.0)
            assert fingerprint(param) == fingerprint(drawn.to(dtype))
    assert torch.equal(model[0].bias, net(dtype)[0].bias)  # parameters with one dimension stay


@each_selecting
def test_score_init_fan_in_uniform(name: str) -> None:
    weight = nn.Parameter(torch.zeros(50, 7, 3))
    optimizer = build(name, [weight], score_init="fan_in_uniform", seed=2)
    expected = draw_scores_(torch.empty(50, 7, 3), "fan_in_uniform", fan_in=21, seed=2, parameter=0)
    assert fingerprint(optimizer.state[weight]["scores"]) == fingerprint(expected)


@each_method
def test_fan_in_may_be_set_per_group(name: str) -> None:
    weights = [nn.Parameter(torch.zeros(4, 6)) for _ in range(2)]
    given = [{"params": weights[:1], "fan_in": 50}, {"params": weights[1:]}]
    optimizer = build(name, given, distribution="signed_constant", **with_settings(name, sparsity=0.0))
    thetas = [optimizer.state[w].get("theta", w.detach()) for w in weights]
    for theta, fan_in in zip(thetas, (50, 6), strict=True):
        torch.testing.assert_close(theta.abs(), torch.full((4, 6), (2 / fan_in) ** 0.5))


def test_present_values_are_kept_without_a_distribution() -> None:
    weight = nn.Parameter(torch.arange(12.0).view(3, 4))
    build("weights", [weight], distribution=None)
    assert torch.equal(weight, torch.arange(12.0).view(3, 4))
    optimizer = build("edge_popup", [weight], distribution=None)
    assert torch.equal(optimizer.state[weight]["theta"], torch.arange(12.0).view(3, 4))
    check_effective(optimizer)


def test_weights_is_torch_sgd(slow: SimpleNamespace) -> None:
    model = slow.small_net()
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
    optimizer = build("weights", model.parameters(), **settings)
    twin = copy.deepcopy(model)
    sgd = SGD(twin.parameters(), foreach=False, **settings)
    for step in range(20):
        losses = [slow.train_step(m, o, step, torch.float32) for m, o in ((model, optimizer), (twin, sgd))]
        assert slow.equal_bits(*losses)
    assert tensor_state(optimizer) == tensor_state(sgd)
    assert isinstance(optimizer, SGD)
