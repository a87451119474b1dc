"""Partially frozen networks: the pattern from the page alone, and training against slow layers, bit for bit."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.slow_redraw import slow_redraw
from support.ticket_reader import frozen_of
from torch import Tensor, nn

from suite.config import FrozenSettings
from suite.methods import prunable
from suite.methods.edge_popup import EdgePopup
from suite.methods.frozen import Frozen
from suite.methods.iterand import IteRand

SGD = {"momentum": 0.9, "weight_decay": 1e-3}
KINDS = {None: 0, 0: -1, 1: 1}


def slow_pattern(num: int, shares: tuple[float, float], position: int, seed: int) -> Tensor:
    """int8, (num,), one word at a time: -1 removed for ever, 1 kept for ever."""
    removed, kept = (round(share * (num - 1)) for share in shares)
    return torch.tensor([KINDS[kind] for kind in frozen_of(num, removed, kept, seed, position)], dtype=torch.int8)


def slow_frozen_net(
    slow: SimpleNamespace, dtype: torch.dtype, optimizer: Any, shares: tuple[float, float], **settings: Any
) -> nn.Sequential:
    """Slow layers whose masks are of the free weights; frozen ones get no gradient."""

    class SlowFrozenLayer(slow.Layer):  # type: ignore[name-defined, misc]
        def mask(self) -> Tensor:
            scores = torch.where(self.frozen == 0, self.scores, self.scores.detach())
            rank = scores if self.rank_by == "scores" else scores.abs()
            result: Tensor = slow.TopK.apply(rank, self.sparsity, self.frozen)
            return result

        def not_redrawn(self) -> Tensor:
            return self.mask().bool() | (self.frozen != 0)

    model: nn.Sequential = slow.net(dtype, optimizer, make=SlowFrozenLayer, **settings)
    for position, layer in enumerate(slow.layers(model)):
        layer.frozen = slow_pattern(layer.theta.numel(), shares, position, 7).view(layer.theta.shape)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rank_by", ["scores", "abs_scores"])
@pytest.mark.parametrize("shares", [(0.2, 0.3), (0.6, 0.0), (0.0, 0.4), (0.0, 0.0)])
def test_equals_the_layer_form(
    slow: SimpleNamespace, shares: tuple[float, float], rank_by: str, dtype: torch.dtype
) -> None:
    fast = slow.small_net(dtype)
    own = {"frozen_removed": shares[0], "frozen_kept": shares[1], "seed": 7, "rank_by": rank_by}
    optimizer = Frozen(prunable(fast), sparsity=0.6, lr=0.3, **own, **SGD)
    reference = slow_frozen_net(slow, dtype, optimizer, shares, sparsity=0.6, rank_by=rank_by)
    slow.assert_same_training(optimizer, fast, reference, lr=0.3, num_steps=100, dtype=dtype, **SGD)
    for (_, param), layer in zip(prunable(fast), slow.layers(reference), strict=True):
        assert torch.equal(optimizer.frozen(param), layer.frozen)


@pytest.mark.parametrize("distribution", ["signed_constant", "kaiming_uniform"])
def test_redraws_are_among_the_free_weights(slow: SimpleNamespace, distribution: str) -> None:
    fast = slow.small_net()
    own: dict[str, Any] = {"frozen_removed": 0.25, "frozen_kept": 0.15, "rerandomize_every": 5, "rerandomize_prob": 0.5}
    settings: dict[str, Any] = {"sparsity": 0.6, "lr": 0.3, "seed": 7, "distribution": distribution, **SGD}
    optimizer = Frozen(prunable(fast), **own, **settings)
    reference = slow_frozen_net(slow, torch.float32, optimizer, (0.25, 0.15), sparsity=0.6, rank_by="scores")
    first = [layer.theta.clone() for layer in slow.layers(reference)]

    def before_forward(step: int, layers: list[Any]) -> None:
        if step % 5 == 0:
            for position, layer in enumerate(layers):
                slow_redraw(layer, position, seed=7, draw=step // 5, prob=0.5, distribution=distribution)

    slow.assert_same_training(
        optimizer, fast, reference, lr=0.3, num_steps=40, dtype=torch.float32, before_forward=before_forward, **SGD
    )
    for theta, layer in zip(first, slow.layers(reference), strict=True):
        changed = theta != layer.theta
        assert changed.any() and not (changed & (layer.frozen != 0)).any()


@pytest.mark.parametrize("prob", [0.0, 0.5])
def test_without_frozen_weights_it_is_edge_popup_or_iterand(slow: SimpleNamespace, prob: float) -> None:
    nets = [slow.small_net(), slow.small_net()]
    redraws: dict[str, Any] = {"rerandomize_every": 2, "rerandomize_prob": prob} if prob else {}
    settings: dict[str, Any] = {"sparsity": 0.6, "lr": 0.3, "max_score_grad_norm": 0.5, "scale_fan": True, **SGD}
    other = (IteRand if prob else EdgePopup)(prunable(nets[0]), **redraws, **settings)
    frozen = Frozen(prunable(nets[1]), frozen_removed=0.0, frozen_kept=0.0, **redraws, **settings)
    for step in range(20):
        pairs = zip(nets, (other, frozen), strict=True)
        assert slow.equal_bits(*(slow.train_step(net, opt, step, torch.float32) for net, opt in pairs))


@pytest.mark.parametrize("num", [1, 2, 3, 10, 999])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_all_may_be_frozen_but_for_rounding(num: int, sparsity: float) -> None:
    weight = nn.Parameter(torch.zeros(num, 1))
    optimizer = Frozen([weight], sparsity=sparsity, frozen_removed=sparsity, frozen_kept=1 - sparsity, lr=0.1)
    assert (optimizer.frozen(weight) == 0).sum() <= 2
    for step in range(3):
        weight.grad = torch.full_like(weight, float(step))
        optimizer.step()
        assert (~optimizer.mask(weight)).sum() == round(sparsity * (num - 1))
        assert optimizer.mask(weight)[optimizer.frozen(weight) > 0].all()
        assert not optimizer.mask(weight)[optimizer.frozen(weight) < 0].any()


def test_a_threshold_over_all_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^scope: 'global': must be layer: frozen weights are counted"):
        Frozen([nn.Parameter(torch.zeros(3, 4))], sparsity=0.7, lr=0.1, scope="global")


def test_half_of_each_share_is_frozen_unless_told_otherwise() -> None:
    weight = nn.Parameter(torch.zeros(101, 10))
    pattern = Frozen([weight], sparsity=0.6, lr=0.1).frozen(weight)
    assert [int((pattern == kind).sum()) for kind in (-1, 0, 1)] == [303, 505, 202]


@pytest.mark.parametrize(("key", "share"), [("frozen_removed", 0.71), ("frozen_kept", 0.31)])
def test_shares_beyond_the_sparsity_are_refused(key: str, share: float) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: {share}: must be at most .*sparsity.* 0\.7$"):
        Frozen([nn.Parameter(torch.zeros(3, 4))], sparsity=0.7, lr=0.1, **{key: share})
    with pytest.raises(ValueError, match=f"{key} must be at most"):
        FrozenSettings(name="frozen", lr=0.1, sparsity=0.7, **{key: share})


def test_a_schedule_of_sparsity_leaves_what_is_frozen(slow: SimpleNamespace) -> None:
    """Where the schedule asks for less than is removed for ever, that much is removed."""
    model = slow.small_net()
    schedule: Any = {"shape": "linear", "start": 0.0, "begin_update": 0, "end_update": 10}
    shares: dict[str, float] = {"frozen_removed": 0.3, "frozen_kept": 0.2}
    optimizer = Frozen(prunable(model), sparsity=0.6, lr=0.3, sparsity_schedule=schedule, **shares)
    for step in range(1, 12):
        slow.train_step(model, optimizer, step, torch.float32)
        for _, param in prunable(model):
            num = param.numel() - 1
            wanted = max(round(min(0.06 * step, 0.6) * num), round(0.3 * num))
            assert int((~optimizer.mask(param)).sum()) == wanted
            assert (param[optimizer.frozen(param) < 0] == 0).all() and (param[optimizer.frozen(param) > 0] != 0).all()
