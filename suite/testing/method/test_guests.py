"""The contract of ``suite.methods``, held against every registered method: in networks and trainers of other people."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as dcp
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from suite import methods
from suite.testing.method.cases import (
    MASKED,
    advance,
    build,
    check_effective,
    each_masked,
    each_method,
    fingerprint,
    full_state,
    give_grads,
    groups,
    has_setting,
    masked_params,
    model_and_optimizer,
    net,
    params_of,
    settings_of,
    state_of,
)

COPIES = {"itself": lambda o: o, "deepcopy": copy.deepcopy, "pickle": lambda o: pickle.loads(pickle.dumps(o))}


@each_method
@pytest.mark.parametrize("how", COPIES)
def test_states_load_again_and_again(name: str, how: str) -> None:
    """Trainers load the state that they find when they wrap an optimizer, and then a checkpoint's."""
    _, saved = model_and_optimizer(name)
    advance(saved, range(3))
    _, optimizer = model_and_optimizer(name, seed=6)
    optimizer.load_state_dict(optimizer.state_dict())
    other = COPIES[how](optimizer)
    other.load_state_dict(copy.deepcopy(saved.state_dict()))
    other.load_state_dict(copy.deepcopy(saved.state_dict()))
    assert full_state(other)[0] == full_state(saved)[0]
    other.add_param_group({"params": [("late", nn.Parameter(torch.ones(3, 3)))]})
    assert other.param_groups[-1].keys() == other.param_groups[0].keys()


