"""What a masked update costs, selection included, beside SGD's: ``python -m benchmarks.update``.

One step of ``torch.optim.SGD(fused=True)``, of each form of the masked step, and ``torch.kthvalue`` alone, on tensors
of the same shapes, in turns; on CPUs with one thread, in its CPU time. The last masked row redraws in each step; in the
protocol every 300th step does.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import pandas as pd
import torch
from torch import nn

from benchmarks.report import header, write_table
from benchmarks.timing import timed
from suite import methods, models
from suite.methods.iterand import IteRand
from suite.methods.update import cpu

NETS = {"conv6": 32, "resnet18": 32, "resnet50": 224}
_GRAD_SCALE = 0.01  # about one weight of a thousand changes its place in a step, as in training
SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.update", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", help="write PATH.csv too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(args.device)
    print(header(device, f"medians of {args.rounds} rounds in turns, with the quartiles of the ratio to SGD's update"))
    found = [row for net in NETS for row in rows(net, device, args.rounds)]
    write_table(pd.DataFrame(found), args.out)


def rows(
    net: str, device: torch.device, rounds: int, *, width_mult: float = 1.0, kernels: bool | None = None
) -> Iterator[dict[str, object]]:
    """The table of one net. ``kernels``: masked steps take Triton's, and ``topk`` is timed, as by default on GPUs."""
    kernels = device.type == "cuda" if kernels is None else kernels
    steps = dict(_candidates(net, device, width_mult, kernels))
    seconds: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 3):
        for name, (step, prepare) in steps.items():
            prepare(number)
            taken = timed(step, device)
            if number >= 3:  # thresholds are found, and what is compiled is compiled
                seconds[name].append(taken)
    num = sum(param.numel() for param in _params(net, device, width_mult))
    base = seconds["SGD(fused=True)"]
    for name, taken in seconds.items():
        ratios = statistics.quantiles([a / b for a, b in zip(taken, base, strict=True)], n=4)
        yield {
            "net": net,
            "weights": num,
            "update": name,
            "ms": 1e3 * statistics.median(taken),
            "ns per weight": 1e9 * statistics.median(taken) / num,
            "x SGD": statistics.median(taken) / statistics.median(base),
            "quartiles": f"{ratios[0]:.2f} to {ratios[2]:.2f}",
            "kthvalue takes x": statistics.median(seconds["kthvalue alone"]) / statistics.median(taken),
        }


Step = tuple[Callable[[], object], Callable[[int], None]]


def _candidates(net: str, device: torch.device, width_mult: float, kernels: bool) -> Iterator[tuple[str, Step]]:
    params = _params(net, device, width_mult)
    yield "SGD(fused=True)", _step(torch.optim.SGD(params, **SETTINGS, fused=True), params)
    if not kernels:
        for packed in (False, True):
            tail = ", signs packed" if packed else ""
            for name, form in (("no compiler", _without_compiled), ("compiled", nullcontext)):
                yield f"masked, {name}{tail}", _step(*_masked(net, device, width_mult, packed), around=form)
    else:
        for packed in (False, True):
            yield f"masked, GPU{', signs packed' if packed else ''}", _step(*_masked(net, device, width_mult, packed))
    params = _params(net, device, width_mult)
    optimizer = IteRand(params, sparsity=0.5, rerandomize_every=1, **SETTINGS)
    yield "masked, and a redraw each step", _step(optimizer, params)
    scores = [param.detach().flatten() for param in _params(net, device, width_mult)]
    counts = [max(1, round(0.5 * (score.numel() - 1))) for score in scores]
    yield "kthvalue alone", (lambda: [s.kthvalue(c) for s, c in zip(scores, counts, strict=True)], lambda _: None)
    if kernels:
        pairs = [(s, max(1, s.numel() - c)) for s, c in zip(scores, counts, strict=True)]  # those that are kept
        yield "topk alone", (lambda: [s.topk(num, sorted=False) for s, num in pairs], lambda _: None)


def _params(net: str, device: torch.device, width_mult: float) -> list[nn.Parameter]:
    size = NETS[net]
    model = models.build(net, num_classes=10 if size == 32 else 1000, image_size=size, width_mult=width_mult)
    model.to(device)
    return [param for _, param in methods.prunable(model)]


def _masked(
    net: str, device: torch.device, width_mult: float, packed: bool
) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    params = _params(net, device, width_mult)
    return methods.get("edge_popup")(params, sparsity=0.5, pack_signs=packed, **SETTINGS), params


def _step(
    optimizer: torch.optim.Optimizer, params: list[nn.Parameter], around: Callable[[], object] | None = None
) -> Step:
    grads = [torch.empty_like(param) for param in params]

    def prepare(number: int) -> None:
        generator = torch.Generator(params[0].device).manual_seed(number)
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.normal_(0, _GRAD_SCALE, generator=generator)

    def step() -> None:
        if around is None:
            optimizer.step()
        else:
            with around():  # type: ignore[attr-defined]
                optimizer.step()

    return step, prepare


@contextmanager
def _without_compiled() -> Iterator[None]:
    with mock.patch.object(cpu, "_update_loop", return_value=None):
        yield


if __name__ == "__main__":
    main()
