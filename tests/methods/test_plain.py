"""The specification of a masked step: exact selection, and SGD as torch.optim rounds it."""

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.gpu import DEVICE
from torch import Tensor

from suite.methods.random import Stream, random_words
from suite.methods.update.plain import (
    RANKINGS,
    Redraw,
    _keep_by_partition,
    _keep_by_sort,
    keep_mask,
    masked_sgd_,
    num_pruned,
    write_effective_,
)

SIZES = [1, 2, 3, 4, 5, 10, 27, 100, 577]
SPARSITIES = [0.0, 0.001, 0.1, 1 / 3, 0.5, 0.6, 0.7, 0.9, 0.999]
INF, NAN = math.inf, math.nan


def random_scores(num: int) -> Tensor:
    return torch.randn(num, generator=torch.Generator().manual_seed(num))


def awkward_scores(num: int, seed: int) -> Tensor:
    """Few values, so many ties, and every special one, in any order."""
    pool = torch.tensor([NAN, -NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 0.5, -0.5, 3.0e38])
    return pool[torch.randint(len(pool), (num,), generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("num", SIZES)
@pytest.mark.parametrize("rank_by", RANKINGS)
def test_exactly_the_rounded_share_is_pruned(num: int, sparsity: float, rank_by: str) -> None:
    for scores in (random_scores(num), torch.zeros(num), torch.full((num,), NAN), awkward_scores(num, num)):
        keep = keep_mask(scores, sparsity, rank_by)
        assert keep.dtype == torch.bool
        assert keep.shape == scores.shape
        assert (~keep).sum() == round(sparsity * (num - 1)) == num_pruned(num, sparsity) < num


def test_counts_checkable_by_head() -> None:
    assert [num_pruned(n, 0.5) for n in (1, 2, 3, 4, 5, 11)] == [0, 0, 1, 2, 2, 5]
    assert num_pruned(1001, 0.999) == 999
    assert num_pruned(2, 0.999) == 1
    assert num_pruned(10**9, 0.0) == 0


def test_the_pages_table_of_counts() -> None:
    """The formulas give its numbers, and none is more than a weight from ours."""
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "masked_step.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| (\d+) \| (0\.\d) \| (\d+) \| (\d+) \| (\d*) \|$", page, re.MULTILINE)
    assert {float(row[1]) for row in rows} == {0.5, 0.6, 0.7}
    for num, p, *counts in ((int(row[0]), float(row[1]), *row[2:]) for row in rows):
        kept = 1 - p
        rounded_up = math.ceil(p * (num - 1)) if p == 0.7 else ""
        assert counts == [str(num_pruned(num, p)), str(int((1 - kept) * num)), str(rounded_up)]
        assert all(abs(int(count) - num_pruned(num, p)) <= 1 for count in counts if count)


@pytest.mark.parametrize(
    ("rank_by", "scores", "kept"),
    [
        ("scores", [3.0, 1.0, 2.0, -4.0, 0.0], [1, 1, 1, 0, 0]),  # of 5 at sparsity 0.5, 2 are pruned
        ("abs_scores", [3.0, 1.0, 2.0, -4.0, 0.0], [1, 0, 1, 1, 0]),
        ("scores", [7.0] * 5, [0, 0, 1, 1, 1]),  # ties: the first ones
        ("abs_scores", [7.0, -7.0, 7.0, -7.0, 7.0], [0, 0, 1, 1, 1]),
        ("scores", [0.0, -0.0, 0.0, -0.0, -0.0], [0, 0, 1, 1, 1]),  # -0 equals +0
        ("scores", [0.0, 1.0, -0.0, 1.0, -0.0], [0, 1, 0, 1, 1]),
        ("scores", [NAN, INF, 1.0, NAN, -INF], [1, 1, 0, 1, 0]),  # NaN above all
        ("scores", [NAN] * 5, [0, 0, 1, 1, 1]),
        ("scores", [NAN, NAN, -INF, NAN, NAN], [0, 1, 0, 1, 1]),
        ("abs_scores", [-INF, 0.0, NAN, 1.0, INF], [1, 0, 1, 0, 1]),
    ],
)
@pytest.mark.parametrize("form", [_keep_by_partition, _keep_by_sort])
def test_masks_checkable_by_head(form: Any, rank_by: str, scores: list[float], kept: list[int]) -> None:
    tensor = torch.tensor(scores)
    assert keep_mask(tensor, 0.5, rank_by).int().tolist() == kept
    assert form(tensor if rank_by == "scores" else tensor.abs(), 2).int().tolist() == kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num", [2, 5, 27, 100])
def test_both_forms_equal_sorting_in_python(slow: SimpleNamespace, num: int, dtype: torch.dtype) -> None:
    rounded = (random_scores(num) * 2).round()
    for scores in (random_scores(num), rounded, *(awkward_scores(num, seed) for seed in range(8))):
        for rank_by in RANKINGS:
            rank = (scores if rank_by == "scores" else scores.abs()).to(dtype)
            for sparsity in SPARSITIES:
                expected = slow.keep(rank, sparsity)
                assert torch.equal(keep_mask(scores.to(dtype), sparsity, rank_by), expected)
                if count := num_pruned(num, sparsity):
                    assert torch.equal(_keep_by_partition(rank, count), expected)
                    assert torch.equal(_keep_by_sort(rank, count), expected)


@pytest.mark.parametrize("form", [_keep_by_partition, _keep_by_sort])
def test_every_count_of_a_large_layer_with_ties(slow: SimpleNamespace, form: Any) -> None:
    """20,000 scores of 1,000 values: sorts and partitions take other paths than on few."""
    scores = (random_scores(20_000) * 300).round()
    for sparsity in (0.001, 0.3, 0.5, 0.77, 0.999):
        assert torch.equal(form(scores, num_pruned(20_000, sparsity)), slow.keep(scores, sparsity))


@pytest.mark.parametrize("rank_by", RANKINGS)
def test_ties_go_by_logical_index_in_every_memory_format(rank_by: str) -> None:
    scores = awkward_scores(6 * 4 * 3 * 3, seed=1).view(6, 4, 3, 3)
    channels_last = scores.contiguous(memory_format=torch.channels_last)
    assert channels_last.stride() != scores.stride()
    for sparsity in SPARSITIES:
        assert torch.equal(keep_mask(channels_last, sparsity, rank_by), keep_mask(scores, sparsity, rank_by))


def test_scores_are_not_changed() -> None:
    scores = awkward_scores(100, seed=3)
    before = scores.clone()
    keep_mask(scores, 0.5, "scores")
    _keep_by_sort(scores, 50)
    assert torch.equal(scores.view(torch.int32), before.view(torch.int32))


def test_effective_weight_is_a_select() -> None:
    """A product would leave NaN where theta is infinite and -0 where it is negative."""
    param = torch.empty(1, 4)
    write_effective_(param, torch.tensor([[INF, -1.0, NAN, -2.0]]), torch.tensor([[False, False, False, True]]))
    assert param.tolist() == [[0.0, 0.0, 0.0, -2.0]]
    assert not param[0, :3].signbit().any()


SHAPES = [(7, 5), (4, 3, 3, 3), (1, 1)]


def layers(dtype: torch.dtype, num: int = 4) -> list[list[Tensor]]:
    """``num`` lists (params, thetas, scores, ...) of one random tensor a layer."""
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in SHAPES] for _ in range(num)]


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_move_as_torch_sgd_moves_them(
    slow: SimpleNamespace, dtype: torch.dtype, weight_decay: float, momentum: float, rank_by: str
) -> None:
    settings = {"lr": 0.1, "momentum": momentum, "weight_decay": weight_decay}
    params, thetas, scores = layers(dtype, 3)
    buffers = [torch.zeros_like(score) for score in scores]
    copies = [score.clone().requires_grad_() for score in scores]
    sgd = torch.optim.SGD(copies, foreach=False, **settings)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        grads = [torch.randn(s, generator=generator, dtype=dtype) for s in SHAPES]
        for copy, grad, theta in zip(copies, grads, thetas, strict=True):
            copy.grad = grad * theta if rank_by == "scores" else grad * theta * copy.detach().sign()
        sgd.step()
        masked_sgd_(params, grads, thetas, scores, buffers, {}, sparsity=0.5, rank_by=rank_by, **settings)
        for param, theta, score, copy in zip(params, thetas, scores, copies, strict=True):
            assert slow.equal_bits(score, copy)
            rank = score if rank_by == "scores" else score.abs()
            assert slow.equal_bits(param, torch.where(slow.keep(rank, 0.5), theta, 0.0))