def settings(optimizer: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def in_groups(name: str, model: nn.Module, **given: Any) -> Any:
    """A group for each layer and one for the rest, all with settings of their own; one layer is frozen."""
    convolution, _, _, _, linear = model
    convolution.bias.requires_grad_(False)
    every = [{"params": [("0.weight", convolution.weight)], "lr": 0.25}, {"params": [("4.weight", linear.weight)]}]
    rest = [(key, p) for key, p in model.named_parameters() if key not in ("0.weight", "4.weight")]
    every.append({"params": rest, "lr": 0.5, "momentum": 0.7, **({"sparsity": None} if name in MASKED else {})})
    every[1] |= {key: 3 for key in settings_of(name) if key.endswith("_every")}
    optimizer = build(name, every, **given)
    StepLR(optimizer, 1)
    return optimizer


@each_method
@pytest.mark.parametrize(("flatten", "full"), [(False, False), (True, False), (False, True)])  # both: SGD fails too
def test_distributed_checkpoints_keep_every_key_of_every_group(name: str, flatten: bool, full: bool) -> None:
    options = dcp.StateDictOptions(flatten_optimizer_state_dict=flatten, full_state_dict=full)
    models = [net(), net()]
    first, second = in_groups(name, models[0], seed=5), in_groups(name, models[1], seed=6, lr=0.7, momentum=0.1)
    for optimizer in (first, second):
        advance(optimizer, range(2))
    second.param_groups[1]["weight_decay"] = 0.9
    saved = copy.deepcopy(dcp.get_optimizer_state_dict(models[0], first, options=options))
    dcp.set_optimizer_state_dict(models[1], second, saved, options=options)
    assert settings(second) == settings(first)
    assert len(settings(first)) == 3


@each_method
def test_a_state_that_was_empty_when_it_was_saved_is_empty(name: str) -> None:
    """A flattened checkpoint gives an empty dict for each value that is not in it."""
    options = dcp.StateDictOptions(flatten_optimizer_state_dict=True)
    models = [net(), net()]
    first, second = (build(name, groups(name, model)) for model in models)
    for optimizer, params in ((first, params_of(first)[:2]), (second, params_of(second))):
        give_grads(params, 1)
        optimizer.step()
    saved = copy.deepcopy(dcp.get_optimizer_state_dict(models[0], first, options=options))
    dcp.set_optimizer_state_dict(models[1], second, saved, options=options)
    for param, other in zip(params_of(first), params_of(second), strict=True):
        assert fingerprint(first.state.get(param) or {}) == fingerprint(second.state.get(other) or {})
    advance(second, [2])


@each_method
def test_a_parameter_that_is_given_twice_is_stepped_once(name: str) -> None:
    weight, twin = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    twice, once = build(name, [("a", weight), ("b", weight)]), build(name, [("a", twin)])
    for optimizer, param in ((twice, weight), (once, twin)):
        for step in range(3):
            give_grads([param], step)
            optimizer.step()
    assert twice.param_groups[0]["param_names"] == ["a"]
    assert full_state(twice) == full_state(once)


@each_method
def test_a_frozen_parameter_is_left_alone(name: str) -> None:
    model = net()
    model[0].weight.requires_grad_(False)
    before = fingerprint(model[0].weight)
    optimizer = build(name, groups(name, model))
    other = build(name, groups(name, net()))  # the other layers are drawn as if it were not frozen
    assert fingerprint(model[4].weight) == fingerprint(params_of(other)[1 if name in MASKED else 4])
    trained = [param for param in model.parameters() if param.requires_grad]
    for step in range(3):
        give_grads(trained, step)
        optimizer.step()
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert fingerprint(model[0].weight) == before and not optimizer.state.get(model[0].weight)
    if name in MASKED:
        with pytest.raises(ValueError, match="not in a masked group"):
            optimizer.mask(model[0].weight)


def under_mask(optimizer: Any, param: nn.Parameter, values: Tensor) -> Tensor:
    """Values that are adopted: as they are for random weights, under the mask where weights are trained."""
    return torch.where(optimizer.mask(param), values, 0.0) if methods.trains_weights(optimizer) else values


@each_masked
def test_a_frozen_parameter_that_is_trained_later(name: str) -> None:
    model = net()
    model[0].weight.requires_grad_(False)
    optimizer = build(name, groups(name, model))
    model[0].weight.requires_grad_(True)
    before, known = model[0].weight.detach().clone(), fingerprint(dict(optimizer.state[model[4].weight]))
    give_grads(params_of(optimizer), 1)
    with pytest.raises(RuntimeError, match=r"parameter 0\.weight: did not require a gradient .*adopt"):
        optimizer.step()
    optimizer.adopt()
    assert torch.equal(optimizer.theta(model[0].weight), under_mask(optimizer, model[0].weight, before))
    assert fingerprint(dict(optimizer.state[model[4].weight])) == known  # nothing is taken from what is as it was
    advance(optimizer, range(2))


@each_masked
def test_a_parameter_that_is_put_into_a_group_by_hand(name: str) -> None:
    """Not by ``add_param_group``, so nothing is known of it."""
    weight, late = nn.Parameter(torch.zeros(5, 5)), nn.Parameter(torch.full((5, 5), 0.5))
    optimizer = build(name, [weight])
    advance(optimizer, range(2))
    optimizer.param_groups[0]["params"].append(late)
    with pytest.raises(RuntimeError, match=r"number 1 of its group: .*adopt\(\)"):
        advance(optimizer, [2])
    optimizer.adopt()
    advance(optimizer, range(3, 5))
    check_effective(optimizer)
    assert torch.equal(optimizer.mask(late), late != 0)


@each_method
def test_states_of_earlier_releases_load(name: str) -> None:
    """They lack settings that came later."""
    _, saved = model_and_optimizer(name)
    advance(saved, range(2))
    state = copy.deepcopy(saved.state_dict())
    for group in state["param_groups"]:
        for key in ("first_parameter", "plain_lr", "scale_fan"):
            group.pop(key, None)
    _, optimizer = model_and_optimizer(name, seed=6)
    optimizer.load_state_dict(state)
    assert full_state(optimizer)[0] == full_state(saved)[0]
    advance(optimizer, range(2, 4))


@each_method
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (2, 0, 3, 3)])
@pytest.mark.parametrize("packs", [False, True])
def test_empty_layers_work_where_sgd_takes_them(name: str, shape: tuple[int, ...], packs: bool) -> None:
    empty, weight = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(3, 3))
    more = {"pack_signs": packs, "sparsity": 0.7} if name in MASKED else {}
    more |= {"distribution": "signed_constant"} if packs else {}
    more = {key: value for key, value in more.items() if has_setting(name, key)}
    optimizer = build(name, [empty, weight], **more)
    for each in (optimizer, SGD([nn.Parameter(torch.zeros(shape))], lr=0.1)):
        advance(each, range(3))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    advance(optimizer, range(3, 5))
    if name in MASKED:
        optimizer.prepare()
        assert optimizer.mask(empty).shape == shape


@each_method
def test_numbers_that_no_distribution_has_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"parameter w: .*complex64"):
        build(name, [("w", nn.Parameter(torch.ones(3, 4, dtype=torch.complex64)))])
    whole = nn.Parameter(torch.ones(3, 4, dtype=torch.int32), requires_grad=False)
    if name in MASKED:
        with pytest.raises(ValueError, match=r"parameter w: shape \(3, 4\), torch.int32: a masked parameter is"):
            build(name, [("w", whole)])
    else:
        build(name, [("w", whole)])
    assert torch.equal(whole, torch.ones(3, 4, dtype=torch.int32))


@each_masked
def test_a_sparse_gradient_is_an_error_with_the_name(name: str) -> None:
    layer = nn.Embedding(9, 4, sparse=True)
    optimizer = build(name, [("table", layer.weight)])
    before = full_state(optimizer)
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="parameter table: has a sparse gradient"):
        optimizer.step()
    assert full_state(optimizer) == before


CHANGED = {"sparsity": 1.5, "lr": float("nan"), "momentum": 1.0, "weight_decay": -1.0, "rank_by": "size"}


