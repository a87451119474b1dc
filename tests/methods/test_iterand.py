"""IteRand: when and what it draws again, against a reference that draws before the forward pass."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy import stats
from support.slow_redraw import slow_redraw
from torch import Tensor, nn

from suite.methods import prunable
from suite.methods.edge_popup import EdgePopup
from suite.methods.iterand import IteRand

SGD = {"momentum": 0.9, "weight_decay": 1e-3}
UNLIKELY = 1e-4  # each statistical bound fails by chance this often; seeds are fixed, so in fact never
SHAPE = (400, 600)
FAN_IN = 600


@pytest.mark.parametrize("rank_by", ["scores", "abs_scores"])
def test_probability_zero_is_edge_popup(slow: SimpleNamespace, rank_by: str) -> None:
    settings = {"sparsity": 0.6, "lr": 0.3, "rank_by": rank_by, "seed": 4, **SGD}
    nets = [slow.small_net(), slow.small_net()]
    plain = EdgePopup(prunable(nets[0]), **settings)
    iterand = IteRand(prunable(nets[1]), rerandomize_every=2, rerandomize_prob=0.0, **settings)
    for step in range(30):
        losses = [
            slow.train_step(net, opt, step, torch.float32) for net, opt in zip(nets, (plain, iterand), strict=True)
        ]
        assert slow.equal_bits(*losses)
    for (_, a), (_, b) in zip(prunable(nets[0]), prunable(nets[1]), strict=True):
        assert slow.equal_bits(a, b)
        assert all(slow.equal_bits(plain.state[a][key], iterand.state[b][key]) for key in plain.state[a])


@pytest.mark.parametrize("rank_by", ["scores", "abs_scores"])
@pytest.mark.parametrize("distribution", ["signed_constant", "kaiming_uniform"])
@pytest.mark.parametrize(("every", "prob"), [(1, 0.1), (5, 0.1), (5, 1.0)])
def test_equals_drawing_before_the_forward_pass(
    slow: SimpleNamespace, every: int, prob: float, distribution: str, rank_by: str
) -> None:
    """The protocol's order: at step t, if K_per divides t, redraw; then forward, backward, update."""
    settings = {"sparsity": 0.6, "distribution": distribution, "rank_by": rank_by, "lr": 0.3, "seed": 7, **SGD}
    fast = slow.small_net()
    optimizer = IteRand(prunable(fast), rerandomize_every=every, rerandomize_prob=prob, **settings)
    reference = slow.net(torch.float32, optimizer, sparsity=0.6, rank_by=rank_by)
    thetas = [layer.theta.clone() for layer in slow.layers(reference)]

    def before_forward(step: int, layers: list[Any]) -> None:
        if step % every == 0:
            for position, layer in enumerate(layers):
                slow_redraw(layer, position, seed=7, draw=step // every, prob=prob, distribution=distribution)

    slow.assert_same_training(
        optimizer, fast, reference, lr=0.3, num_steps=40, dtype=torch.float32, before_forward=before_forward, **SGD
    )
    assert all(not torch.equal(a, layer.theta) for a, layer in zip(thetas, slow.layers(reference), strict=True))


def one_layer(prob: float, *, every: int = 1, distribution: str = "kaiming_uniform", **settings: Any) -> Any:
    """A weight of 240,000 numbers with a zero gradient, so that a step changes nothing but what is redrawn."""
    weight = nn.Parameter(torch.zeros(SHAPE))
    weight.grad = torch.zeros(SHAPE)
    settings = {"sparsity": 0.5, "lr": 0.1, "rerandomize_every": every, "rerandomize_prob": prob, **settings}
    return weight, IteRand([weight], distribution=distribution, **settings)


def snapshot(optimizer: IteRand, weight: Tensor) -> dict[str, Tensor]:
    tensors = {**optimizer.state[weight], "mask": optimizer.mask(weight), "weight": weight.detach()}
    return {key: tensor.clone() for key, tensor in tensors.items()}


def step_once(prob: float, **settings: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    weight, optimizer = one_layer(prob, **settings)
    before = snapshot(optimizer, weight)
    optimizer.step()
    return before, snapshot(optimizer, weight)


@pytest.mark.parametrize("prob", [0.01, 0.1, 1.0])
def test_redraw_touches_its_share_of_the_pruned_weights_only(prob: float) -> None:
    before, after = step_once(prob)
    for key in ("scores", "momentum_buffer", "mask", "weight"):
        assert torch.equal(before[key], after[key]), key
    changed = before["theta"] != after["theta"]
    pruned = ~before["mask"]
    assert not (changed & before["mask"]).any()
    # A redrawn number is the old one by chance with probability 2^-24.
    num_changed, num_pruned = int(changed.sum()), int(pruned.sum())
    if prob == 1:
        assert num_pruned - 2 <= num_changed <= num_pruned
    else:
        assert stats.binomtest(num_changed, num_pruned, prob).pvalue > UNLIKELY


@pytest.mark.parametrize("prob", [0.01, 0.1, 1.0])
def test_redrawn_values_have_the_distribution(prob: float) -> None:
    """Choice and value from one word would leave only the lowest values."""
    before, after = step_once(prob)
    redrawn = after["theta"][before["theta"] != after["theta"]].double()
    bound, num = math.sqrt(6 / FAN_IN), redrawn.numel()
    assert num > 1_000
    assert redrawn.mean().abs() < 4 * bound / math.sqrt(3 * num)
    assert (redrawn.square().mean() - bound**2 / 3).abs() < 4 * bound**2 * math.sqrt(4 / 45 / num)
    assert stats.kstest(redrawn.numpy(), stats.uniform(-bound, 2 * bound).cdf).pvalue > UNLIKELY


@pytest.mark.parametrize("prob", [0.01, 0.1])
def test_redrawn_signs_are_even(prob: float) -> None:
    """With two values half of the redraws change one; of the values that changed, half are positive now."""
    before, after = step_once(prob, distribution="signed_constant")
    changed = before["theta"] != after["theta"]
    num_pruned = int((~before["mask"]).sum())
    assert stats.binomtest(int(changed.sum()), num_pruned, prob / 2).pvalue > UNLIKELY
    positive = int((after["theta"][changed] > 0).sum())
    assert stats.binomtest(positive, int(changed.sum())).pvalue > UNLIKELY


@pytest.mark.parametrize("prob", [0.0, 0.1, 1.0])
def test_scores_and_theta_are_uncorrelated(prob: float) -> None:
    _, after = step_once(prob)
    for scores in (after["scores"], after["scores"].abs()):
        for theta in (after["theta"], after["theta"].abs()):
            correlation = torch.corrcoef(torch.stack([scores.flatten(), theta.flatten()]).double())[0, 1]
            assert correlation.abs() < 4 / math.sqrt(theta.numel())


def test_the_first_redraw_is_in_step_k_per() -> None:
    weight, optimizer = one_layer(0.5, every=3)
    thetas = [optimizer.state[weight]["theta"].clone()]
    for _ in range(9):
        optimizer.step()
        thetas.append(optimizer.state[weight]["theta"].clone())
    changed = [not torch.equal(a, b) for a, b in itertools.pairwise(thetas)]
    assert changed == [step % 3 == 0 for step in range(1, 10)]


def test_successive_redraws_differ() -> None:
    """Other choices and other values; a redraw never gives back the first values."""
    weight, optimizer = one_layer(0.5)
    thetas = [optimizer.state[weight]["theta"].clone()]
    for _ in range(3):
        optimizer.step()
        thetas.append(optimizer.state[weight]["theta"].clone())
    changed = [a != b for a, b in itertools.pairwise(thetas)]
    num_pruned = int((~optimizer.mask(weight)).sum())
    for first, second in ((changed[0], changed[1]), (changed[1], changed[2])):
        assert stats.binomtest(int((first & second).sum()), num_pruned, 0.25).pvalue > UNLIKELY
    for i, theta in enumerate(thetas):
        for later in thetas[i + 1 :]:
            both = changed[0] & changed[1] & changed[2]  # drawn anew each time
            assert (theta[both] == later[both]).sum() <= 2


def test_two_parameters_redraw_apart() -> None:
    weights = [nn.Parameter(torch.zeros(100, 100)) for _ in range(2)]
    optimizer = IteRand(weights, sparsity=0.9, lr=0.1, rerandomize_every=1, rerandomize_prob=1.0)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    a, b = (optimizer.state[weight]["theta"] for weight in weights)
    assert stats.binomtest(int((a == b).sum()), a.numel()).pvalue > UNLIKELY


def test_a_group_counts_for_itself_and_has_its_own_settings() -> None:
    weights = [nn.Parameter(torch.zeros(20, 30)) for _ in range(2)]
    groups = [{"params": weights[:1], "rerandomize_every": 2}, {"params": weights[1:], "rerandomize_every": 3}]
    optimizer = IteRand(groups, sparsity=0.5, lr=0.1, rerandomize_prob=1.0)
    changed: list[list[bool]] = [[], []]
    for _ in range(6):
        before = [optimizer.state[weight]["theta"].clone() for weight in weights]
        for weight in weights:
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        for i, weight in enumerate(weights):
            changed[i].append(not torch.equal(before[i], optimizer.state[weight]["theta"]))
    assert changed == [[step % every == 0 for step in range(1, 7)] for every in (2, 3)]


def test_a_masked_group_needs_a_distribution() -> None:
    weight = nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="distribution: None: IteRand needs a distribution"):
        IteRand([weight], sparsity=0.5, lr=0.1, distribution=None)
    IteRand([weight], sparsity=None, lr=0.1, distribution=None)  # nothing is drawn again in a dense group
