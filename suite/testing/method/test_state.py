"""The contract of ``suite.methods``, held against every registered method: effective weights and state."""

import copy
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from suite import config, methods, tickets
from suite.testing.method.cases import (
    DTYPES,
    NUM_STEPS,
    advance,
    check_effective,
    each_masked,
    each_method,
    fingerprint,
    full_state,
    masked_params,
    model_and_optimizer,
    params_of,
    restored_by_state,
    state_of,
    with_settings,
)


@each_masked
@pytest.mark.parametrize("rank_by", get_args(config.RankBy))
@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_hold_effective_weights_at_all_times(name: str, dtype: torch.dtype, rank_by: str) -> None:
    settings = with_settings(name, rank_by=rank_by, distribution="kaiming_uniform")
    _, optimizer = model_and_optimizer(name, dtype, **settings)
    check_effective(optimizer)
    for step in range(NUM_STEPS):
        advance(optimizer, [step])
        check_effective(optimizer)
    other = model_and_optimizer(name, dtype, seed=9)[1]
    other.load_state_dict(optimizer.state_dict())
    check_effective(other)
    if restored_by_state(other):
        assert fingerprint(params_of(other)[:2]) == fingerprint(params_of(optimizer)[:2])


@each_masked
@pytest.mark.parametrize("dtype", DTYPES)
def test_state_names_shapes_and_dtypes(name: str, dtype: torch.dtype) -> None:
    _, optimizer = model_and_optimizer(name, dtype)
    other = model_and_optimizer(name, dtype, seed=9)[1]

    def dtype_of(key: str) -> torch.dtype:
        if key == "mask":
            return torch.bool
        return dtype if methods.trains_weights(optimizer) else torch.promote_types(dtype, torch.float32)

    def check(optimizer: Any) -> None:
        for param, _ in masked_params(optimizer):
            for key in state_of(name):
                tensor = optimizer.state[param][key]
                assert tensor.shape == param.shape
                assert tensor.dtype == dtype_of(key), key
                assert not tensor.requires_grad
            assert param.is_leaf
            assert param.requires_grad

    check(optimizer)
    advance(optimizer, range(3))
    check(optimizer)
    other.load_state_dict(optimizer.state_dict())
    check(other)
    assert [group["num_updates"] for group in other.param_groups] == [3] * len(other.param_groups)


@each_method
@pytest.mark.parametrize("dtype", DTYPES)
def test_state_is_restored_in_its_own_dtypes(name: str, dtype: torch.dtype) -> None:
    _, optimizer = model_and_optimizer(name, dtype)
    advance(optimizer, range(3))
    other = model_and_optimizer(name, dtype, seed=9)[1]
    other.load_state_dict(optimizer.state_dict())
    assert full_state(other)[0] == full_state(optimizer)[0]


@each_masked
def test_a_checkpoint_may_go_to_parameters_of_another_dtype(name: str) -> None:
    _, optimizer = model_and_optimizer(name, torch.float32)
    advance(optimizer, range(3))
    other = model_and_optimizer(name, torch.bfloat16, seed=9)[1]
    other.load_state_dict(optimizer.state_dict())
    assert fingerprint(other.state_dict()["state"]) == fingerprint(optimizer.state_dict()["state"])
    check_effective(other)


@each_method
def test_parameters_keep_their_storage(name: str) -> None:
    """DDP buckets, compiled graphs and fused kernels hold on to it."""
    _, optimizer = model_and_optimizer(name)
    params = params_of(optimizer)
    places = [param.data_ptr() for param in params]
    advance(optimizer, range(3))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert all(a is b for a, b in zip(params, params_of(optimizer), strict=True))
    assert [param.data_ptr() for param in params] == places


@each_method
def test_a_saved_state_holds_plain_values_only(name: str) -> None:
    """No generator's state, no object of ours: numbers, strings, lists and tensors."""
    _, optimizer = model_and_optimizer(name)
    advance(optimizer, range(2))
    plain = (int, float, str, bool, type(None), Tensor)
    saved = optimizer.state_dict()
    assert set(saved) == {"state", "param_groups"}
    for values in (*saved["state"].values(), *saved["param_groups"]):
        for value in values.values():
            assert all(type(item) in plain for item in (value if isinstance(value, list) else [value]))


@each_masked
def test_mask_of_an_unmasked_parameter_is_an_error(name: str) -> None:
    model, optimizer = model_and_optimizer(name)
    for param in (model[0].bias, nn.Parameter(torch.zeros(5, 3))):
        with pytest.raises(ValueError, match="not in a masked group"):
            optimizer.mask(param)


@each_masked
@pytest.mark.parametrize("distribution", get_args(config.Distribution))
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_ticket_gives_the_network_back(name: str, dtype: torch.dtype, distribution: str, tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer(name, dtype, **with_settings(name, distribution=distribution))
    for step in range(NUM_STEPS):
        advance(optimizer, [step])
    if methods.trains_weights(optimizer):
        with pytest.raises(ValueError, match="trains weights: a ticket is of random ones"):
            tickets.save(tmp_path / "ticket", model, optimizer)
        return
    tickets.save(tmp_path / "ticket", model, optimizer)
    other = tickets.load(tmp_path / "ticket", model=model_and_optimizer(name, dtype, seed=9)[0])
    assert fingerprint(dict(other.state_dict())) == fingerprint(dict(model.state_dict()))
