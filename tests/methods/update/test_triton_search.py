"""Triton's form of a masked step where it must search, or must leave the step to torch; and the order of places."""

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from support.triton_interpreter import SETTINGS, PairedLayers, channels_last, equal_bits
from torch import Tensor

from suite.methods.update import plain
from suite.methods.update.plain import num_pruned

pytestmark = pytest.mark.slow  # Triton's interpreter is
SHAPES = [(1,), (7,), (300,), (6, 5, 3, 3), (41, 100)]
PROGRAMS_PER_PHASE = 128  # as on a GPU
INF, NAN = math.inf, math.nan
ENDLESS = pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")  # numpy's inf - inf


MISSES: dict[str, tuple[float, float]] = {
    "above": (0.5, 0.01),
    "below": (-0.5, 0.01),
    "far above": (1e30, 1.0),
    "no width": (0.05, 0.0),
    "over all": (INF, 0.0),
    "below all": (-INF, 0.0),
    "all of it": (0.0, INF),
    "unknown": (NAN, 0.01),
    "unknown width": (0.0, NAN),
    "nothing known": (NAN, NAN),
    "endless": (INF, INF),
    "negative width": (0.0, -1.0),
    "too full": (0.0, 10.0),
}


@pytest.mark.parametrize(("rank_by", "packed"), [("scores", False), ("abs_scores", True)])
@ENDLESS
def test_a_band_that_misses_leads_to_a_search(form: Any, packed: bool, rank_by: str) -> None:
    """In every other layer: those between must not search. The step after finds the ranks."""
    twins = PairedLayers(form, [(600,)] * (2 * len(MISSES)), lr=1e-4, rank_by=rank_by, packed=packed, sparsity=0.6)
    twins.step()
    twins.plan.bands[:, 1] = 0.005
    twins.step()
    assert not any(twins.searched())
    for i, band in enumerate(MISSES.values()):
        twins.plan.bands[2 * i + 1] = torch.tensor(band)
    twins.step()
    assert twins.searched() == [False, True] * len(MISSES)
    for score, middle in zip(twins.state[1][2], twins.plan.bands[:, 0], strict=True):
        rank = score if rank_by == "scores" else score.abs()
        assert middle == rank.sort().values[num_pruned(600, 0.6) - 1]  # the last one that is pruned
    twins.plan.bands[:, 1] = 0.005  # a miss may leave any width
    twins.step()
    assert not any(twins.searched())


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_band_without_room_leads_to_a_search_with_half_its_width(form: Any, room: int) -> None:
    twins = PairedLayers(form, [(2500,), (300,), (2500,)], lr=0.0)
    twins.step()
    twins.plan.bands[:, 1] = 0.003
    rooms = twins.plan.band_room.clone()
    twins.plan.band_room[2] = room
    twins.step()
    assert twins.searched() == [False, False, True]
    assert float(twins.plan.bands[2, 1]) == pytest.approx(0.0015)
    twins.plan.band_room.copy_(rooms)
    twins.step()
    assert twins.searched() == [False, False, False]


@ENDLESS
def test_one_miss_after_another(form: Any) -> None:
    twins = PairedLayers(form, SHAPES)
    for middle, half in MISSES.values():
        twins.step()
        twins.plan.bands[:, 0], twins.plan.bands[:, 1] = middle, half
    twins.step()


@pytest.mark.parametrize(
    ("middle", "half", "searched"),
    [
        (50.0, 0.0, False),  # all that goes is below it
        (49.0, 0.0, False),  # the last that goes is all that is in it
        (51.0, 0.0, True),
        (48.0, 0.0, True),
        (51.0, 1.0, False),
        (52.0, 1.0, True),
        (48.0, 1.0, False),
        (47.0, 1.0, True),
    ],
)
def test_the_borders_of_a_band(form: Any, middle: float, half: float, searched: bool) -> None:
    """Of scores 0 to 100, 50 are pruned: the last one is 49."""
    scores = torch.arange(101.0)
    twins = PairedLayers(form, [(101,)], scores=lambda shape: scores, lr=0.0)
    twins.step()
    twins.plan.bands.copy_(torch.tensor([[middle, half]]))
    twins.step()
    assert twins.searched() == [searched]
    assert twins.plan.bands[0, 0] == (49.0 if searched or middle - half < 50 else middle)


def test_layers_without_gradient_are_left_out(form: Any) -> None:
    """Other lists with the same memory of thresholds: each change asks for a new plan."""
    twins = PairedLayers(form, [(300,), (7,), (41, 100), (600,)])
    for which in ([0, 1, 2, 3], [0, 2], [0, 2], [2, 0], [3], [0, 1, 2, 3]):
        before = [score.clone() for score in twins.state[1][2]]
        twins.step(which=which)
        for i, score in enumerate(twins.state[1][2]):
            assert torch.equal(before[i], score) == (i not in which)


def test_another_sparsity_or_order_with_the_same_layers(form: Any) -> None:
    twins = PairedLayers(form, [(300,), (700,)])
    for settings in ({}, {"sparsity": 0.9}, {"sparsity": 0.0}, {"rank_by": "abs_scores"}, {"sparsity": 0.3}, {}):
        twins.step(**settings)


def test_the_next_plan_is_the_last_one_while_nothing_changes(form: Any) -> None:
    twins = PairedLayers(form, [(300,), (700,)])
    twins.step()
    plan = twins.plan
    twins.step()
    assert twins.plan is plan
    twins.step(sparsity=0.7)
    assert twins.plan is not plan


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_go_to_torch(form: Any, dtype: torch.dtype) -> None:
    twins = PairedLayers(form, [(300,), (6, 5, 3, 3)], dtype=dtype)
    for _ in range(2):
        twins.step()
    assert twins.thresholds.get("plan") is None


