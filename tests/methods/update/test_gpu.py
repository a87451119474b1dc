"""Triton's form on a GPU: equal bits over 300 steps, ties, no wait, captured graphs, version counters, memory.

``support.gpu`` says which of these tests a CPU rehearses.
"""

from typing import Any

import pytest
import torch
from support.gpu import DEVICE, REHEARSAL, needs_a_gpu
from torch import Tensor, nn

from suite import methods
from suite.methods.update import matches_reference, plain, select_backend
from suite.methods.update.plain import RANKINGS, Redraw, unpacked
from suite.methods.update.signs import Signs

pytestmark = pytest.mark.gpu

NUM_STEPS = 3 if REHEARSAL else 300
SMALL = [(1,), (7,), (300,)]
SHAPES = [*SMALL, (8, 4, 3, 3)] if REHEARSAL else [*SMALL, (64, 32, 3, 3), (40_000,), (2_400_000,)]
SETTINGS: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "max_norm": None}


def layers(packed: bool = False) -> list[list[Any]]:
    """Parameters, thetas, scores and momenta on the device; convolutions in channels_last."""
    generator = torch.Generator(DEVICE).manual_seed(0)
    scores = [laid(torch.empty(shape, device=DEVICE).uniform_(-0.1, 0.1, generator=generator)) for shape in SHAPES]
    dense = [torch.where(torch.empty_like(s).normal_(generator=generator) < 0, -0.05, 0.05) for s in scores]
    thetas = [Signs.packed(theta, 0.05) for theta in dense] if packed else dense
    return [[torch.zeros_like(s) for s in scores], thetas, scores, [torch.zeros_like(s) for s in scores]]