def test_without_momentum_an_infinite_gradient_is_forgotten(slow: SimpleNamespace) -> None:
    params, thetas, scores = layers(torch.float32, 3)
    settings = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    copies = [score.clone().requires_grad_() for score in scores]
    sgd = torch.optim.SGD(copies, foreach=False, **settings)
    buffers = [torch.zeros_like(score) for score in scores]
    for value in (INF, 1.0):
        grads = [torch.full(shape, value) for shape in SHAPES]
        for copy, grad, theta in zip(copies, grads, thetas, strict=True):
            copy.grad = grad * theta
        sgd.step()
        masked_sgd_(params, grads, thetas, scores, buffers, {}, sparsity=0.5, rank_by="scores", **settings)
    assert all(torch.equal(a, b) for a, b in zip(scores, copies, strict=True))


def test_bfloat16_parameters_over_float32_state(slow: SimpleNamespace) -> None:
    """The gradient is widened before it is multiplied, and only the parameter is rounded."""
    thetas, scores, grads = layers(torch.float32, 3)
    grads = [grad.bfloat16() for grad in grads]
    params = [torch.empty_like(grad) for grad in grads]
    expected = [s - torch.tensor(0.1) * (g.float() * t) for s, g, t in zip(scores, grads, thetas, strict=True)]
    buffers = [torch.zeros_like(score) for score in scores]
    settings = {"sparsity": 0.5, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "rank_by": "scores"}
    masked_sgd_(params, grads, thetas, scores, buffers, {}, **settings)
    for param, theta, score, value in zip(params, thetas, scores, expected, strict=True):
        torch.testing.assert_close(score, value, rtol=1e-6, atol=1e-7)
        assert slow.equal_bits(param, torch.where(slow.keep(score, 0.5), theta, 0.0).bfloat16())