@pytest.mark.parametrize("kind", range(5))
def test_one_tensor_of_another_dtype_sends_all_to_torch(form: Any, kind: int) -> None:
    """Of params, gradients, thetas, scores or momenta."""
    generator = torch.Generator().manual_seed(0)
    lists = [[torch.randn(n, generator=generator) for n in (300, 40)] for _ in range(5)]
    lists[kind][1] = lists[kind][1].double()
    copies = [[tensor.clone() for tensor in tensors] for tensors in lists]
    results = []
    for masked_sgd_, some in ((plain.masked_sgd_, lists), (form.masked_sgd_, copies)):
        try:
            masked_sgd_(*some, {}, **SETTINGS)
            results.append([*some, None])
        except RuntimeError as error:
            results.append([*some, str(error)])
    assert results[0][-1] == results[1][-1]
    for wanted, got in zip(lists, copies, strict=True):
        assert all(equal_bits(a, b) for a, b in zip(wanted, got, strict=True))


@pytest.mark.parametrize(
    "laid",
    [
        lambda tensor: tensor.t().contiguous().t(),
        lambda tensor: torch.stack([tensor, tensor], -1)[..., 0],
        lambda tensor: torch.nn.functional.pad(tensor, (0, 3))[:, :-3],
    ],
)
def test_other_strides_go_to_torch(form: Any, laid: Any) -> None:
    twins = PairedLayers(form, [(12, 25), (3, 7)], laid=laid)
    assert not twins.state[1][2][0].is_contiguous()
    for _ in range(2):
        twins.step()
    assert twins.thresholds.get("plan") is None


def test_tensors_that_lie_apart_go_to_torch(form: Any) -> None:
    twins = PairedLayers(form, [(8, 6, 3, 3)])
    for state in twins.state:
        state[0] = [channels_last(param) for param in state[0]]
    twins.step()
    assert twins.thresholds.get("plan") is None


def test_a_step_is_two_launches(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many layers there are, and whether or not their bands miss."""
    launched: list[str] = []
    executor: Any = type(form.kernels.update).run

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        launched.append(self.__name__)
        return executor(self, *args, **kwargs)

    monkeypatch.setattr(type(form.kernels.update), "run", run)
    twins = PairedLayers(form, SHAPES)
    for _ in range(3):
        twins.step()
        assert launched == ["update", "select_mask"]
        launched.clear()
        twins.plan.bands.fill_(0.5)


SPECIAL = [NAN, -NAN, INF, -INF, 0.0, -0.0, 1e-45, -1e-45, 1.1754944e-38, -1.1754944e-38, 1.0, -1.0, 3.4e38, -3.4e38]


@pytest.fixture(scope="module")
def places(_world: Any) -> Any:
    """Kernels of the tests' own, for the interpreter, over ``kernels.radix_select``."""
    return importlib.import_module("support.order_kernels")


def ranks(num: int) -> Tensor:
    """Special values, ties, and floats of all exponents, shuffled."""
    generator = torch.Generator().manual_seed(num)
    some = torch.randint(-(2**31), 2**31, (num,), generator=generator, dtype=torch.int64).to(torch.int32)
    values = torch.cat([torch.tensor(SPECIAL * 4), some.view(torch.float32), torch.arange(-9.0, 9.0).repeat(3)])
    return values[torch.randperm(len(values), generator=generator)][:num].contiguous()


@pytest.mark.parametrize("shape", [(720,), (8, 6, 3, 5), (20, 1, 6, 6), (10, 72, 1, 1)])
@pytest.mark.parametrize("laid", [channels_last, torch.Tensor.contiguous])
@ENDLESS
def test_places_order_as_a_stable_sort_does(places: Any, form: Any, laid: Any, shape: tuple[int, ...]) -> None:
    """By value, ties by logical index, NaN last, -0 equal to +0; what is in memory where is taken into account."""
    rank = laid(ranks(720).view(shape))
    memory = rank.as_strided((720,), (1,))
    out, back = torch.empty(1024, dtype=torch.int64), torch.empty(1024)
    places.places_of[(1,)](memory, out, back, 720, *form.inner_sizes(rank), BLOCK=1024)
    index = (out[:720] & 0xFFFFFFFF).numpy()
    assert torch.equal(rank.reshape(-1)[torch.from_numpy(index)].isnan(), memory.isnan())
    assert equal_bits(rank.reshape(-1)[torch.from_numpy(index)], memory)
    order = np.argsort(out[:720].numpy().view(np.uint64), kind="stable")
    expected = np.argsort(rank.reshape(-1).numpy() + np.float32(0.0), kind="stable")
    assert index[order].tolist() == expected.tolist()
    assert equal_bits(back[:720], memory + 0.0)  # +0 for -0


def test_digits_lead_to_every_place(places: Any) -> None:
    """Counted eight bits at a time, place number k from below is found, and exactly k places are up to the cut."""
    rank = ranks(500)
    out, back = torch.empty(512, dtype=torch.int64), torch.empty(512)
    places.places_of[(1,)](rank, out, back, 500, 1, 1, BLOCK=512)
    cuts = torch.empty(20, dtype=torch.int64)
    wanted = torch.tensor([1, 2, 3, 17, 40, 99, 100, 101, 249, 250, 251, 333, 400, 444, 470, 488, 495, 498, 499, 500])
    places.cuts_of[(20,)](out, wanted.int(), cuts, 500, BLOCK=512)
    numbers = out[:500].numpy().view(np.uint64)
    for k, cut in zip(wanted.tolist(), cuts.numpy().view(np.uint64).tolist(), strict=True):
        assert int((numbers <= np.uint64(cut)).sum()) == k
        assert cut >> 32 == int(np.sort(numbers)[k - 1]) >> 32  # its rank is the last one's