def laid(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def triton_form(rank_by: str = "scores", packed: bool = False, **settings: Any) -> Any:
    """The form of masked steps on the device, which must be Triton's."""
    _, thetas, scores, _ = layers(packed)
    form = select_backend(scores, thetas, rank_by=rank_by, **{**SETTINGS, **settings})
    assert form.__module__ == "suite.methods.update.triton"
    return form


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize(("sparsity", "packed"), [(0.0, False), (0.5, True), (0.9, False), (0.999, False)])
def test_300_steps(sparsity: float, packed: bool, rank_by: str) -> None:
    form, settings = triton_form(rank_by, packed), {**SETTINGS, "sparsity": sparsity, "rank_by": rank_by}
    wanted, got, thresholds = layers(packed), layers(packed), {}
    generator = torch.Generator(DEVICE).manual_seed(1)
    every = NUM_STEPS // 10 or 2
    for step in range(NUM_STEPS):
        grads = [torch.empty(s, device=DEVICE).normal_(0, 0.02, generator=generator) for s in SHAPES]
        again = Redraw(step + 1, 0.1, 3, "signed_constant", [800] * len(SHAPES), list(range(len(SHAPES))))
        redraw = again if step % every == every - 1 else None
        plain.masked_sgd_(wanted[0], grads, *wanted[1:], {}, redraw=redraw, **settings)
        form(got[0], grads, *got[1:], thresholds, redraw=redraw, **settings)
        if step % 50 == 2:
            thresholds["plan"].bands[::2, 0] += 1.0  # every other layer misses its band
    for a, b in zip(wanted, got, strict=True):
        assert all(torch.equal(unpacked(x), unpacked(y)) for x, y in zip(a, b, strict=True))


def few_values(like: Tensor, generator: torch.Generator) -> Tensor:
    """(like.shape): so few values that most are tied, in its memory format."""
    values = torch.tensor([-0.25, -0.0, 0.0, 0.25], device=DEVICE)
    chosen = torch.randint(len(values), like.shape, device=DEVICE, generator=generator)
    return torch.empty_like(like).copy_(values[chosen])


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("packed", [False, True])
def test_ties(packed: bool, rank_by: str) -> None:
    """Few values of scores and gradients: thresholds lie on ties, which go by position."""
    settings: dict[str, Any] = {**SETTINGS, "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    form = triton_form(rank_by, packed, **settings)
    wanted, got, thresholds = layers(packed), layers(packed), {}
    generator = torch.Generator(DEVICE).manual_seed(2)
    for mine, theirs in zip(wanted[2], got[2], strict=True):
        theirs.copy_(mine.copy_(few_values(mine, generator)))
    for _ in range(NUM_STEPS // 10 or 2):
        grads = [few_values(param, generator) for param in wanted[0]]
        plain.masked_sgd_(wanted[0], grads, *wanted[1:], {}, sparsity=0.6, rank_by=rank_by, **settings)
        form(got[0], grads, *got[1:], thresholds, sparsity=0.6, rank_by=rank_by, **settings)
        for a, b in zip((*wanted[0], *wanted[2]), (*got[0], *got[2]), strict=True):
            assert torch.equal(a, b)


def test_version_counters() -> None:
    """Autograd sees that a step has written the weights that a graph still needs."""
    weight = nn.Parameter(torch.ones(16, 8, device=DEVICE))
    optimizer = methods.get("edge_popup")([weight], sparsity=0.5, lr=0.1)
    images = torch.randn(4, 8, device=DEVICE, requires_grad=True)
    (images @ weight.T).sum().backward()
    optimizer.step()
    before = weight._version
    loss = (images @ weight.T).square().sum()
    optimizer.step()
    assert weight._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@needs_a_gpu
def test_a_step_does_not_wait() -> None:
    form, (params, *rest) = triton_form(), layers()
    grads, thresholds = [torch.randn_like(p) for p in params], {}
    for _ in range(2):
        form(params, grads, *rest, thresholds, sparsity=0.5, rank_by="scores", **SETTINGS)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            grads = [torch.randn_like(p) for p in params]
            form(params, grads, *rest, thresholds, sparsity=0.5, rank_by="scores", **SETTINGS)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_a_gpu
@pytest.mark.parametrize("pack_signs", [False, True])
def test_replays_of_a_captured_step_are_steps(pack_signs: bool) -> None:
    """Between them a step outside, with other gradients, which must not be the graph's."""
    states = []
    for captured in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(300, 400, bias=False), nn.ReLU(), nn.Linear(400, 10, bias=False)).cuda()
        rate = torch.tensor(0.1, device="cuda")
        optimizer = methods.get("edge_popup")(net.parameters(), sparsity=0.5, lr=rate, pack_signs=pack_signs)
        images = torch.randn(16, 300, device="cuda")

        def step(net: nn.Module = net, optimizer: Any = optimizer, images: Tensor = images) -> None:
            optimizer.zero_grad()
            net(images).square().mean().backward()
            optimizer.step()

        for _ in range(3):
            step()
        replay = step
        if captured:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            replay = graph.replay
        for number in range(8):
            rate.fill_(0.1 / (1 + number))
            (step if number == 4 else replay)()
        states.append([param.detach().clone() for param in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@needs_a_gpu
def test_iterand_says_that_it_cannot_be_captured() -> None:
    weight = nn.Parameter(torch.zeros(64, 64, device="cuda"))
    optimizer = methods.get("iterand")([weight], sparsity=0.5, lr=0.1)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    with pytest.raises(RuntimeError, match="IteRand cannot be captured"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        optimizer.step()


@needs_a_gpu
@pytest.mark.parametrize(("packed", "num_bytes"), [(False, 20.0), (True, 16.1)])
def test_bytes_a_weight(packed: bool, num_bytes: float) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    weight = nn.Parameter(torch.zeros(4096, 4096, device="cuda"))
    optimizer = methods.get("edge_popup")([weight], sparsity=0.5, lr=0.1, pack_signs=packed)
    for _ in range(3):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert (torch.cuda.memory_allocated() - before) / weight.numel() == pytest.approx(num_bytes, abs=0.1)


@needs_a_gpu
@pytest.mark.parametrize("packed", [False, True])
def test_the_example_holds_on_every_gpu(packed: bool) -> None:
    from suite.methods.update import triton

    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        settings = {key: value for key, value in SETTINGS.items() if key != "max_norm"}
        assert matches_reference(triton.masked_sgd_, device, packed=packed, rank_by="scores", **settings)
