"""Triton's form of a masked step, run by its interpreter, leaves every bit that the specification leaves."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support.triton_interpreter import PairedLayers, channels_last, equal_bits, some_in_band, special_floats
from torch import Tensor

from suite.methods.update import matches_reference, plain
from suite.methods.update.plain import RANKINGS, num_pruned

pytestmark = pytest.mark.slow  # Triton's interpreter is
SHAPES = [(1,), (7,), (300,), (6, 5, 3, 3), (41, 100)]
PROGRAMS_PER_PHASE = 128  # as on a GPU
INF, NAN = math.inf, math.nan
ENDLESS = pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")  # numpy's inf - inf


@pytest.mark.parametrize("rank_by", RANKINGS)
def test_twenty_steps(form: Any, rank_by: str) -> None:
    """The first step searches where there are enough weights to prune one; later ones find the rank in its band."""
    twins = PairedLayers(form, [(1,), (300,), (100, 100)], rank_by=rank_by)
    searched = []
    for _ in range(20):
        twins.step()
        searched.append(twins.searched())
    assert searched[0] == [False, True, True]
    assert not any(searched[k][2] for k in range(1, 20))
    assert 0 < some_in_band(twins)[2] < 10_000 // 32


def test_autograd_sees_that_weights_have_changed(form: Any) -> None:
    twins = PairedLayers(form, [(300,), (20, 30)])
    twins.step()
    params = twins.state[1][0]
    before = [param._version for param in params]
    twins.step()
    assert all(param._version > old for param, old in zip(params, before, strict=True))


def test_calm_training_searches_once(form: Any) -> None:
    """Where scores hardly move, so does no threshold."""
    twins = PairedLayers(form, [(300,), (2500,)], lr=1e-4)
    searched = []
    for _ in range(6):
        twins.step()
        searched.append(any(twins.searched()))
    assert searched == [True, False, False, False, False, False]


def test_millions_of_weights(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place has digits of its index beyond 2^16 and 2^21; large blocks, since the interpreter is slow."""
    monkeypatch.setattr(form, "BLOCK", 131_072)
    monkeypatch.setattr("suite.methods.update.plan.BLOCK", 131_072)
    monkeypatch.setattr(form, "SEARCHED", 524_288)
    twins = PairedLayers(form, [(2_400_000,)], scores=lambda shape: torch.randn(shape).mul_(4).round_().div_(40))
    twins.step(lr=0.0)
    assert twins.searched() == [True]
    twins.step()
    twins.plan.bands.copy_(torch.tensor([[twins.plan.bands[0, 0], 1.0]]))  # more than there is room for
    twins.step()
    assert twins.searched() == [True]


def test_with_all_the_helpers_of_a_gpu(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "PROGRAMS_PER_PHASE", PROGRAMS_PER_PHASE)
    twins = PairedLayers(form, [(5000,)])
    twins.step()
    assert twins.searched() == [True]


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.999])
def test_sparsities(form: Any, sparsity: float, rank_by: str) -> None:
    twins = PairedLayers(form, SHAPES, sparsity=sparsity, rank_by=rank_by)
    for _ in range(3):
        twins.step()
        for score, param in zip(twins.state[1][2], twins.state[1][0], strict=True):
            assert int((param == 0).sum()) == num_pruned(score.numel(), sparsity)


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-4])
@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_settings_of_sgd(form: Any, max_norm: float | None, weight_decay: float, momentum: float, rank_by: str) -> None:
    twins = PairedLayers(
        form, [(300,)], momentum=momentum, weight_decay=weight_decay, rank_by=rank_by, max_norm=max_norm
    )
    for _ in range(3):
        twins.step()
    assert all(bool(m.any()) == (momentum != 0) for m in twins.state[1][3])


def test_a_norm_that_clips_and_one_that_does_not(form: Any) -> None:
    """Gradients of 300 scores have a norm of about 0.02 * 0.05 * sqrt(300) = 0.017."""
    moved = []
    for max_norm in (None, 1.0, 0.001):
        twins = PairedLayers(form, [(300,)], max_norm=max_norm, weight_decay=0.0)
        before = twins.state[1][2][0].clone()
        twins.step()
        moved.append(float((twins.state[1][2][0] - before).norm()))
    assert moved[0] == moved[1] > 10 * moved[2] > 0


