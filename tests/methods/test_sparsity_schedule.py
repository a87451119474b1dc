"""``sparsity_schedule``: the masks of each step against the formulas, with a sort in Python."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.trial_processes import trial_of
from torch import nn

from suite import data, methods
from suite.config import SparsitySchedule, Trial
from suite.methods.edge_popup import EdgePopup
from suite.methods.iterand import IteRand
from suite.methods.sparsity_schedule import sparsity_at
from suite.testing.method.cases import advance, full_state, net
from suite.train import setup

RAMP: dict[str, Any] = {"shape": "linear", "start": 0.1, "begin_update": 2, "end_update": 6}
END = 0.8


def by_formula(shape: str, update: int) -> float:
    """As docs/explanation/methods.md has it."""
    t = min(max((update - 2) / 4, 0.0), 1.0)
    return {
        "constant": END,
        "linear": 0.1 + t * (END - 0.1),
        "cubic": END + (0.1 - END) * (1 - t) ** 3,
        "geometric": 1 - 0.9 ** (1 - t) * (1 - END) ** t,
    }[shape]


@pytest.mark.parametrize("shape", ["constant", "linear", "cubic", "geometric"])
def test_the_sparsity_of_each_update(shape: Any) -> None:
    schedule = {**RAMP, "shape": shape}
    for update in range(9):
        assert sparsity_at(update, schedule, END) == pytest.approx(by_formula(shape, update), rel=1e-12)  # type: ignore[arg-type]
    assert sparsity_at(6, schedule, END) == END  # type: ignore[arg-type]
    assert sparsity_at(2, schedule, END) == (END if shape == "constant" else 0.1)  # type: ignore[arg-type]


def optimizer_of(cls: Any = EdgePopup, **settings: Any) -> Any:
    schedule = {**RAMP, "shape": "cubic"}
    return cls(methods.prunable(net()), **{"sparsity": END, "lr": 0.1, "sparsity_schedule": schedule, **settings})


def check_masks(optimizer: Any, slow: SimpleNamespace, update: int) -> None:
    for param in optimizer.param_groups[0]["params"]:
        keep = slow.keep(optimizer.state[param]["scores"], by_formula("cubic", update))
        assert torch.equal(optimizer.mask(param), keep)
        assert torch.equal(param, torch.where(keep, optimizer.theta(param), 0.0))


@pytest.mark.parametrize("settings", [{}, {"pack_signs": True}, {"weight_decay": 0.01, "momentum": 0.0}], ids=str)
def test_each_step_writes_the_masks_of_its_number(settings: dict[str, Any], slow: SimpleNamespace) -> None:
    optimizer = optimizer_of(**settings)
    check_masks(optimizer, slow, 0)
    for update in range(1, 9):
        advance(optimizer, [update])
        check_masks(optimizer, slow, update)


def test_layers_without_a_gradient_follow_the_schedule(slow: SimpleNamespace) -> None:
    optimizer = optimizer_of()
    first, second = optimizer.param_groups[0]["params"]
    for update in range(1, 8):
        first.grad = torch.ones_like(first) if update < 4 else None  # at last no layer has one
        second.grad = None
        optimizer.step()
        check_masks(optimizer, slow, update)


def test_resuming_goes_on_with_the_schedule(slow: SimpleNamespace) -> None:
    whole = optimizer_of()
    advance(whole, range(7))
    for num in range(7):
        first, second = optimizer_of(), optimizer_of(seed=7, sparsity_schedule=None)
        advance(first, range(num))
        second.load_state_dict(first.state_dict())
        check_masks(second, slow, num)
        advance(second, range(num, 7))
        assert full_state(second) == full_state(whole)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_redraw_touches_what_the_last_masks_prune(scope: str) -> None:
    redraws = {"rerandomize_every": 1, "rerandomize_prob": 1.0, "distribution": "kaiming_uniform"}
    optimizer = optimizer_of(IteRand, scope=scope, **redraws)
    for update in range(1, 8):
        before = [(param, mask, optimizer.theta(param).clone()) for param, mask in optimizer.masks()]
        advance(optimizer, [update])
        for param, mask, theta in before:
            assert torch.equal(optimizer.theta(param) == theta, mask)


def test_packed_signs_are_redrawn_as_numbers_are() -> None:
    redraws = {"rerandomize_every": 1, "rerandomize_prob": 0.5}
    packed, numbers = (optimizer_of(IteRand, pack_signs=packs, **redraws) for packs in (True, False))
    advance(packed, range(7))
    advance(numbers, range(7))
    assert full_state(packed)[0]["state"] == full_state(numbers)[0]["state"]


@pytest.mark.parametrize(
    "change",
    [
        {"shape": "square"},
        {"start": 1.0},
        {"start": -0.1},
        {"start": math.nan},
        {"begin_update": 6},
        {"begin_update": 0.5},
        {"end_update": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_bad_schedule_is_refused_with_the_rule(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sparsity_schedule: .*: must be None or a dict of shape, start,"):
        EdgePopup([nn.Parameter(torch.zeros(3, 4))], sparsity=0.5, lr=0.1, sparsity_schedule={**RAMP, **change})  # type: ignore[typeddict-item]


def with_schedule(**settings: Any) -> dict[str, Any]:
    trial = trial_of("edge_popup", epochs=5).model_dump(exclude={"resources", "checkpoint"})
    trial["method"]["sparsity_schedule"] = settings
    return trial


def test_a_trial_counts_epochs_and_its_optimizer_updates() -> None:
    trial = Trial(**with_schedule(shape="cubic", start=0.2, begin_epoch=1, end_epoch=3))
    device = setup.configure_torch(trial)
    images = data.load(trial.dataset, data_dir=None, device=device)
    (group,) = setup.build(trial, images, device).optimizer.param_groups
    steps = math.ceil(images.num_epoch_images(trial.global_batch_size) / trial.global_batch_size)
    wanted = {"shape": "cubic", "start": 0.2, "begin_update": steps, "end_update": 3 * steps}
    assert group["sparsity_schedule"] == wanted
    open_end = Trial(**with_schedule(shape="cubic"))
    (group,) = setup.build(open_end, images, device).optimizer.param_groups
    assert group["sparsity_schedule"]["end_update"] == 5 * steps


def test_a_constant_schedule_is_the_trial_without_one() -> None:
    assert Trial(**with_schedule(shape="constant", start=0.3)).trial_id == trial_of("edge_popup", epochs=5).trial_id


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"end_epoch": 6}, r"must be at least 6, by method\.sparsity_schedule\.end_epoch"),
        ({"begin_epoch": 5}, r"must be at least 6, by method\.sparsity_schedule\.begin_epoch"),
        ({"begin_epoch": 3, "end_epoch": 3}, r"must be above begin_epoch \(3\)"),
    ],
)
def test_a_schedule_fits_into_the_epochs(settings: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Trial(**with_schedule(shape="linear", **settings))


def test_settings_have_the_shapes_of_the_optimizer() -> None:
    for shape in ("constant", "linear", "cubic", "geometric"):
        assert SparsitySchedule(shape=shape).shape == shape
