"""Triton's redraw, run by its interpreter: the very weights and words of the specification."""

import importlib
from typing import Any

import pytest
import torch
from support.triton_interpreter import PairedLayers, channels_last
from torch import Tensor

from suite.methods.random import Stream
from suite.methods.random import random_words as slow_words
from suite.methods.update.plain import RANKINGS, Redraw, keep_mask
from suite.methods.update.signs import unpacked

pytestmark = pytest.mark.slow  # Triton's interpreter is
SHAPES = [(7,), (9, 6, 3, 3), (2051,)]
CASES = [("signed_constant", False), ("signed_constant", True), ("kaiming_uniform", False), ("kaiming_normal", False)]


@pytest.fixture
def form(_world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(_world, "PROGRAMS_PER_PHASE", 1)
    return _world


@pytest.fixture(scope="module")
def kernels(_world: Any) -> Any:
    """Kernels of the tests' own, for the interpreter."""
    return importlib.import_module("support.order_kernels")


def redraw(draw: int, prob: float, distribution: Any, *, seed: int = 3, num: int = len(SHAPES)) -> Redraw:
    return Redraw(draw, prob, seed, distribution, [800] * num, [5 + 3 * i for i in range(num)])


@pytest.mark.parametrize("prob", [0.1, 1.0])
@pytest.mark.parametrize(("distribution", "packed"), CASES)
def test_redraws(form: Any, distribution: str, packed: bool, prob: float) -> None:
    """Only pruned weights are drawn again, as many as ``prob`` says."""
    twins = PairedLayers(form, SHAPES, packed=packed, laid=channels_last, sparsity=0.6)
    for draw in (1, 2):
        before = [unpacked(theta).clone() for theta in twins.state[1][1]]
        pruned = [~keep_mask(score, 0.6, "scores") for score in twins.state[1][2]]
        twins.step(redraw=redraw(draw, prob, distribution))
        changed = [a != unpacked(b) for a, b in zip(before, twins.state[1][1], strict=True)]
        assert not any(bool((c & ~p).any()) for c, p in zip(changed, pruned, strict=True))
        share = sum(int(c.sum()) for c in changed) / sum(int(p.sum()) for p in pruned)
        half = 0.5 if distribution == "signed_constant" else 1.0  # every other sign stays as it was
        assert share == pytest.approx(prob * half, abs=0.06)


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("prob", [0.0, 2**-40, 0.5])
def test_probabilities_between(form: Any, prob: float, rank_by: str) -> None:
    twins = PairedLayers(form, [(301,), (9, 6, 3, 3)], sparsity=0.9, rank_by=rank_by)
    before = [theta.clone() for theta in twins.state[1][1]]
    twins.step(redraw=redraw(1, prob, "kaiming_uniform", num=2))
    changed = any(not torch.equal(a, b) for a, b in zip(before, twins.state[1][1], strict=True))
    assert changed == (prob == 0.5)


@pytest.mark.parametrize(("distribution", "packed"), CASES[:3])
@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**31, 2**32 - 1])
def test_seeds_of_all_sizes(form: Any, seed: int, distribution: str, packed: bool) -> None:
    twins = PairedLayers(form, [(301,)], packed=packed, sparsity=0.9)
    before = unpacked(twins.state[1][1][0]).clone()
    twins.step(redraw=redraw(2**31 - 1, 0.7, distribution, seed=seed, num=1))
    assert not torch.equal(before, unpacked(twins.state[1][1][0]))


@pytest.mark.parametrize("packed", [False, True])
def test_of_layers_without_pruned_weights_nothing_is_drawn(form: Any, packed: bool) -> None:
    twins = PairedLayers(form, [(301,), (1,)], packed=packed, sparsity=0.0)
    before = [unpacked(theta).clone() for theta in twins.state[1][1]]
    twins.step(redraw=redraw(1, 1.0, "signed_constant", num=2))
    assert all(torch.equal(a, unpacked(b)) for a, b in zip(before, twins.state[1][1], strict=True))


@pytest.mark.parametrize(("distribution", "packed"), CASES[:3])
def test_a_redraw_is_one_launch_a_layer(
    form: Any, distribution: str, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    executor: Any = type(form.kernels.redraw).run

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        launched.append(self.__name__)
        return executor(self, *args, **kwargs)

    monkeypatch.setattr(type(form.kernels.redraw), "run", run)
    PairedLayers(form, [(301,), (9, 6, 3, 3)], packed=packed).step(redraw=redraw(1, 1.0, distribution, num=2))
    assert launched == ["redraw", "redraw", "update", "select_mask"]


def kernel_words(kernels: Any, seed: int, stream: Stream, draw: int, parameter: int, first: int) -> Tensor:
    out = torch.empty(64, dtype=torch.int64)
    kernels.words[(1,)](out, seed | stream << 32, draw, parameter, first, BLOCK=64)
    return out


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("stream", [Stream.VALUES, Stream.REDRAW])
def test_words(kernels: Any, stream: Stream, seed: int) -> None:
    for draw, parameter, first in [
        (0, 0, 0),
        (1, 0, 0),
        (1, 0, 1),
        (7, 300, 2_400_003),
        (2**31 - 1, 2**20, 2**31 - 2048 - 64),
    ]:
        expected = slow_words(64, seed=seed, stream=stream, draw=draw, parameter=parameter, start=first)
        assert torch.equal(kernel_words(kernels, seed, stream, draw, parameter, first), expected)
