"""The contract of ``suite.methods``, held against every registered method: going on: files, copies, hooks."""

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint import state_dict as dcp

from suite import config, methods
from suite.testing.method.cases import (
    DTYPES,
    INTERRUPTIONS,
    MASKED,
    NAMES,
    NUM_STEPS,
    advance,
    build,
    check_effective,
    each_masked,
    each_method,
    fingerprint,
    full_state,
    groups,
    model_and_optimizer,
    net,
    params_of,
    restore,
    restored_by_state,
    state_of,
    tensor_state,
    through_file,
)


@each_method
@pytest.mark.parametrize("transport", [lambda state: state, through_file], ids=["direct", "file"])
@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, interruption: int, transport: Callable[..., Any]) -> None:
    _, whole = model_and_optimizer(name)
    advance(whole, range(NUM_STEPS))
    _, first = model_and_optimizer(name)
    advance(first, range(interruption))
    second = restore(name, first, transport(first.state_dict()))
    assert full_state(second) == full_state(first)
    advance(second, range(interruption, NUM_STEPS))
    assert full_state(second) == full_state(whole)


@each_method
@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))], ids=["deepcopy", "pickle"]
)
def test_copies_go_on_equally_and_apart(name: str, clone: Callable[..., Any]) -> None:
    model, optimizer = model_and_optimizer(name)
    advance(optimizer, range(3))
    before = full_state(optimizer)
    model_2, optimizer_2 = clone((model, optimizer))
    assert all(a is b for a, b in zip(params_of(optimizer_2), params_in_order(name, model_2), strict=True))
    advance(optimizer_2, range(3, NUM_STEPS))
    assert full_state(optimizer) == before
    advance(optimizer, range(3, NUM_STEPS))
    assert full_state(optimizer_2) == full_state(optimizer)


def params_in_order(name: str, model: nn.Module) -> list[nn.Parameter]:
    return [param for group in groups(name, model) for _, param in group["params"]]


@each_method
def test_load_state_dict_pre_hook_may_replace_the_state(name: str) -> None:
    _, wanted = model_and_optimizer(name, seed=5)
    advance(wanted, range(3))
    _, other = model_and_optimizer(name, seed=6)
    advance(other, range(2))
    given = other.state_dict()
    _, optimizer = model_and_optimizer(name, seed=7)
    optimizer.register_load_state_dict_pre_hook(lambda _, state: wanted.state_dict() if state is not None else None)
    optimizer.load_state_dict(given)
    assert full_state(optimizer)[0] == full_state(wanted)[0]
    if methods.get(name).masked:
        check_effective(optimizer)


@each_method
@pytest.mark.parametrize("dtype", DTYPES)
def test_load_state_dict_post_hook_sees_what_was_restored(name: str, dtype: torch.dtype) -> None:
    _, saved = model_and_optimizer(name, dtype, seed=5)
    advance(saved, range(3))
    _, optimizer = model_and_optimizer(name, dtype, seed=6)
    seen: list[Any] = []
    optimizer.register_load_state_dict_post_hook(lambda opt: seen.append(full_state(opt)))
    optimizer.register_load_state_dict_post_hook(lambda opt: seen.append(full_state(opt)), prepend=True)
    optimizer.load_state_dict(saved.state_dict())
    assert seen == [full_state(optimizer)] * 2
    assert full_state(optimizer)[0] == full_state(saved)[0]
    num_hooks = (
        len(optimizer._optimizer_load_state_dict_post_hooks),
        len(optimizer._optimizer_load_state_dict_pre_hooks),
    )
    assert num_hooks == (2, 0)  # none of the method's own is left


@each_method
def test_loading_changes_neither_the_given_dict_nor_hangs_on_to_it(name: str) -> None:
    _, saved = model_and_optimizer(name)
    advance(saved, range(3))
    given = copy.deepcopy(saved.state_dict())
    _, optimizer = model_and_optimizer(name, seed=6)
    optimizer.load_state_dict(given)
    assert fingerprint(given) == fingerprint(saved.state_dict())
    if methods.get(name).masked:  # torch's SGD does share its buffers with the dict
        advance(optimizer, range(2))
        assert fingerprint(given) == fingerprint(saved.state_dict())


def foreign_states() -> list[Any]:
    """A state of each other method for each masked one."""
    return [
        (name, source)
        for name, source in itertools.permutations(NAMES, 2)
        if name in MASKED and not set(settings_keys(name)) <= set(settings_keys(source))
    ]


def settings_keys(name: str) -> list[str]:
    return list(config.METHODS[name].model_fields)


@pytest.mark.parametrize(("name", "source"), foreign_states())
def test_the_state_of_another_method_is_an_error(name: str, source: str) -> None:
    weights = [nn.Parameter(torch.ones(4, 6)) for _ in range(2)]
    optimizer, other = build(name, weights[:1]), build(source, weights[1:])
    advance(other, range(2))
    with pytest.raises(ValueError, match="saved by another method"):
        optimizer.load_state_dict(other.state_dict())


@each_masked
def test_a_state_without_a_part_is_an_error(name: str) -> None:
    _, optimizer = model_and_optimizer(name)
    for key in state_of(name):
        given = copy.deepcopy(optimizer.state_dict())
        del given["state"][1][key]
        with pytest.raises(ValueError, match=f"saved state of parameter 1: {key} is missing"):
            optimizer.load_state_dict(given)


def round_trips() -> list[Any]:
    """(method, steps before saving, flatten, how many of its groups)."""
    return [
        (name, steps, flatten, num)
        for name, steps, flatten in itertools.product(NAMES, (0, 3), (False, True))
        for num in ((1, 2) if name in MASKED else (1,))
    ]


@pytest.mark.parametrize(("name", "num_steps", "flatten", "num_groups"), round_trips())
def test_distributed_checkpoint_round_trip(name: str, num_steps: int, flatten: bool, num_groups: int) -> None:
    """State by parameter name, as ``torch.distributed.checkpoint`` stores it; saved also before any step."""
    options = dcp.StateDictOptions(flatten_optimizer_state_dict=flatten)
    models = [net(), net()]
    first, second = (
        build(name, groups(name, model)[:num_groups], seed=seed) for model, seed in zip(models, (5, 6), strict=True)
    )
    advance(first, range(num_steps))
    first.zero_grad()
    saved = copy.deepcopy(dcp.get_optimizer_state_dict(models[0], first, options=options))
    by_state = {id(param) for param in restored_by_state(second)} if name in MASKED else set()
    for target, source in zip(params_of(second), params_of(first), strict=True):
        if id(target) not in by_state:
            target.data.copy_(source)
    dcp.set_optimizer_state_dict(models[1], second, saved, options=options)
    assert tensor_state(second) == tensor_state(first)
    for optimizer in (first, second):
        advance(optimizer, range(num_steps, NUM_STEPS))
    assert tensor_state(second) == tensor_state(first)


@each_method
def test_step_hooks(name: str) -> None:
    model, optimizer = model_and_optimizer(name)
    twin_model, twin = model_and_optimizer(name)
    seen: list[Any] = []
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append(("pre", fingerprint(params_of(opt)))))
    optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append(("post", fingerprint(params_of(opt)))))
    before = fingerprint(params_of(optimizer))
    advance(optimizer, [0])
    advance(twin, [0])
    assert seen == [("pre", before), ("post", fingerprint(params_of(twin)))]
    assert fingerprint(model.state_dict()) == fingerprint(twin_model.state_dict())
