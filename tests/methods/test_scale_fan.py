"""``scale_fan``: theta's standard deviation times sqrt(1 / k), k the share kept, against numbers from the formula."""

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.sweep_files import GOOD, Problems
from support.ticket_reader import word_of
from torch import Tensor, nn

from suite import config
from suite.methods.random import draw_scores_
from suite.testing.method.cases import (
    DTYPES,
    NUM_STEPS,
    advance,
    build,
    check_effective,
    each_selecting,
    fingerprint,
    full_state,
    masked_params,
    model_and_optimizer,
    restore,
    tensor_state,
    through_file,
)

SPARSITIES = [0.3, 0.5, 0.9]
SIGMA = {"kaiming_normal": 2.0, "signed_constant": 2.0, "kaiming_uniform": 6.0}  # bounds of the last two: sqrt(c / n)


def by_formula(shape: tuple[int, ...], distribution: str, sparsity: float, **where: int) -> NDArray[np.float64]:
    """Draw number ``draw`` of a layer, in float64, a weight after the other: the usual one, then the paper's factor."""
    words = np.array([word_of(i=i, **where) for i in range(math.prod(shape))], dtype=np.float64)
    if distribution == "signed_constant":
        unit = np.where(words >= 2**31, 1.0, -1.0)
    elif distribution == "kaiming_uniform":
        unit = np.floor(words / 256) / 2**23 - 1
    else:
        unit = torch.special.ndtri(torch.from_numpy(words + 0.5) / 2**32).numpy()
    usual = unit * math.sqrt(SIGMA[distribution] / math.prod(shape[1:]))
    return (usual * math.sqrt(1 / (1 - sparsity))).reshape(shape)


def assert_close(theta: Tensor, expected: NDArray[np.float64]) -> None:
    torch.testing.assert_close(theta.double(), torch.from_numpy(expected), rtol=3e-7, atol=0)


@each_selecting
@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("distribution", get_args(config.Distribution))
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_those_of_the_formula(name: str, dtype: torch.dtype, distribution: str, sparsity: float) -> None:
    _, optimizer = model_and_optimizer(
        name, dtype, distribution=distribution, sparsity=sparsity, scale_fan=True, seed=3
    )
    for position, (param, _) in enumerate(masked_params(optimizer)):
        expected = by_formula(tuple(param.shape), distribution, sparsity, seed=3, position=position, draw=0)
        assert_close(optimizer.theta(param), expected)
    check_effective(optimizer)


@each_selecting
@pytest.mark.parametrize("init", get_args(config.ScoreInit))
def test_scores_keep_their_range(name: str, init: str) -> None:
    _, optimizer = model_and_optimizer(name, score_init=init, scale_fan=True, seed=3)
    for position, (param, _) in enumerate(masked_params(optimizer)):
        scores = draw_scores_(torch.empty(param.shape), init, fan_in=param[0].numel(), seed=3, parameter=position)
        assert fingerprint(optimizer.state[param]["scores"]) == fingerprint(scores)


@pytest.mark.parametrize(
    ("distribution", "packed"), [*((each, False) for each in get_args(config.Distribution)), ("signed_constant", True)]
)
def test_what_is_redrawn_has_the_scaled_range(distribution: str, packed: bool) -> None:
    """Every pruned weight, by the formula; the others keep theirs."""
    weight = nn.Parameter(torch.zeros(30, 20))
    settings: dict[str, Any] = {"distribution": distribution, "sparsity": 0.7, "pack_signs": packed, "seed": 5}
    optimizer = build("iterand", [weight], scale_fan=True, rerandomize_every=1, rerandomize_prob=1.0, **settings)
    before, mask = optimizer.theta(weight).clone(), optimizer.mask(weight)
    advance(optimizer, [0])
    fresh = by_formula((30, 20), distribution, 0.7, seed=5, position=0, draw=1)
    assert_close(optimizer.theta(weight), np.where(mask, before.double(), fresh))
    assert not torch.equal(optimizer.theta(weight), before)


