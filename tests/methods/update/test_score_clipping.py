"""``max_score_grad_norm``: what ``clip_grad_norm_`` does to the gradients of scores, and nothing else."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.paired_layers import normal, raw
from torch import Tensor, nn

from suite.methods.update.plain import RANKINGS
from suite.testing.method.cases import build, each_selecting, full_state, groups, net

SHAPES = [(7, 5), (4, 3, 3, 3), (30, 40)]
SGD = {"lr": 0.3, "momentum": 0.9, "weight_decay": 1e-2}
each_ranking = pytest.mark.parametrize("rank_by", RANKINGS)


class Reference:
    """Scores as parameters of ``torch.optim.SGD``, with gradients written out and clipped by torch."""

    def __init__(self, optimizer: Any, group: int = 0) -> None:
        own = optimizer.param_groups[group]
        states = [optimizer.state[param] for param in own["params"]]
        self.rank_by, self.bound = own["rank_by"], own["max_score_grad_norm"]
        self.thetas = [state["theta"].clone() for state in states]
        self.scores = [nn.Parameter(state["scores"].clone()) for state in states]
        self.sgd = torch.optim.SGD(self.scores, foreach=False, **{key: own[key] for key in SGD})

    def step(self, grads: Sequence[Tensor]) -> float:
        """The norm before it is bounded."""
        for score, theta, grad in zip(self.scores, self.thetas, grads, strict=True):
            score.grad = grad * theta
            if self.rank_by == "abs_scores":
                score.grad *= score.detach().sign()
        norm = torch.nn.utils.clip_grad_norm_(self.scores, self.bound or float("inf"), foreach=False)
        self.sgd.step()
        return float(norm)

    def scores_of(self) -> list[bytes]:
        return list(map(raw, self.scores))


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(normal(shape, i)) for i, shape in enumerate(SHAPES)]


def scores_of(optimizer: Any, params: Sequence[Tensor]) -> list[bytes]:
    return [raw(optimizer.state[param]["scores"]) for param in params]


def give(params: Sequence[Tensor], step: int, factor: float = 1.0) -> list[Tensor]:
    """Gradients of a step, whose norms differ from step to step."""
    for i, param in enumerate(params):
        param.grad = normal(param.shape, 50 * step + i) * (factor * (1 + step % 4))
    return [param.grad for param in params if param.grad is not None]


AS_EDGE_POPUP = {  # settings with which the other methods are edge-popup
    "iterand": {"rerandomize_prob": 0.0},
    "recycle": {"recycle_share": 0.0},
    "frozen": {"rerandomize_prob": 0.0, "frozen_removed": 0.0, "frozen_kept": 0.0},
}


@each_selecting
@each_ranking
@pytest.mark.parametrize("bound", [0.01, 12.0, 25.0])
def test_equals_clipping_by_torch(name: str, bound: float, rank_by: str) -> None:
    params = weights()
    optimizer = build(name, params, max_score_grad_norm=bound, rank_by=rank_by, **SGD, **AS_EDGE_POPUP.get(name, {}))
    reference = Reference(optimizer)
    norms = []
    for step in range(25):
        norms.append(reference.step([grad.clone() for grad in give(params, step)]))
        optimizer.step()
        assert scores_of(optimizer, params) == reference.scores_of(), f"step {step}"
    assert bound == 0.01 or min(norms) < bound < max(norms)  # both happen


@each_selecting
@each_ranking
def test_a_bound_that_is_not_reached_changes_no_bit(name: str, rank_by: str) -> None:
    results = []
    for bound in (None, 1e6, 1.0):
        params = weights()
        optimizer = build(name, params, max_score_grad_norm=bound, rank_by=rank_by, **SGD)
        for step in range(12):
            give(params, step)
            optimizer.step()
        results.append((list(map(raw, params)), scores_of(optimizer, params)))
    assert results[0] == results[1] != results[2]


@each_ranking
def test_the_norm_is_that_of_one_groups_masked_layers(rank_by: str) -> None:
    """Not of another group, nor of parameters that plain SGD trains, which no bound changes."""
    first, second, dense = weights(), weights(), nn.Parameter(torch.ones(6))
    given = [
        {"params": first, "max_score_grad_norm": 2.0},
        {"params": [dense], "sparsity": None, "max_score_grad_norm": 1e-3},
        {"params": second, "max_score_grad_norm": 0.5, "seed": 3},
    ]
    optimizer = build("edge_popup", given, rank_by=rank_by, **SGD)
    references = [Reference(optimizer, 0), Reference(optimizer, 2)]
    twin = nn.Parameter(torch.ones(6))
    twin_sgd = torch.optim.SGD([twin], foreach=False, **SGD)
    for step in range(10):
        references[0].step(give(first, step))
        references[1].step(give(second, step + 100, factor=100.0))
        dense.grad = torch.full((6,), 1e3 + step)
        twin.grad = dense.grad.clone()
        optimizer.step()
        twin_sgd.step()
        assert scores_of(optimizer, first) == references[0].scores_of()
        assert scores_of(optimizer, second) == references[1].scores_of()
        assert raw(dense) == raw(twin)


def test_layers_without_a_gradient_do_not_count() -> None:
    params, others = weights(), weights()
    optimizer = build("edge_popup", params, max_score_grad_norm=1.0, **SGD)
    twin = build("edge_popup", others[:2], max_score_grad_norm=1.0, **SGD)
    for step in range(5):
        give(params, step)
        give(others[:2], step)
        params[2].grad = None
        optimizer.step()
        twin.step()
    assert scores_of(optimizer, params[:2]) == scores_of(twin, others[:2])


def test_gradients_are_left_as_they_were() -> None:
    params = weights()
    optimizer = build("edge_popup", params, max_score_grad_norm=1e-3, **SGD)
    before = list(map(raw, give(params, 0)))
    optimizer.step()
    assert [raw(param.grad) for param in params if param.grad is not None] == before


@each_selecting
def test_steps_that_the_gradient_scaler_skips_do_not_count(name: str) -> None:
    """And those that it does not skip are bounded after the scale is taken out."""
    model, twin = net(), net()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    optimizer, twin_optimizer = (build(name, groups(name, each), max_score_grad_norm=0.1) for each in (model, twin))
    free = build(name, groups(name, other := net()))
    images, classes = torch.randn(5, 2, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    for overflow in (False, True, True, False, False):
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(images), classes)).backward()
        if overflow:
            model[0].weight.grad[0, 0, 0, 0] = float("inf")
        else:
            for each, opt in ((twin, twin_optimizer), (other, free)):
                opt.zero_grad()
                F.cross_entropy(each(images), classes).backward()
                opt.step()
        before = full_state(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert (full_state(optimizer) == before) == overflow
    assert full_state(optimizer) == full_state(twin_optimizer)
    assert full_state(optimizer)[1] != full_state(free)[1]  # the bound did something


@each_selecting
def test_accumulated_gradients_are_bounded_once(name: str) -> None:
    model = net()
    twin = copy.deepcopy(model)
    optimizer, twin_optimizer = (build(name, groups(name, each), max_score_grad_norm=0.1) for each in (model, twin))
    for step in range(6):
        parts = [normal((4, 2, 4, 4), 10 * step + i) for i in range(2)]
        optimizer.zero_grad()
        sums = [torch.zeros_like(param) for param in twin.parameters()]
        for images in parts:
            model(images).square().mean().backward()
            found = torch.autograd.grad(twin(images).square().mean(), list(twin.parameters()))
            sums = [total + grad for total, grad in zip(sums, found, strict=True)]
        for param, total in zip(twin.parameters(), sums, strict=True):
            param.grad = total
        optimizer.step()
        twin_optimizer.step()
        assert full_state(optimizer) == full_state(twin_optimizer)


@pytest.mark.parametrize("bound", [0, 0.0, -1.0, float("inf"), float("nan"), "1"])
def test_a_bound_that_is_none_is_an_error(bound: Any) -> None:
    with pytest.raises(ValueError, match=r"max_score_grad_norm: .*must be above 0 and finite, or None"):
        build("edge_popup", weights(), max_score_grad_norm=bound)
