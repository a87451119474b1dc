"""theta as one bit a weight: the same numbers, in training and in whatever leaves the optimizer."""

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.paired_layers import NAN, normal, raw
from support.sweep_files import GOOD, Problems
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as dcp

from suite import config
from suite.methods import prunable
from suite.methods.update.plain import RANKINGS
from suite.methods.update.signs import Signs, unpacked
from suite.testing.method.cases import (
    NUM_STEPS,
    advance,
    build,
    fingerprint,
    full_state,
    net,
    params_of,
    tensor_state,
    through_file,
)

each_method = pytest.mark.parametrize("name", ["edge_popup", "iterand"])
OTHERS = ["kaiming_uniform", "kaiming_normal"]


@pytest.mark.parametrize("shape", [(1, 1), (7,), (8,), (9, 1), (17, 241), (5, 3, 3, 3), (6, 4, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels_last", [False, True])
def test_packs_and_unpacks(shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool) -> None:
    theta = torch.where(normal(shape, 1) < 0, -1, 1).to(dtype) * torch.tensor(0.3, dtype=dtype)
    if channels_last and theta.ndim == 4:
        theta = theta.contiguous(memory_format=torch.channels_last)
    signs = Signs.packed(theta, 0.3)
    assert signs.bits.dtype == torch.uint8 and signs.bits.shape == (math.ceil(theta.numel() / 8),)
    again = unpacked(signs)
    assert raw(again) == raw(theta)
    assert (again.dtype, again.shape, again.stride()) == (theta.dtype, theta.shape, theta.stride())
    signs.pack_(-theta)
    assert raw(signs.unpacked()) == raw(-theta)


def test_bits_and_blocks_checkable_by_head() -> None:
    theta = torch.tensor([1.0, -1, -1, 1, -1, -1, -1, -1, -1, 1])
    signs = Signs.packed(theta, 1.0)
    assert signs.bits.tolist() == [0b1001, 0b10]
    assert signs.block(8, 2).tolist() == [-1.0, 1.0]
    assert signs.block(0, 3).tolist() == [1.0, -1.0, -1.0]


@pytest.mark.parametrize("value", [0.0, -0.0, 0.31, NAN, math.inf, -math.inf])
def test_other_values_are_refused(value: float) -> None:
    theta = torch.full((3, 5), 0.3)
    theta[1, 2] = value
    with pytest.raises(ValueError, match="theta: holds other values than"):
        Signs.packed(theta, 0.3)


def wide(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Layers whose sizes are no multiples of 8, one of them channels last."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 5, 3), nn.Flatten(), nn.Linear(20, 67))
    model[2].to(memory_format=torch.channels_last)
    return model.to(dtype)


def pair(name: str, model: nn.Module | None = None, **settings: Any) -> Any:
    return build(name, prunable(model or net()), **settings)


def thetas(optimizer: Any) -> list[Any]:
    return [optimizer.state[param]["theta"] for param in params_of(optimizer)]


def is_packed(optimizer: Any) -> bool:
    kinds = {isinstance(theta, Signs) for theta in thetas(optimizer)}
    assert len(kinds) == 1
    return kinds.pop()


@each_method
@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("form", ["compiled", "by_blocks"])
def test_training_is_the_same(
    monkeypatch: pytest.MonkeyPatch, form: str, dtype: torch.dtype, rank_by: str, name: str
) -> None:
    if form == "by_blocks":
        monkeypatch.setattr("suite.methods.update.cpu._update_loop", lambda *args, **settings: None)
        monkeypatch.setattr("suite.methods.update.cpu_blocks._WORTH_BLOCKS", 0)
    packed, dense = (pair(name, wide(dtype), rank_by=rank_by, pack_signs=pack) for pack in (True, False))
    assert is_packed(packed) and not is_packed(dense)
    first = fingerprint([packed.theta(param) for param in params_of(packed)])
    for step in range(30):
        for optimizer in (packed, dense):
            advance(optimizer, [step])
        assert tensor_state(packed) == tensor_state(dense), f"step {step}"
    assert is_packed(packed)
    for param, other in zip(params_of(packed), params_of(dense), strict=True):
        assert raw(packed.mask(param).byte()) == raw(dense.mask(other).byte())
        assert raw(packed.theta(param)) == raw(dense.theta(other)) == raw(dense.state[other]["theta"])
    assert (fingerprint([packed.theta(param) for param in params_of(packed)]) != first) == (name == "iterand")


@each_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_nothing_packed_is_in_the_state_dict(name: str, dtype: torch.dtype) -> None:
    optimizer = pair(name, wide(dtype), pack_signs=True)
    advance(optimizer, range(3))
    seen: list[Any] = []
    optimizer.register_state_dict_post_hook(lambda _, state: seen.append(state), prepend=True)
    optimizer.register_state_dict_post_hook(lambda _, state: seen.append(state))
    state = optimizer.state_dict()
    assert len(seen) == 2 and len(optimizer._optimizer_state_dict_post_hooks) == 2
    for given in (state, *seen):
        for number, param in enumerate(params_of(optimizer)):
            values = given["state"][number]
            assert all(isinstance(value, Tensor) and value.shape == param.shape for value in values.values())
            assert values["theta"].dtype == torch.promote_types(dtype, torch.float32) == values["scores"].dtype
            assert values["theta"].stride() == param.stride()
    assert is_packed(optimizer)
    assert fingerprint(through_file(state)) == fingerprint(state)


@each_method
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_copies_stay_packed_and_go_on_apart(name: str, clone: Any) -> None:
    model = wide()
    optimizer = pair(name, model, pack_signs=True)
    advance(optimizer, range(3))
    before = full_state(optimizer)
    _, other = clone((model, optimizer))
    assert is_packed(other)
    advance(other, range(3, NUM_STEPS))
    assert full_state(optimizer) == before
    advance(optimizer, range(3, NUM_STEPS))
    assert full_state(optimizer) == full_state(other)


@each_method
@pytest.mark.parametrize("saved_packed", [True, False])
@pytest.mark.parametrize("own_packed", [True, False])
def test_the_saved_setting_counts(name: str, saved_packed: bool, own_packed: bool) -> None:
    first, other = pair(name, wide(), pack_signs=saved_packed), pair(name, wide(), pack_signs=own_packed, seed=9)
    advance(first, range(3))
    advance(other, range(2))
    other.load_state_dict(through_file(first.state_dict()))
    assert is_packed(other) == other.param_groups[0]["pack_signs"] == saved_packed
    for steps in (range(0), range(3, NUM_STEPS)):
        for optimizer in (first, other):
            advance(optimizer, steps)
        assert full_state(first) == full_state(other)


@each_method
@pytest.mark.parametrize("flatten", [False, True])
def test_distributed_checkpoint(name: str, flatten: bool) -> None:
    options = dcp.StateDictOptions(flatten_optimizer_state_dict=flatten)
    models = [wide(), wide()]
    first, second = (pair(name, model, pack_signs=True, seed=seed) for seed, model in enumerate(models))
    advance(first, range(3))
    first.zero_grad()
    saved = copy.deepcopy(dcp.get_optimizer_state_dict(models[0], first, options=options))
    dcp.set_optimizer_state_dict(models[1], second, saved, options=options)
    assert is_packed(second) and tensor_state(second) == tensor_state(first)
    for optimizer in (first, second):
        advance(optimizer, range(3, NUM_STEPS))
    assert tensor_state(second) == tensor_state(first)


@each_method
@pytest.mark.parametrize("own_packed", [True, False])
@pytest.mark.parametrize("which", [0, 2])
def test_a_state_that_signs_cannot_say_is_refused_before_anything_changes(
    name: str, which: int, own_packed: bool
) -> None:
    saved = pair(name, wide(), pack_signs=True, seed=5)
    advance(saved, range(3))
    given = copy.deepcopy(saved.state_dict())
    given["state"][which]["theta"].view(-1)[4] *= 1.5
    optimizer = pair(name, wide(), pack_signs=own_packed, seed=6)
    advance(optimizer, range(2))
    before = full_state(optimizer)
    with pytest.raises(ValueError, match="theta: holds other values than"):
        optimizer.load_state_dict(given)
    assert full_state(optimizer) == before
    assert is_packed(optimizer) == own_packed


@each_method
@pytest.mark.parametrize("distribution", OTHERS)
def test_other_distributions_are_refused(name: str, distribution: str) -> None:
    match = f"pack_signs: True: distribution must be signed_constant, it is '{distribution}'"
    with pytest.raises(ValueError, match=match):
        pair(name, pack_signs=True, distribution=distribution)
    optimizer = pair(name, pack_signs=True)
    new = nn.Parameter(torch.ones(4, 6))
    with pytest.raises(ValueError, match=match):
        optimizer.add_param_group({"params": [("new", new)], "distribution": distribution})
    assert len(optimizer.param_groups) == 1 and raw(new) == raw(torch.ones(4, 6))
    with pytest.raises(ValidationError, match="signed_constant"):
        config.METHODS[name](name=name, lr=0.1, sparsity=0.5, distribution=distribution, pack_signs=True)


@each_method
@pytest.mark.parametrize("distribution", OTHERS)
def test_a_sweep_file_is_told_so_in_one_line(problems: Problems, name: str, distribution: str) -> None:
    method = f"{{name: {name}, lr: 0.1, sparsity: 0.5, distribution: {distribution}, pack_signs: true}}"
    (line,) = problems(GOOD.replace("{name: weights, lr: 0.1}", method))
    assert line.startswith("s.yaml: grid.method.pack_signs: true: must be false") and "signed_constant" in line


@pytest.mark.parametrize("value", [1, "true", None])
def test_pack_signs_is_true_or_false(value: Any) -> None:
    with pytest.raises(ValueError, match=r"pack_signs: .*must be True or False"):
        pair("edge_popup", pack_signs=value)


def test_theta_of_a_parameter_that_is_not_masked() -> None:
    with pytest.raises(ValueError, match="not in a masked group"):
        pair("edge_popup", pack_signs=True).theta(torch.ones(2, 2))