@pytest.mark.parametrize("lr", [0.0, 0.3, 1 / 3])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_rates_as_numbers_and_as_tensors(form: Any, dtype: torch.dtype | None, lr: float) -> None:
    twins = PairedLayers(form, [(300,)], lr=lr if dtype is None else torch.tensor(lr, dtype=dtype))
    before = twins.state[1][2][0].clone()
    for _ in range(3):
        twins.step()
    assert torch.equal(before, twins.state[1][2][0]) == (lr == 0)


def test_a_rate_that_changes_between_steps(form: Any) -> None:
    rate = torch.tensor(0.1)
    twins = PairedLayers(form, [(300,)], lr=rate)
    for value in (0.1, 0.5, 0.0, 2.0):
        rate.fill_(value)
        twins.step()


@pytest.mark.parametrize("num", [2047, 2048, 2049, 4097])
def test_sizes_about_those_of_a_block(form: Any, num: int) -> None:
    twins = PairedLayers(form, [(num,), (3,)], sparsity=0.7)
    twins.step()
    twins.step()


@pytest.mark.parametrize("num_layers", [1, 2, 3, 5, 8])
def test_any_number_of_layers(form: Any, num_layers: int) -> None:
    twins = PairedLayers(form, [(10 + 7 * i,) for i in range(num_layers)])
    for _ in range(2):
        twins.step()


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("sparsity", [0.1, 0.999])
@ENDLESS
def test_equal_scores_go_by_their_index(form: Any, sparsity: float, rank_by: str) -> None:
    """Without a step all of a layer stay equal: bands of no width, over or below all weights."""
    values = iter([0.0, -0.0, 0.25, -0.25, 1e-45, NAN, INF, -INF])
    settings = {"sparsity": sparsity, "rank_by": rank_by, "momentum": 0.0, "weight_decay": 0.0, "lr": 0.0}
    twins = PairedLayers(form, [(300,)] * 8, scores=lambda shape: torch.full(shape, next(values)), **settings)
    count = num_pruned(300, sparsity)
    for _ in range(2):
        twins.step()
        for param in twins.state[1][0]:
            assert param.eq(0).tolist() == [True] * count + [False] * (300 - count)


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.8])
@ENDLESS
def test_special_scores(form: Any, sparsity: float, rank_by: str) -> None:
    twins = PairedLayers(
        form, [(300,), (8, 6, 3, 3)], scores=special_floats, laid=channels_last, sparsity=sparsity, rank_by=rank_by
    )
    for _ in range(3):
        twins.step()


@ENDLESS
def test_special_gradients_and_momenta(form: Any) -> None:
    twins = PairedLayers(form, [(300,), (77,)], max_norm=None)
    twins.step([special_floats((300,), 2), special_floats((77,), 3)])
    twins.step([special_floats((300,), 4), special_floats((77,), 5)])
    assert twins.state[1][2][0].isnan().any()


@ENDLESS
def test_a_norm_without_end(form: Any) -> None:
    twins = PairedLayers(form, [(300,), (77,)], max_norm=1.0)
    twins.step([torch.full((300,), INF), torch.ones(77)])
    twins.step()
    first, second = twins.state[1][2]  # endless numbers times 0; the others times 0
    assert first.isnan().all() and not second.isnan().any()


@ENDLESS
def test_weights_of_special_values_are_selected(form: Any) -> None:
    """Where pruned, +0 and no product; where kept, the very bits of theta."""
    thetas = torch.tensor([INF, -INF, NAN, -0.0, 0.0, -1.0, 1e-45, 3e38]).repeat(40)
    twins = PairedLayers(form, [(320,)], thetas=lambda shape: thetas, lr=0.0)
    for _ in range(2):
        twins.step([torch.zeros(320)])
    assert 0 < int((twins.state[1][0][0] == 0).logical_and(twins.state[1][0][0].signbit()).sum()) < 40  # kept -0


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("laid", [channels_last, torch.Tensor.contiguous])
@pytest.mark.parametrize("shape", [(8, 6, 3, 3), (9, 5, 1, 1), (12, 1, 5, 2)])
def test_ties_go_by_logical_index_in_every_memory_format(
    form: Any, shape: tuple[int, ...], laid: Any, rank_by: str
) -> None:
    """Ties all along; gradients in the other format. Both ways are used: in the band, and over the whole layer."""

    def tied(shape: tuple[int, ...]) -> Tensor:
        return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(5)) / 20

    twins = PairedLayers(form, [shape], scores=tied, laid=laid, rank_by=rank_by, sparsity=0.55, lr=0.0)
    searched = []
    for _ in range(3):
        grad = torch.ones(shape)
        grad = grad.contiguous() if laid is channels_last else channels_last(grad)
        twins.step([grad])
        searched.append(twins.searched()[0])
        twins.plan.room = math.prod(shape)  # next time all ties fit into the band
        twins.plan.band_room.fill_(twins.plan.room)
    assert searched == [True, False, False]


