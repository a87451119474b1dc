"""Methods that train weights under a mask, against slow references: torch's SGD, and the rules written out."""

import copy
import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from suite import methods
from suite.methods.imp import Imp
from suite.methods.magnitude import Magnitude, cubic_sparsity
from suite.methods.random_mask import RandomMask
from suite.methods.sparse import erk_counts

SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
DTYPES = [torch.float32, torch.float64]


def net(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(45, 3)).to(dtype)


def loss_of(model: nn.Module, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    dtype = next(model.parameters()).dtype
    images = torch.randn(4, 2, 8, 8, generator=generator, dtype=torch.float64).to(dtype)
    return F.cross_entropy(model(images), torch.randint(3, (4,), generator=generator))


class Pair:
    """A method's optimizer over a network, and torch's SGD over a copy of it, whose masks are applied by hand."""

    def __init__(self, make: Callable[..., Any], dtype: torch.dtype = torch.float32, **settings: Any) -> None:
        self.model = net(dtype)
        weights = methods.prunable(self.model)
        groups = [{"params": weights}, {"params": weights.left_out, "sparsity": None}]
        self.optimizer = make(groups, **SETTINGS, **settings)
        self.slow = copy.deepcopy(self.model)
        self.sgd = SGD(self.slow.parameters(), foreach=False, **SETTINGS)
        self.masks = {name: (param != 0).detach() for name, param in self.slow.named_parameters() if param.ndim >= 2}

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        return {name: param for name, param in self.slow.named_parameters() if name in self.masks}

    @torch.no_grad()
    def apply_masks(self) -> None:
        """To weights and momenta."""
        for name, param in self.weights.items():
            param.masked_fill_(~self.masks[name], 0.0)
            if self.sgd.state[param]:
                self.sgd.state[param]["momentum_buffer"].masked_fill_(~self.masks[name], 0.0)

    def step(self, number: int) -> None:
        for model, optimizer in ((self.model, self.optimizer), (self.slow, self.sgd)):
            optimizer.zero_grad()
            loss_of(model, number).backward()
        for name, param in self.weights.items():
            param.grad.masked_fill_(~self.masks[name], 0.0)
        self.optimizer.step()
        self.sgd.step()

    def check(self) -> None:
        for name, param in self.slow.named_parameters():
            own = dict(self.model.named_parameters())[name]
            assert torch.equal(own, param), name
            momenta = [o.state[p].get("momentum_buffer") for o, p in ((self.optimizer, own), (self.sgd, param))]
            assert momenta[1] is None or torch.equal(momenta[0], momenta[1]), name
            if name in self.masks:
                assert torch.equal(self.optimizer.mask(own), self.masks[name]), name
                assert not own[~self.masks[name]].signbit().any()


def slow_largest(weights: dict[str, nn.Parameter], masks: dict[str, Tensor], sparsity: float, scope: str) -> None:
    """Change the masks so that the smallest weights of each layer, or of all, are removed: by sorting in Python."""
    entries = [
        (name, i, bool(kept), abs(float(value)))
        for name, param in weights.items()
        for i, (value, kept) in enumerate(zip(param.detach().flatten(), masks[name].flatten(), strict=True))
    ]
    places = {name: number for number, name in enumerate(weights)}
    for names in [list(weights)] if scope == "global" else [[name] for name in weights]:
        own = [entry for entry in entries if entry[0] in names]
        own.sort(key=lambda entry: (entry[2], entry[3], places[entry[0]], entry[1]))
        for name, i, _, _ in own[: round(sparsity * (len(own) - 1))]:
            masks[name].view(-1)[i] = False


# --- random_mask ---


@pytest.mark.parametrize("layout", ["uniform", "erk"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_random_mask_trains_as_sgd_whose_weights_are_masked(dtype: torch.dtype, layout: str) -> None:
    pair = Pair(RandomMask, dtype, sparsity=0.7, layout=layout, seed=3)
    masks = {name: mask.clone() for name, mask in pair.masks.items()}
    assert sum(int((~mask).sum()) for mask in masks.values()) in (round(0.7 * 224), round(0.7 * 89) + round(0.7 * 134))
    for step in range(20):
        pair.step(step)
        pair.check()
    for step in range(20, 100):
        pair.step(step)
    pair.check()


def test_masks_and_weights_are_independent_and_of_the_seed() -> None:
    """A mask keeps positive and negative weights, and others than the weights' ranks say; another seed, others."""
    kept = []
    for seed in (1, 1, 2):
        weight = nn.Parameter(torch.zeros(100, 100))
        optimizer = RandomMask([weight], sparsity=0.5, lr=0.1, seed=seed)
        kept.append(optimizer.mask(weight))
        share = float((weight[kept[-1]] > 0).float().mean())
        assert abs(share - 0.5) < 5 * math.sqrt(0.25 / 5000)
    assert torch.equal(kept[0], kept[1])
    assert abs(float((kept[0] == kept[2]).float().mean()) - 0.5) < 5 * math.sqrt(0.25 / 10_000)


def slow_erk(shapes: list[tuple[int, ...]], sparsity: float) -> list[Fraction]:
    """The counts before rounding, exactly: of all choices of dense layers the one that caps just those above 1."""
    sizes = [math.prod(shape) for shape in shapes]
    total = sum(sizes) - round(sparsity * (sum(sizes) - 1))
    layers = range(len(shapes))
    for count in range(len(shapes) + 1):
        for dense in itertools.combinations(layers, count):
            free = [i for i in layers if i not in dense]
            if not free:
                return [Fraction(size) for size in sizes]
            share = Fraction(total - sum(sizes[i] for i in dense), sum(sum(shapes[i]) for i in free))
            wanted = [share * sum(shapes[i]) for i in layers]
            if all((wanted[i] > sizes[i]) == (i in dense) for i in layers):
                return [Fraction(sizes[i]) if i in dense else wanted[i] for i in layers]
    raise AssertionError("no choice fits")


SHAPES = [
    [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (10, 128)],
    [(5, 2, 3, 3), (3, 45)],
    [(4, 4), (8, 8), (100, 100), (1, 1000)],
    [(7, 11)],
]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99])
def test_erk_densities_by_brute_force(shapes: list[tuple[int, ...]], sparsity: float) -> None:
    sizes = [math.prod(shape) for shape in shapes]
    counts, wanted = erk_counts(shapes, sparsity), slow_erk(shapes, sparsity)
    assert sum(counts) == sum(sizes) - round(sparsity * (sum(sizes) - 1))
    assert all(1 <= count <= size for count, size in zip(counts, sizes, strict=True))
    assert all(abs(count - ideal) < 1 for count, ideal in zip(counts, wanted, strict=True))


def test_erk_keeps_a_weight_of_each_layer_and_the_total() -> None:
    counts = erk_counts([(2, 2), (300, 300), (3, 3)], 0.9999)
    assert counts == [1, 8, 1]


# --- magnitude ---


def test_the_cubic_ramp_is_that_of_the_formula() -> None:
    for t in range(10, 51):
        expected = Fraction(8, 10) * (1 - Fraction(50 - t, 40) ** 3)
        assert cubic_sparsity(0.8, t, 10, 50) == pytest.approx(float(expected), abs=1e-15)
    assert cubic_sparsity(0.8, 50, 10, 50) == 0.8 == cubic_sparsity(0.8, 10, 10, 10)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_magnitude_pruning_is_sgd_whose_smallest_weights_are_removed(dtype: torch.dtype, scope: str) -> None:
    """From step 20 to 60, every 7 steps and at the end; then 40 steps with the last mask."""
    ramp = {"begin_epoch": 2, "end_epoch": 6, "steps_per_epoch": 10, "prune_every": 7}
    pair = Pair(Magnitude, dtype, sparsity=0.8, scope=scope, **ramp)
    removed = []
    for step in range(1, 101):
        pair.step(step)
        if step in (20, 27, 34, 41, 48, 55, 60):
            slow_largest(pair.weights, pair.masks, 0.8 * (1 - ((60 - step) / 40) ** 3), scope)
            pair.apply_masks()
        pair.check()
        removed.append(sum(int((~mask).sum()) for mask in pair.masks.values()))
    total = round(0.8 * 224) if scope == "global" else round(0.8 * 89) + round(0.8 * 134)
    assert removed[19] == 0 < removed[26] < removed[40] < removed[59] == removed[99] == total


# --- imp ---


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("rewind_epoch", [0, 2])
def test_imp_is_a_plain_loop_over_three_rounds(scope: str, rewind_epoch: int) -> None:
    """4 epochs of 8 steps in each round; SGD begins anew, from the weights kept, without those that were smallest."""
    pair = Pair(Imp, sparsity=0.8, rounds=3, scope=scope, rewind_epoch=rewind_epoch)
    step, kept = 0, {}
    for number, sparsity in enumerate([0.0, 1 - 0.2**0.5, 0.8]):
        if number:
            slow_largest(pair.weights, pair.masks, sparsity, scope)
            for name, param in pair.slow.named_parameters():
                param.data.copy_(kept[name])
            pair.sgd = SGD(pair.slow.parameters(), foreach=False, **SETTINGS)
            pair.apply_masks()
        for epoch in range(4):
            if number == 0 and epoch == rewind_epoch:
                kept = {name: param.detach().clone() for name, param in pair.slow.named_parameters()}
            for _ in range(2):  # a second call does nothing
                pair.optimizer.start_epoch(4 * number + epoch, 12)
            pair.check()
            for _ in range(8):
                step += 1
                pair.step(step)
                pair.check()
    assert sum(int((~mask).sum()) for mask in pair.masks.values()) > 175


def test_a_layer_that_a_common_threshold_would_empty_keeps_its_largest_weight() -> None:
    small, large = nn.Parameter(torch.full((3, 3), 0.01)), nn.Parameter(torch.full((10, 10), 1.0))
    small.data[1, 1] = 0.02
    for make in (
        lambda: Magnitude([small, large], sparsity=0.5, lr=0.0, scope="global", end_epoch=1, distribution=None),
        lambda: Imp([small, large], sparsity=0.5, lr=0.0, scope="global", rounds=2, distribution=None),
    ):
        optimizer = make()
        small.grad, large.grad = torch.zeros(3, 3), torch.zeros(10, 10)
        optimizer.step()
        if isinstance(optimizer, Imp):
            optimizer.start_epoch(1, 2)
        assert optimizer.mask(small).nonzero().tolist() == [[1, 1]]
        assert int((~optimizer.mask(large)).sum()) == round(0.5 * 108) - 9


# --- what is refused ---


def test_a_ramp_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="begin_epoch: 3: must be at most end_epoch"):
        Magnitude([nn.Parameter(torch.zeros(3, 3))], sparsity=0.5, lr=0.1, begin_epoch=3, end_epoch=2)