@each_selecting
def test_a_groups_fan_in_is_scaled_by_its_own_share(name: str) -> None:
    weights = [nn.Parameter(torch.zeros(4, 6)) for _ in range(3)]
    given = [
        {"params": weights[:1], "fan_in": 50, "sparsity": 0.2, "scale_fan": True},
        {"params": weights[1:2], "sparsity": 0.75, "scale_fan": True},
        {"params": weights[2:], "sparsity": 0.75},
    ]
    optimizer = build(name, given, distribution="signed_constant")
    for weight, fan_in in zip(weights, (50 * 0.8, 6 * 0.25, 6), strict=True):
        torch.testing.assert_close(optimizer.theta(weight).abs(), torch.full((4, 6), math.sqrt(2 / fan_in)))


@each_selecting
def test_nothing_pruned_or_plain_sgd_is_not_scaled(name: str) -> None:
    for sparsity in (0.0, None):
        settings = {"sparsity": sparsity, "seed": 3}
        scaled, plain = (build(name, [nn.Parameter(torch.zeros(4, 6))], scale_fan=s, **settings) for s in (True, False))
        assert tensor_state(scaled) == tensor_state(plain)


@each_selecting
def test_packed_signs_change_nothing(name: str) -> None:
    settings = {"distribution": "signed_constant", "scale_fan": True}
    packed, dense = (model_and_optimizer(name, pack_signs=pack, **settings)[1] for pack in (True, False))
    for step in range(NUM_STEPS):
        advance(packed, [step])
        advance(dense, [step])
        assert tensor_state(packed) == tensor_state(dense)


@each_selecting
@pytest.mark.parametrize("packed", [False, True])
def test_a_resumed_run_stays_scaled(name: str, packed: bool) -> None:
    """Into an optimizer that was built without it: the saved setting counts, as any other."""
    settings = {"distribution": "signed_constant", "scale_fan": True}
    _, optimizer = model_and_optimizer(name, pack_signs=packed, **settings)
    advance(optimizer, range(3))
    other = restore(name, optimizer, through_file(optimizer.state_dict()))
    for each in (optimizer, other):
        advance(each, range(3, NUM_STEPS))
    assert full_state(other) == full_state(optimizer)
    assert other.param_groups[0]["scale_fan"] is True


@each_selecting
@pytest.mark.parametrize("packed", [False, True])
def test_a_state_from_before_there_was_such_a_setting_is_not_scaled(name: str, packed: bool) -> None:
    _, optimizer = model_and_optimizer(name, distribution="signed_constant", pack_signs=packed)
    advance(optimizer, range(3))
    old = through_file(optimizer.state_dict())
    for group in old["param_groups"]:
        del group["scale_fan"]
    other = restore(name, optimizer, old)
    for each in (optimizer, other):
        advance(each, range(3, NUM_STEPS))
    assert full_state(other) == full_state(optimizer)


def test_weights_of_ones_own_are_an_error() -> None:
    """Nothing draws them, so nothing can scale them."""
    with pytest.raises(ValueError, match=r"scale_fan: True: distribution must be one of .*, it is None"):
        build("edge_popup", [nn.Parameter(torch.ones(3, 4))], distribution=None, scale_fan=True)


@each_selecting
def test_a_trial_of_the_default_keeps_its_id(name: str) -> None:
    plain = {"name": name, "lr": 0.1, "sparsity": 0.5}
    settings = config.METHODS[name]
    assert config.identity(settings(**plain, scale_fan=False)) == plain
    assert config.identity(settings(**plain, scale_fan=True)) == {**plain, "scale_fan": True}


def test_the_dense_method_does_not_take_it(problems: Problems) -> None:
    (line,) = problems(GOOD.replace("{name: weights, lr: 0.1}", "{name: weights, lr: 0.1, scale_fan: true}"))
    assert line.startswith("s.yaml: grid.method.scale_fan: true: not a setting of weights; valid: ")
