"""Triton's form on a GPU: equal bits over 300 steps, no wait of the host, captured graphs, memory."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite import methods
from suite.methods.update import matches_reference, plain, select_backend
from suite.methods.update.plain import RANKINGS, Redraw, unpacked
from suite.methods.update.signs import Signs

pytestmark = pytest.mark.gpu

SHAPES = [(1,), (7,), (300,), (64, 32, 3, 3), (40_000,), (2_400_000,)]
SETTINGS: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "max_norm": None}


def layers(packed: bool = False) -> list[list[Any]]:
    """Parameters, thetas, scores and momenta on the GPU; convolutions in channels_last."""
    generator = torch.Generator("cuda").manual_seed(0)
    scores = [laid(torch.empty(shape, device="cuda").uniform_(-0.1, 0.1, generator=generator)) for shape in SHAPES]
    dense = [torch.where(torch.empty_like(s).normal_(generator=generator) < 0, -0.05, 0.05) for s in scores]
    thetas = [Signs.packed(theta, 0.05) for theta in dense] if packed else dense
    return [[torch.zeros_like(s) for s in scores], thetas, scores, [torch.zeros_like(s) for s in scores]]


def laid(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def triton_form(rank_by: str = "scores", packed: bool = False) -> Any:
    _, thetas, scores, _ = layers(packed)
    form = select_backend(scores, thetas, rank_by=rank_by, **SETTINGS)
    assert form.__module__ == "suite.methods.update.triton"
    return form


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize(("sparsity", "packed"), [(0.0, False), (0.5, True), (0.9, False), (0.999, False)])
def test_300_steps(sparsity: float, packed: bool, rank_by: str) -> None:
    form, settings = triton_form(rank_by, packed), {**SETTINGS, "sparsity": sparsity, "rank_by": rank_by}
    wanted, got, thresholds = layers(packed), layers(packed), {}
    generator = torch.Generator("cuda").manual_seed(1)
    for step in range(300):
        grads = [torch.empty(s, device="cuda").normal_(0, 0.02, generator=generator) for s in SHAPES]
        again = Redraw(step + 1, 0.1, 3, "signed_constant", [800] * len(SHAPES), list(range(len(SHAPES))))
        redraw = again if step % 30 == 29 else None
        plain.masked_sgd_(wanted[0], grads, *wanted[1:], {}, redraw=redraw, **settings)
        form(got[0], grads, *got[1:], thresholds, redraw=redraw, **settings)
        if step % 50 == 49:
            thresholds["plan"].bands[::2, 0] += 1.0  # every other layer misses its band
    for a, b in zip(wanted, got, strict=True):
        assert all(torch.equal(unpacked(x), unpacked(y)) for x, y in zip(a, b, strict=True))


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


def test_replays_of_a_captured_step_are_steps() -> None:
    """Between them a step outside, with other gradients, which must not be the graph's."""
    states = []
    for captured in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(300, 400, bias=False), nn.ReLU(), nn.Linear(400, 10, bias=False)).cuda()
        rate = torch.tensor(0.1, device="cuda")
        optimizer = methods.get("edge_popup")(net.parameters(), sparsity=0.5, lr=rate)
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


def test_iterand_says_that_it_cannot_be_captured() -> None:
    weight = nn.Parameter(torch.zeros(64, 64, device="cuda"))
    optimizer = methods.get("iterand")([weight], sparsity=0.5, lr=0.1)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    with pytest.raises(RuntimeError, match="IteRand cannot be captured"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        optimizer.step()


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


@pytest.mark.parametrize("packed", [False, True])
def test_the_example_holds_on_every_gpu(packed: bool) -> None:
    from suite.methods.update import triton

    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        settings = {key: value for key, value in SETTINGS.items() if key != "max_norm"}
        assert matches_reference(triton.masked_sgd_, device, packed=packed, rank_by="scores", **settings)