def test_gradients_in_another_memory_format(form: Any) -> None:
    shape = (8, 6, 3, 3)
    for laid in (channels_last, torch.Tensor.contiguous):
        twins = PairedLayers(form, [shape], laid=laid)
        for change in (channels_last, torch.Tensor.contiguous, lambda grad: grad.transpose(0, 1).contiguous()):
            grad = change(twins.grads()[0])
            grad = grad if grad.shape == shape else grad.transpose(0, 1)
            before = grad.clone()
            twins.step([grad])
            assert equal_bits(before, grad)


def in_bucket(grads: Sequence[Tensor], offset: int) -> list[Tensor]:
    """Copies of gradients as views into one buffer, the first one ``offset`` numbers behind its start."""
    bucket = torch.empty(offset + sum(grad.numel() for grad in grads))
    views, first = [], offset
    for grad in grads:
        views.append(bucket[first : first + grad.numel()].view(grad.shape).copy_(grad))
        first += grad.numel()
    return views


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_gradients_in_a_bucket(form: Any, offset: int, packed: bool) -> None:
    """Addresses that are no multiple of 16 are read one by one."""
    twins = PairedLayers(form, [(300,), (64, 36)], packed=packed)
    for _ in range(2):
        twins.step(in_bucket(twins.grads(), offset))
        assert twins.plan.wide == (offset % 4 == 0)


@pytest.mark.parametrize(("shapes", "wide"), [([(300,), (2052,)], True), ([(300,), (2050,)], False), ([(3,)], False)])
def test_sizes_that_are_no_multiple_of_four(form: Any, shapes: list[tuple[int, ...]], wide: bool) -> None:
    twins = PairedLayers(form, shapes)
    twins.step()
    twins.step()
    assert twins.plan.wide is wide


def test_wide_and_not_by_turns(form: Any) -> None:
    """The plan lives on when only gradients move; its band is kept."""
    twins = PairedLayers(form, [(300,), (2052,)])
    twins.step()
    plan = twins.plan
    for offset in (1, 0, 3, 4):
        twins.step(in_bucket(twins.grads(), offset))
        assert twins.plan is plan
        assert plan.wide == (offset % 4 == 0)
        assert not twins.searched()[1]


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("shape", [(8, 6, 3, 3), (1,), (7,), (2049,)])
def test_packed_signs(form: Any, shape: tuple[int, ...], rank_by: str) -> None:
    twins = PairedLayers(form, [shape, (100,)], packed=True, laid=channels_last, rank_by=rank_by, sparsity=0.7)
    for _ in range(3):
        twins.step()


@pytest.mark.parametrize(
    ("max_norm", "rank_by", "packed"),  # any two of them in each combination
    [(None, "scores", False), (None, "abs_scores", True), (1.0, "scores", True), (1.0, "abs_scores", False)],
)
def test_the_example_that_a_gpu_must_pass(form: Any, max_norm: float | None, rank_by: str, packed: bool) -> None:
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "rank_by": rank_by, "max_norm": max_norm}
    assert matches_reference(form.masked_sgd_, torch.device("cpu"), packed=packed, **settings)


def test_the_example_sees_one_wrong_bit(form: Any) -> None:
    def wrong(params: list[Tensor], *args: Any, **settings: Any) -> None:
        plain.masked_sgd_(params, *args, **settings)
        params[2].view(-1).view(torch.int32)[17] ^= 1

    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "rank_by": "scores", "max_norm": None}
    assert not matches_reference(wrong, torch.device("cpu"), **settings)