def test_theta_and_grads_are_left_alone_without_a_redraw() -> None:
    params, grads, thetas, scores = layers(torch.float32)
    before = [tensor.clone() for tensor in grads + thetas]
    buffers = [torch.zeros_like(score) for score in scores]
    settings = {"sparsity": 0.5, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    for rank_by in RANKINGS:
        masked_sgd_(params, grads, thetas, scores, buffers, {}, rank_by=rank_by, **settings)
    assert all(torch.equal(a, b) for a, b in zip(before, grads + thetas, strict=True))


def test_redraw_touches_the_chosen_pruned_ones_before_the_gradient_is_formed(slow: SimpleNamespace) -> None:
    """Layer by layer, by its own position and fan-in; the mask is that of the scores as they stood."""
    params, grads, thetas, scores = layers(torch.float32)
    redraw = Redraw(3, 0.4, 8, "signed_constant", fan_ins=[5, 27, 1], parameters=[2, 0, 7])
    expected_thetas, expected_scores = [], []
    for theta, score, grad, fan_in, parameter in zip(
        thetas, scores, grads, redraw.fan_ins, redraw.parameters, strict=True
    ):
        where = {"seed": 8, "draw": 3, "parameter": parameter}
        touched = random_words(theta.numel(), stream=Stream.REDRAW, **where) < 0.4 * 2**32
        sign = torch.where(random_words(theta.numel(), stream=Stream.VALUES, **where) >= 2**31, 1.0, -1.0)
        fresh = (sign * math.sqrt(2 / fan_in)).view(theta.shape)
        new = torch.where(~slow.keep(score, 0.5) & touched.view(theta.shape), fresh, theta)
        expected_thetas.append(new)
        expected_scores.append(torch.add(score, grad * new, alpha=-0.1))
    buffers = [torch.zeros_like(score) for score in scores]
    settings = {"sparsity": 0.5, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "rank_by": "scores"}
    masked_sgd_(params, grads, thetas, scores, buffers, {}, **settings, redraw=redraw)
    assert all(slow.equal_bits(a, b) for a, b in zip(thetas + scores, expected_thetas + expected_scores, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("rank_by", RANKINGS)
def test_a_gpu_selects_the_same(rank_by: str) -> None:
    for scores in (awkward_scores(5_000, seed=2), random_scores(200_000)):
        for sparsity in SPARSITIES:
            expected = keep_mask(scores, sparsity, rank_by)
            assert torch.equal(keep_mask(scores.to(DEVICE), sparsity, rank_by).cpu(), expected)