@each_method
@pytest.mark.parametrize("key", CHANGED)
def test_settings_out_of_range_fail_at_the_next_step(name: str, key: str) -> None:
    _, optimizer = model_and_optimizer(name)
    if key not in optimizer.param_groups[-1]:
        return
    advance(optimizer, range(2))
    give_grads(params_of(optimizer), 3)
    before = full_state(optimizer)
    was = optimizer.param_groups[-1][key]
    optimizer.param_groups[-1][key] = CHANGED[key]
    with pytest.raises(ValueError, match=f"^{key}: {CHANGED[key]!r}: must be "):
        optimizer.step()
    optimizer.param_groups[-1][key] = was
    assert full_state(optimizer) == before
    optimizer.step()


@each_method
def test_optimizers_with_one_seed_draw_what_one_draws(name: str) -> None:
    """The layers have one shape: without positions of their own they would be equal."""
    whole, parts = ([nn.Parameter(torch.zeros(6, 6)) for _ in range(4)] for _ in range(2))
    one = build(name, whole)
    several = [build(name, parts[:1]), build(name, parts[1:2], first_parameter=1)]
    given = [{"params": [parts[2]], "first_parameter": 2}, {"params": [parts[3]]}]  # the last group follows the third
    several.append(build(name, given))
    assert fingerprint(parts) == fingerprint(whole)
    assert len({str(fingerprint(part)) for part in parts}) == 4
    for step in range(4):
        give_grads(whole, step)
        give_grads(parts, step)
        for optimizer in (one, *several):
            optimizer.step()
    assert fingerprint(parts) == fingerprint(whole)


@each_masked
def test_a_checkpoint_that_comes_too_late_is_an_error(name: str) -> None:
    model = net()
    optimizer = build(name, methods.prunable(model))
    advance(optimizer, range(2))
    model.load_state_dict(net(seed=3).state_dict())
    before = optimizer.param_groups[0]["num_updates"]
    give_grads(params_of(optimizer), 3)
    with pytest.raises(RuntimeError, match=r"parameter 0\.weight: was changed since .*distribution=None.*adopt\(\)"):
        optimizer.step()
    assert optimizer.param_groups[0]["num_updates"] == before
    values = [param.detach().clone() for param in params_of(optimizer)]
    others = {key for key in state_of(name) if key != "theta"}
    kept = [fingerprint({key: optimizer.state[param][key] for key in others}) for param in params_of(optimizer)]
    optimizer.adopt()
    for param, value in zip(params_of(optimizer), values, strict=True):
        assert torch.equal(optimizer.theta(param), under_mask(optimizer, param, value))
    assert [fingerprint({key: optimizer.state[p][key] for key in others}) for p in params_of(optimizer)] == kept
    check_effective(optimizer)
    optimizer.step()
    check_effective(optimizer)


@each_masked
@pytest.mark.parametrize("change", ["copy", "swap", "memory format", "dtype", "own state"])
def test_equal_values_are_no_change(name: str, change: str) -> None:
    """As DDP's broadcast, an average that is put in for an evaluation, and a checkpoint of both write them."""
    model, optimizer = model_and_optimizer(name)
    advance(optimizer, range(2))
    own = copy.deepcopy(model.state_dict())
    if change == "swap":
        model.load_state_dict(net(seed=3).state_dict())
    elif change == "memory format":
        model.to(memory_format=torch.channels_last)
    elif change == "dtype":
        model.double()
        for param, _ in masked_params(optimizer):
            param.data = param.data.float()
        model.float()
    elif change == "own state":
        saved = copy.deepcopy(optimizer.state_dict())
        model.load_state_dict(net(seed=3).state_dict())
        optimizer.load_state_dict(saved)
    model.load_state_dict(own)
    advance(optimizer, range(2, 4))
    check_effective(optimizer)


@each_masked
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_change_is_noticed_in_copies_too(name: str, how: str) -> None:
    weight = nn.Parameter(torch.zeros(5, 5))
    optimizer = build(name, [weight])
    advance(optimizer, range(2))
    other = COPIES[how](optimizer)
    [param] = params_of(other)
    with torch.no_grad():
        param.add_(1.0)
    with pytest.raises(RuntimeError, match="number 0 of its group: was changed since"):
        advance(other, [3])
    advance(optimizer, [3])


@each_masked
def test_a_changed_sparsity_is_no_change_of_weights(name: str) -> None:
    weight = nn.Parameter(torch.zeros(9, 9))
    optimizer = build(name, [weight])
    advance(optimizer, range(2))
    with torch.no_grad():
        weight.copy_(weight.clone())
    optimizer.param_groups[0]["sparsity"] = 0.8
    advance(optimizer, [3])
    check_effective(optimizer)


@each_masked
def test_data_parallel_networks_are_found_through(name: str) -> None:
    model = nn.DataParallel(net())
    optimizer = build(name, methods.prunable(model))
    assert optimizer.param_groups[0]["param_names"] == ["module.0.weight", "module.4.weight"]
    advance(optimizer, range(2))
