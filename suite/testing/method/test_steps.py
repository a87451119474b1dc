"""The contract of ``suite.methods``, held against every registered method: steps."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from suite import methods
from suite.testing.method.cases import (
    NUM_STEPS,
    advance,
    build,
    check_effective,
    each_method,
    fingerprint,
    full_state,
    give_grads,
    groups,
    model_and_optimizer,
    net,
    params_of,
    restore,
    restored_by_state,
    tensor_state,
    through_file,
)


@each_method
def test_closure(name: str) -> None:
    model, optimizer = model_and_optimizer(name)
    twin, twin_optimizer = model_and_optimizer(name)
    images, classes = torch.randn(5, 2, 4, 4), torch.tensor([0, 1, 2, 0, 1])

    def loss_of(model: nn.Module, optimizer: Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), classes)
        loss.backward()
        return loss

    for _ in range(3):
        loss = optimizer.step(lambda: loss_of(model, optimizer))
        expected = loss_of(twin, twin_optimizer)
        assert twin_optimizer.step() is None
        assert torch.equal(loss, expected)
    assert full_state(optimizer) == full_state(twin_optimizer)


SCHEDULERS = {
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, T_max=NUM_STEPS),
    "lambda": lambda optimizer: LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)),
}


def scheduled(optimizer: Optimizer, scheduler: LRScheduler) -> list[float]:
    rates = []
    for step in range(NUM_STEPS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        advance(optimizer, [step])
        scheduler.step()
    return rates


@each_method
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_schedulers(name: str, schedule: str) -> None:
    """The rate is read at each step: a scheduler equals writing it into the groups by hand."""
    optimizer, by_hand, constant = (model_and_optimizer(name)[1] for _ in range(3))
    rates = scheduled(optimizer, SCHEDULERS[schedule](optimizer))
    assert len(set(rates)) == NUM_STEPS
    for step, rate in enumerate(rates):
        for group in by_hand.param_groups:
            group["lr"] = rate
        advance(by_hand, [step])
    advance(constant, range(NUM_STEPS))
    assert tensor_state(optimizer) == tensor_state(by_hand)
    assert tensor_state(optimizer) != tensor_state(constant)


@each_method
def test_learning_rate_as_a_tensor(name: str) -> None:
    """Equals the float of the same value, also after a scheduler has changed it in place and through a file."""
    _, optimizer = model_and_optimizer(name, lr=torch.tensor(0.125))
    _, twin = model_and_optimizer(name, lr=0.125)
    advance(optimizer, range(3))
    advance(twin, range(3))
    assert tensor_state(optimizer) == tensor_state(twin)
    for opt in (optimizer, twin):
        for group in opt.param_groups:
            group["lr"] = torch.tensor(0.25) if opt is optimizer else 0.25
    resumed = restore(name, optimizer, through_file(optimizer.state_dict()))
    advance(resumed, range(3, NUM_STEPS))
    advance(twin, range(3, NUM_STEPS))
    assert tensor_state(resumed) == tensor_state(twin)
    assert isinstance(resumed.param_groups[0]["lr"], Tensor)


@each_method
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_schedulers_with_a_tensor(name: str, schedule: str) -> None:
    weights = [nn.Parameter(torch.zeros(4, 6)) for _ in range(2)]
    optimizer, twin = build(name, weights[:1], lr=torch.tensor(0.125)), build(name, weights[1:], lr=0.125)
    scheduler = SCHEDULERS[schedule](optimizer)
    for step in range(NUM_STEPS):
        twin.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"].item()
        advance(optimizer, [step])
        advance(twin, [step])
        scheduler.step()
    assert twin.param_groups[0]["lr"] < 0.125
    assert tensor_state(optimizer) == tensor_state(twin)


@each_method
def test_a_group_added_later_equals_one_given_at_once(name: str) -> None:
    together, apart = net(), net()
    at_once = build(name, groups(name, together))
    first, *rest = groups(name, apart)
    later = build(name, [{"params": first["params"][:1]}])
    for group in ({"params": first["params"][1:]}, *rest):
        later.add_param_group(group)
    assert tensor_state(later) == tensor_state(at_once)
    assert all(len(group["params"]) == len(group["param_names"]) for group in later.param_groups)
    if methods.get(name).masked:
        check_effective(later)
    advance(at_once, range(NUM_STEPS))
    advance(later, range(NUM_STEPS))
    assert tensor_state(later) == tensor_state(at_once)


@each_method
def test_a_group_added_between_steps_counts_from_there(name: str) -> None:
    weights = [nn.Parameter(torch.ones(4, 6)) for _ in range(2)]
    optimizer = build(name, weights[:1])
    advance(optimizer, range(3))
    before = fingerprint(weights[0])
    optimizer.add_param_group({"params": weights[1:], "lr": 0.5})
    assert fingerprint(weights[0]) == before
    assert not torch.equal(weights[1], torch.ones(4, 6))
    advance(optimizer, range(2))
    if methods.get(name).masked:
        assert [group["num_updates"] for group in optimizer.param_groups] == [5, 2]
        check_effective(optimizer)


@each_method
def test_names_change_no_number(name: str) -> None:
    model, optimizer = model_and_optimizer(name)
    unnamed_model = net()
    unnamed = [{**g, "params": [param for _, param in g["params"]]} for g in groups(name, unnamed_model)]
    twin = build(name, unnamed)
    advance(optimizer, range(3))
    advance(twin, range(3))
    assert tensor_state(optimizer) == tensor_state(twin)
    named = [param_name for group in optimizer.state_dict()["param_groups"] for param_name in group["param_names"]]
    assert sorted(named) == sorted(dict(model.named_parameters()))


@each_method
def test_memory_format_changes_no_number(name: str) -> None:
    """Equal gradients give equal updates; a state may move between formats."""
    models = [net(), net().to(memory_format=torch.channels_last), net().to(memory_format=torch.channels_last)]
    assert models[1][0].weight.stride() != models[0][0].weight.stride()
    plain, other, moved = (build(name, groups(name, model)) for model in models)
    advance(plain, range(3))
    advance(other, range(3))
    assert full_state(plain) == full_state(other)
    moved.load_state_dict(copy.deepcopy(plain.state_dict()))
    for target, source in zip(params_of(moved), params_of(plain), strict=True):
        by_state = any(target is param for param in restored_by_state(moved))
        assert fingerprint(target) == fingerprint(source) or not by_state
        target.data.copy_(source)
    assert models[2][0].weight.is_contiguous(memory_format=torch.channels_last)
    for optimizer in (plain, other, moved):
        advance(optimizer, range(3, NUM_STEPS))
    assert full_state(plain) == full_state(other) == full_state(moved)


@each_method
def test_a_step_that_the_gradient_scaler_skips_does_not_count(name: str) -> None:
    model, optimizer = model_and_optimizer(name)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    images, classes = torch.randn(5, 2, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    twin, twin_optimizer = model_and_optimizer(name)
    for overflow in (False, True, True, False, False):
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(images), classes)).backward()
        if overflow:
            model[0].weight.grad[0, 0, 0, 0] = float("inf")
        else:
            twin_optimizer.zero_grad()
            F.cross_entropy(twin(images), classes).backward()
            twin_optimizer.step()
        before = full_state(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert (full_state(optimizer) == before) == overflow
    assert full_state(optimizer) == full_state(twin_optimizer)


@each_method
def test_a_parameter_without_a_gradient_is_passed_over(name: str) -> None:
    model, optimizer = model_and_optimizer(name)
    advance(optimizer, range(3))
    give_grads(params_of(optimizer), 3)
    model[0].weight.grad = None
    before = fingerprint(model[0].weight), fingerprint(optimizer.state[model[0].weight])
    others = fingerprint(model[4].weight)
    optimizer.step()
    assert (fingerprint(model[0].weight), fingerprint(optimizer.state[model[0].weight])) == before
    assert fingerprint(model[4].weight) != others
    optimizer.zero_grad()
    before_all = fingerprint(params_of(optimizer))
    optimizer.step()
    assert fingerprint(params_of(optimizer)) == before_all
    if methods.get(name).masked:  # a step is a step: the redraws of IteRand keep their rhythm
        assert [group["num_updates"] for group in optimizer.param_groups] == [5, 5]


@each_method
def test_a_parameter_passed_over_from_the_start_does_not_shift_the_draws(name: str) -> None:
    """Draws go by position in the optimizer, not among those that have a gradient."""
    _, optimizer = model_and_optimizer(name)
    _, twin = model_and_optimizer(name)
    for step in range(4):
        for opt, skipped in ((optimizer, True), (twin, False)):
            give_grads(params_of(opt), step)
            if skipped:
                params_of(opt)[0].grad = None
            opt.step()
    assert fingerprint(params_of(optimizer)[1:]) == fingerprint(params_of(twin)[1:])


@each_method
def test_what_is_not_passed_is_not_touched(name: str) -> None:
    model = net()
    before = fingerprint(model.state_dict())
    optimizer = build(name, [model[0].weight])
    give_grads(model.parameters(), 0)
    optimizer.step()
    after = fingerprint(model.state_dict())
    assert [key for key in before if before[key] != after[key]] == ["0.weight"]
