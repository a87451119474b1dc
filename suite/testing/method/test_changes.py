"""The contract of ``suite.methods``, held against masked methods: what callers change between two steps."""

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite import methods, prunable, trainable
from suite.testing.method.cases import (
    advance,
    build,
    check_effective,
    each_masked,
    each_method,
    give_grads,
    groups,
    net,
    state_of,
)


def start(name: str) -> tuple[nn.Module, Any]:
    model = net()
    optimizer = build(name, groups(name, model), seed=5)
    advance(optimizer, range(2))
    return model, optimizer


def write_again(model: nn.Module) -> None:
    """As a broadcast does, or a checkpoint of the same moment."""
    model.load_state_dict(copy.deepcopy(model.state_dict()))


def set_sparsity(optimizer: Any, value: float | None) -> None:
    optimizer.param_groups[0]["sparsity"] = value


def values(optimizer: Any, weight: nn.Parameter) -> Tensor:
    """The random weights of a layer, or those that are trained."""
    return weight.detach() if methods.trains_weights(optimizer) else optimizer.theta(weight)


@each_masked
def test_adopting_after_a_schedule_of_sparsity_takes_no_zeros_for_random_weights(name: str) -> None:
    _, optimizer = start(name)
    before = [values(optimizer, weight).clone() for weight in optimizer.param_groups[0]["params"]]
    set_sparsity(optimizer, 0.2)
    optimizer.adopt()
    for weight, theta in zip(optimizer.param_groups[0]["params"], before, strict=True):
        assert torch.equal(values(optimizer, weight), theta)
    check_effective(optimizer)


@each_masked
@pytest.mark.parametrize("when", ["new", "stepped", "loaded", "copied", "partly stepped"])
def test_values_that_are_written_again_after_a_schedule_of_sparsity_are_no_change(name: str, when: str) -> None:
    model, optimizer = start(name)
    if when == "new":
        model = net()
        optimizer = build(name, groups(name, model), seed=5)
    if when == "loaded":
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    set_sparsity(optimizer, 0.2)
    if when == "copied":
        model, optimizer = copy.deepcopy((model, optimizer))
    if when == "partly stepped":
        params = optimizer.param_groups[0]["params"]
        give_grads(params[1:], 1)
        params[0].grad = None
        optimizer.step()
    write_again(model)
    advance(optimizer, range(2, 4))
    with torch.no_grad():
        optimizer.param_groups[0]["params"][0].add_(1)
    with pytest.raises(RuntimeError, match="was changed since"):
        advance(optimizer, range(4, 5))


@each_masked
def test_what_is_added_and_subtracted_again_is_no_change(name: str) -> None:
    """Sharpness-aware minimization."""
    model, optimizer = start(name)
    noise = [0.05 * torch.randn_like(param) for param in model.parameters()]
    with torch.no_grad():
        for param, one in zip(model.parameters(), noise, strict=True):
            param.add_(one)
            param.sub_(one)
    advance(optimizer, range(2, 3))
    check_effective(optimizer)


@each_masked
def test_parameters_that_are_replaced_in_a_group_are_trained(name: str) -> None:
    old = nn.Parameter(torch.zeros(6, 6))
    optimizer = build(name, [old], seed=5)
    give_grads([old], 0)
    optimizer.step()
    new = nn.Parameter(old.detach().clone())
    optimizer.param_groups[0]["params"][0] = new
    optimizer.state[new] = optimizer.state.pop(old)
    before = optimizer.state[new][state_of(name)[-1]].clone()
    give_grads([new], 1)
    optimizer.step()
    assert not torch.equal(optimizer.state[new][state_of(name)[-1]], before)
    check_effective(optimizer)


@each_masked
def test_a_masked_group_becomes_dense(name: str) -> None:
    _, optimizer = start(name)
    set_sparsity(optimizer, None)
    weight = optimizer.param_groups[0]["params"][0]
    before = weight.detach().clone()
    advance(optimizer, range(2, 5))
    assert not torch.equal(weight, before)


@each_masked
def test_a_parameter_that_is_taken_out_is_left_alone(name: str) -> None:
    _, optimizer = start(name)
    taken = optimizer.param_groups[0]["params"].pop()
    before = taken.detach().clone()
    give_grads([taken], 1)
    advance(optimizer, range(2, 3))
    assert torch.equal(taken, before)


@each_method
def test_an_optimizer_that_nobody_holds_frees_its_memory_at_once(name: str) -> None:
    model, optimizer = start(name)
    gone = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer, model
        assert gone() is None
    finally:
        gc.enable()


@each_method
def test_a_group_is_the_callers_own_dict(name: str) -> None:
    group = {"params": [nn.Parameter(torch.zeros(3, 3))]}
    assert build(name, [group]).param_groups[0] is group


def test_a_network_of_which_nothing_gets_a_mask_is_warned_about() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.ones(8, 8))

    with pytest.warns(UserWarning, match="matrix"):
        methods.get("edge_popup")(trainable(Own()), sparsity=0.5, lr=1.0)


def test_parametrized_buffers_and_names_that_look_so_are_no_weights() -> None:
    layer = nn.Linear(4, 4)
    layer.register_buffer("scale", torch.ones(4, 4))
    nn.utils.parametrize.register_parametrization(layer, "scale", nn.Identity())
    layer.proj_v = nn.Parameter(torch.ones(4, 4))
    layer.register_buffer("proj", torch.ones(4, 4))
    with pytest.warns(UserWarning, match="proj_v"):
        assert [name for name, _ in prunable(layer)] == ["weight"]
