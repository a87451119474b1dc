"""``scope: global``: one threshold over all masked weights, against a sort in Python."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite import methods
from suite.methods.edge_popup import EdgePopup
from suite.methods.iterand import IteRand
from suite.methods.update.scope import global_masks
from suite.testing.method.cases import advance, full_state, net


def slow_masks(ranks: list[Tensor], sparsity: float) -> list[Tensor]:
    """By the definition: order by (is NaN, value, position, logical index); an emptied layer keeps its last one."""
    order = [
        (math.isnan(value), 0.0 if math.isnan(value) else value, position, index)
        for position, rank in enumerate(ranks)
        for index, value in enumerate(rank.flatten().tolist())
    ]
    pruned = {key[2:] for key in sorted(order)[: round(sparsity * (len(order) - 1))]}
    masks = []
    for position, rank in enumerate(ranks):
        keep = [(position, index) not in pruned for index in range(rank.numel())]
        if not any(keep):
            keep[max(key for key in order if key[2] == position)[3]] = True
        masks.append(torch.tensor(keep).view(rank.shape))
    return masks


def layers(kind: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    made = [torch.randn(shape, generator=generator) for shape in ((5, 4), (2, 3, 3, 3), (1, 1), (7, 6))]
    if kind == "ties":
        made = [tensor.round() for tensor in made]
    elif kind == "zeros":
        made = [torch.where(tensor > 0, 0.0, -0.0) for tensor in made]
    elif kind == "not finite":
        made = [tensor.masked_fill(tensor > 1, math.nan).masked_fill(tensor < -1, -math.inf) for tensor in made]
    elif kind == "small layer":
        made[1] *= 1e-3
        made[0] -= 100.0
    return made


@pytest.mark.parametrize("kind", ["plain", "ties", "zeros", "not finite", "small layer"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("rank_by", ["scores", "abs_scores"])
def test_masks_are_those_of_a_sort_over_all_layers(kind: str, sparsity: float, rank_by: Any) -> None:
    scores = layers(kind)
    ranks = scores if rank_by == "scores" else [score.abs() for score in scores]
    for found, wanted in zip(global_masks(scores, sparsity, rank_by), slow_masks(ranks, sparsity), strict=True):
        assert torch.equal(found, wanted)


def test_the_memory_format_does_not_matter() -> None:
    scores = [tensor.round() for tensor in layers("plain")]
    scores[1] = scores[1].contiguous(memory_format=torch.channels_last)
    for found, wanted in zip(global_masks(scores, 0.5, "scores"), slow_masks(scores, 0.5), strict=True):
        assert torch.equal(found, wanted)


def optimizer_of(cls: Any = EdgePopup, **settings: Any) -> Any:
    return cls(methods.prunable(net()), **{"sparsity": 0.6, "lr": 0.1, "scope": "global", **settings})


def check_masks(optimizer: Any) -> None:
    """Those of the scores as they are, in the layers too."""
    params = optimizer.param_groups[0]["params"]
    wanted = slow_masks([optimizer.state[param]["scores"] for param in params], optimizer.param_groups[0]["sparsity"])
    assert [mask.tolist() for _, mask in optimizer.masks()] == [mask.tolist() for mask in wanted]
    for param, mask in zip(params, wanted, strict=True):
        assert torch.equal(optimizer.mask(param), mask)
        assert torch.equal(param, torch.where(mask, optimizer.theta(param), 0.0))


@pytest.mark.parametrize("settings", [{}, {"pack_signs": True}, {"max_score_grad_norm": 0.1}], ids=str)
def test_an_optimizer_holds_the_masks_of_all_its_layers(settings: dict[str, Any]) -> None:
    optimizer = optimizer_of(**settings)
    check_masks(optimizer)
    for step in range(5):
        advance(optimizer, [step])
        check_masks(optimizer)
    shares = {float(mask.float().mean()) for _, mask in optimizer.masks()}
    assert len(shares) == 2  # layers differ, else the test would not tell the scopes apart


def test_a_layer_without_a_gradient_follows_the_threshold_of_the_others() -> None:
    optimizer = optimizer_of()
    first, second = optimizer.param_groups[0]["params"]
    before, values = optimizer.state[second]["scores"].clone(), second.detach().clone()
    for _ in range(3):
        first.grad, second.grad = torch.full_like(first, -100.0).copysign(first), None
        optimizer.step()
        check_masks(optimizer)
    assert torch.equal(optimizer.state[second]["scores"], before)
    assert not torch.equal(second, values)


def test_a_redraw_touches_what_the_masks_of_all_layers_prune() -> None:
    optimizer = optimizer_of(IteRand, rerandomize_every=1, rerandomize_prob=1.0, distribution="kaiming_uniform")
    before = [(param, mask, optimizer.theta(param).clone()) for param, mask in optimizer.masks()]
    advance(optimizer, [0])
    for param, mask, theta in before:
        assert torch.equal(optimizer.theta(param) == theta, mask)


def test_a_state_of_a_release_without_scopes_is_of_layers() -> None:
    optimizer = optimizer_of(scope="layer")
    advance(optimizer, range(2))
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        del group["scope"]
    other = optimizer_of(seed=5)
    other.load_state_dict(state)
    assert other.param_groups[0]["scope"] == "layer"
    assert full_state(other) == full_state(optimizer)


def test_resuming_and_a_foreign_change() -> None:
    optimizer, other = optimizer_of(), optimizer_of(seed=9)
    advance(optimizer, range(3))
    other.load_state_dict(optimizer.state_dict())
    for each in (optimizer, other):
        advance(each, range(3, 6))
    assert full_state(other)[0] == full_state(optimizer)[0]
    with torch.no_grad():
        other.param_groups[0]["params"][0].mul_(2.0)
    with pytest.raises(RuntimeError, match="was changed since the optimizer's last step"):
        other.step()


def test_another_scope_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="scope: 'network': must be one of layer, global"):
        EdgePopup([nn.Parameter(torch.zeros(3, 4))], sparsity=0.5, lr=0.1, scope="network")  # type: ignore[arg-type]


def test_a_group_of_which_nothing_is_trained_has_no_masks() -> None:
    weight = nn.Parameter(torch.ones(3, 4), requires_grad=False)
    optimizer = EdgePopup([weight], sparsity=0.5, lr=0.1, scope="global")
    optimizer.step()
    assert optimizer.masks() == [] and torch.equal(weight, torch.ones(3, 4))
