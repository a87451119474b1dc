"""Masked steps on CPUs in one pass over memory: the bits of the specification, with a compiler and without."""

from typing import Any

import pytest
import torch
from support.paired_layers import INF, NAN, PairedLayers, normal, special
from torch import Tensor

from suite.methods.update import cpu_blocks
from suite.methods.update.plain import RANKINGS, Redraw

SHAPES = [(1,), (2,), (7,), (300,), (17, 241)]  # the last has 4,097 weights
SPARSITIES = [0.0, 0.5, 0.9, 0.999]
KINDS = [(0.0, 0.9, 5e-4), (0.5, 0.9, 0.0), (0.9, 0.0, 5e-4)]
MORE_KINDS = [(0.5, 0.9, 5e-4), (0.9, 0.9, 5e-4), (0.999, 0.9, 5e-4), (0.999, 0.0, 0.0)]
each_ranking = pytest.mark.parametrize("rank_by", RANKINGS)


@each_ranking
@pytest.mark.parametrize(
    ("sparsity", "momentum", "weight_decay"),
    [*KINDS, *(pytest.param(*kind, marks=pytest.mark.slow) for kind in MORE_KINDS)],
)
def test_small_layers(step_path: Any, sparsity: float, momentum: float, weight_decay: float, rank_by: str) -> None:
    twins = PairedLayers(SHAPES, sparsity=sparsity, weight_decay=weight_decay, momentum=momentum, rank_by=rank_by)
    twins.run(120)


@each_ranking
@pytest.mark.parametrize("sparsity", [0.5, 0.999])
def test_small_layers_in_fp64(step_path: Any, sparsity: float, rank_by: str) -> None:
    PairedLayers(SHAPES, dtype=torch.float64, sparsity=sparsity, rank_by=rank_by).run(120)


@each_ranking
@pytest.mark.parametrize("sparsity", [0.5, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.0, 0.9, 0.999))])
def test_a_layer_of_40_000(step_path: Any, sparsity: float, rank_by: str) -> None:
    PairedLayers([(200, 200)], sparsity=sparsity, rank_by=rank_by).run(300)


@each_ranking
def test_a_layer_of_many_blocks(step_path: Any, rank_by: str) -> None:
    """2.4 million weights, the last block being a short one."""
    twins = PairedLayers([(1201, 1999)], sparsity=0.9, rank_by=rank_by)
    assert twins.actual["scores"][0].numel() > 9 * cpu_blocks._BLOCK
    twins.run(6)
    assert 1 <= step_path.num_ranked < 6


@each_ranking
def test_two_threads(step_path: Any, rank_by: str) -> None:
    torch.set_num_threads(2)
    try:
        PairedLayers([(701, 499), (40, 50, 3, 3)], sparsity=0.5, rank_by=rank_by).run(10)
    finally:
        torch.set_num_threads(1)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def transposed(tensor: Tensor) -> Tensor:
    """Equal numbers, the first dimension innermost in memory."""
    return tensor.movedim(0, -1).contiguous().movedim(-1, 0)


def whole(shape: Any, seed: int) -> Tensor:
    """Scores of few whole numbers, which whole gradients and lr 1 keep so: ties everywhere."""
    return (normal(shape, seed) * 2).round()


@each_ranking
@pytest.mark.parametrize("sparsity", [0.5, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.3, 0.9))])
@pytest.mark.parametrize("lay", [channels_last, transposed, lambda tensor: tensor])
def test_ties_go_by_logical_index(step_path: Any, lay: Any, sparsity: float, rank_by: str) -> None:
    settings = dict(lr=1.0, momentum=0.0, weight_decay=0.0, rank_by=rank_by, sparsity=sparsity)
    twins = PairedLayers([(8, 6, 3, 3), (40, 30, 3, 3), (5, 1, 3, 3), (16, 1, 1, 1)], scores=whole, lay=lay, **settings)
    for lists in (twins.actual, twins.expected):
        lists["thetas"] = [torch.where(theta < 0, -1.0, 1.0) for theta in lists["thetas"]]
    for _ in range(60):
        twins.step([(grad * 0.4).round() for grad in twins.grads()])
    for score in twins.actual["scores"][:2]:
        assert len(score.unique()) < 60 < score.numel()
        assert score.is_contiguous() == (lay not in (channels_last, transposed))


@each_ranking
def test_channels_last_without_ties(step_path: Any, rank_by: str) -> None:
    PairedLayers([(40, 30, 3, 3), (8, 6, 3, 3)], lay=channels_last, rank_by=rank_by).run(60)


@each_ranking
@pytest.mark.parametrize("state_is", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_another_memory_format(step_path: Any, state_is: torch.memory_format, rank_by: str) -> None:
    twins = PairedLayers(
        [(8, 6, 3, 3), (5, 3, 2, 2)], lay=lambda t: t.contiguous(memory_format=state_is), rank_by=rank_by
    )
    other = torch.channels_last if state_is == torch.contiguous_format else torch.contiguous_format
    for i in range(30):
        grads = [grad.contiguous(memory_format=other) for grad in twins.grads()]
        assert grads[0].stride() != twins.actual["scores"][0].stride()
        if i % 3 == 0:  # neither one, nor dense
            grads = [normal((*grad.shape, 2), i)[..., 1] for grad in grads]
        twins.step(grads)


@each_ranking
def test_gradients_that_are_one_number_expanded(step_path: Any, rank_by: str) -> None:
    """As those of a sum: strides of 0."""
    twins = PairedLayers([(30, 20)], rank_by=rank_by)
    for i in range(20):
        twins.step([torch.tensor(float(i - 9)).expand(30, 20)])


@each_ranking
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_parameters_over_float32_state(step_path: Any, dtype: torch.dtype, rank_by: str) -> None:
    step_path.expects_compiled = False
    PairedLayers([*SHAPES, (6, 5, 3, 3)], param_dtype=dtype, rank_by=rank_by, lay=channels_last).run(40)


@each_ranking
@pytest.mark.parametrize(("state", "param"), [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_state_and_parameters_of_two_widths(step_path: Any, state: Any, param: Any, rank_by: str) -> None:
    """As after loading the state of a model of another precision: it stays in the saved dtype."""
    step_path.expects_compiled = False
    PairedLayers([(300,), (17, 241)], dtype=state, param_dtype=param, rank_by=rank_by).run(30)


@each_ranking
@pytest.mark.parametrize("lay_params", [channels_last, transposed])
def test_state_that_lies_otherwise_than_the_parameter(
    step_path: Any, monkeypatch: pytest.MonkeyPatch, lay_params: Any, rank_by: str
) -> None:
    """Such a layer takes the step of ``plain``; the others do not."""
    used: list[int] = []
    update_layer_ = cpu_blocks.update_layer_

    def noted(*args: Any, **settings: Any) -> None:
        used.append(args[0].numel())
        update_layer_(*args, **settings)

    monkeypatch.setattr(cpu_blocks, "update_layer_", noted)
    step_path.expects_compiled = False
    shapes = [(8, 6, 3, 3), (400,)]
    PairedLayers(shapes, lay_params=lambda t: lay_params(t) if t.ndim == 4 else t, rank_by=rank_by).run(20)
    assert used == [432] * 20


@each_ranking
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1.0, NAN, INF, -INF])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.999])
def test_scores_that_are_all_equal(step_path: Any, sparsity: float, value: float, rank_by: str) -> None:
    twins = PairedLayers(
        [(300,), (50, 41)], scores=lambda shape, _: torch.full(shape, value), sparsity=sparsity, rank_by=rank_by
    )
    twins.run(3, lr=0.0, weight_decay=0.0)
    twins.run(3, weight_decay=0.0)
    twins.run(4)


@each_ranking
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_special_scores(step_path: Any, sparsity: float, dtype: torch.dtype, rank_by: str) -> None:
    for seed in range(4):
        twins = PairedLayers(
            [(300,), (50, 41)],
            dtype=dtype,
            scores=lambda shape, i: special(torch.Size(shape).numel(), 10 * seed + i, dtype),  # noqa: B023
            sparsity=sparsity,
            rank_by=rank_by,
        )
        twins.run(3, weight_decay=0.0)
        twins.run(5)


@each_ranking
@pytest.mark.parametrize("share", [0.001, 0.3, 1.0])
def test_special_gradients(step_path: Any, share: float, rank_by: str) -> None:
    """Infinite and NaN ones too, in the middle of a calm run; then calm again, over scores that are ruined."""
    twins = PairedLayers([(300,), (50, 41)], rank_by=rank_by)
    for i in range(20):
        grads = twins.grads()
        if i in (5, 6, 12):
            some = [normal(grad.shape, i + 7).abs() < share * 2 for grad in grads]
            strange = [special(grad.numel(), i).view(grad.shape) for grad in grads]
            grads = [torch.where(s, x, g) for s, x, g in zip(some, strange, grads, strict=True)]
        twins.step(grads)


@each_ranking
def test_denormal_and_huge_numbers(step_path: Any, rank_by: str) -> None:
    for factor in (1e-42, 1e-38, 1e37):
        twins = PairedLayers([(300,), (50, 41)], scores=lambda s, i: normal(s, i) * factor, rank_by=rank_by)  # noqa: B023
        for _ in range(20):
            twins.step([grad * factor for grad in twins.grads()])


@each_ranking
def test_learning_rates_that_change(step_path: Any, rank_by: str) -> None:
    twins = PairedLayers([(300,), (17, 241)], rank_by=rank_by)
    rates = [0.1, 0.0, 1e-3, 5.0, torch.tensor(0.1), torch.tensor(0.01, dtype=torch.float64), torch.tensor(0.0), 1e-30]
    for i in range(80):
        twins.step(lr=rates[i * 3 % len(rates)])


@each_ranking
@pytest.mark.parametrize("distribution", ["signed_constant", "kaiming_uniform", "kaiming_normal"])
def test_redraws(step_path: Any, distribution: Any, rank_by: str) -> None:
    twins = PairedLayers([(30, 10), (17, 241), (8, 6, 3, 3)], lay=channels_last, rank_by=rank_by)
    before = [theta.clone() for theta in twins.actual["thetas"]]
    for i in range(1, 31):
        redraw = Redraw(i // 3, 0.3, 5, distribution, fan_ins=[10, 241, 54], parameters=[0, 1, 4])
        twins.step(redraw=redraw if i % 3 == 0 else None)
    assert all((a != b).any() for a, b in zip(before, twins.actual["thetas"], strict=True))


@each_ranking
@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e9])
def test_bounds_of_the_norm(step_path: Any, max_norm: float, rank_by: str) -> None:
    PairedLayers([(300,), (17, 241), (8, 6, 3, 3)], lay=channels_last, max_norm=max_norm, rank_by=rank_by).run(40)


@each_ranking
def test_a_bound_over_gradients_that_are_not_finite(step_path: Any, rank_by: str) -> None:
    for value in (INF, NAN):
        twins = PairedLayers([(300,), (17, 241)], max_norm=1.0, rank_by=rank_by)
        twins.run(3)
        grads = twins.grads()
        grads[0][5] = value
        twins.step(grads)
        twins.run(3)
