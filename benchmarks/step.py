"""What training masks costs beside dense training, a whole step at a time: ``python -m benchmarks.step``.

Rows are nets and batches of the protocol, columns the ways to train them: dense SGD (torch's fused one), edge-popup,
IteRand, and the layer form, which selects in each forward pass (``benchmarks.layer_form``). All columns of a row take
steps in turns, on synthetic images. IteRand's step is one without a redraw plus its share of one with. Then: how fast
the dense step is, as images a second and as a share of the device's peak, and where its time goes.
"""

import argparse
import ctypes
import gc
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.layer_form import in_layer_form
from benchmarks.report import header, write_table
from benchmarks.timing import timed
from suite import methods, models
from suite.records import provenance

COLUMNS = ("dense", "edge-popup", "IteRand", "layer form")
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
SPARSITY, EVERY = 0.6, 300
# What others have said of such nets, for scale; each on one A100.
PUBLIC = {
    "resnet18, 32 px": "7 min for 32.3 PFLOP, 77 TFLOP/s (README of KellerJordan/cifar10-airbench, standard training)",
    "resnet50, 224 px": "2,470 images/s (NVIDIA DeepLearningExamples, ResNet50 v1.5, mixed precision)",
}
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # bf16, dense, as the data sheets have it
KINDS = {  # of operations, by what is in their names; the first that fits
    "convolutions and matrices": ("conv", "mm", "gemm", "xmma", "cutlass", "wgrad", "dgrad", "cudnn_infer"),
    "batch norm": ("batch_norm", "bn_", "batchnorm"),
    "update": ("sgd", "Optimizer", "select_mask", "update"),
    "pooling": ("pool",),
    "copies and formats": ("copy", "clone", "to_", "nchw", "nhwc", "contiguous"),
    "elementwise": ("relu", "threshold", "add", "mul", "div", "fill", "zero", "elementwise", "softmax", "sum"),
}


@dataclass(frozen=True)
class Row:
    """A net and a batch."""

    net: str
    size: int
    batch: int
    device: str = "cpu"

    @property
    def name(self) -> str:
        """As tables have it."""
        return f"{self.net}, {self.size} px, batch {self.batch}" + (", bf16" if self.device == "cuda" else "")


CPU_ROWS = [Row("conv6", 32, 128), Row("resnet18", 32, 8), Row("resnet18", 32, 128), Row("resnet50", 224, 8)]
GPU_ROWS = [Row("conv6", 32, 128, "cuda"), Row("resnet18", 32, 128, "cuda"), Row("resnet50", 224, 256, "cuda")]


class Trainer:
    """One way to train one net on one batch of noise, as the trainer of trials does it."""

    def __init__(self, row: Row, column: str) -> None:
        self.device = torch.device(row.device)
        classes = 10 if row.size == 32 else 1000
        torch.manual_seed(0)
        affine = column == "dense"
        self.model = models.build(row.net, num_classes=classes, image_size=row.size, norm_affine=affine).to(self.device)
        self.images = torch.randn(row.batch, 3, row.size, row.size, device=self.device)
        self.labels = torch.randint(classes, (row.batch,), device=self.device)
        if self.device.type == "cuda":
            self.images = self.images.contiguous(memory_format=torch.channels_last)
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            torch.backends.cudnn.benchmark = True
        self.optimizer = self._optimizer(column)

    def _optimizer(self, column: str) -> torch.optim.Optimizer:
        if column == "dense":
            return torch.optim.SGD(self.model.parameters(), **SGD, fused=True)
        if column == "layer form":
            in_layer_form(self.model, SPARSITY).to(self.device)
            scores = [param for name, param in self.model.named_parameters() if name.endswith("scores")]
            return torch.optim.SGD(scores, **SGD, fused=True)
        params = methods.prunable(self.model)
        trained = {name for name, _ in params}
        for name, param in self.model.named_parameters():
            param.requires_grad_(name in trained)
        extra = {"rerandomize_every": EVERY} if column == "IteRand" else {}
        method = methods.get("iterand" if column == "IteRand" else "edge_popup")
        optimizer: torch.optim.Optimizer = method(params, sparsity=SPARSITY, **SGD, **extra)
        return optimizer

    def gradients(self) -> Tensor:
        """Forward and backward; the loss."""
        is_gpu = self.device.type == "cuda"
        with torch.autocast("cuda", dtype=torch.bfloat16) if is_gpu else nullcontext():
            loss = cross_entropy(self.model(self.images), self.labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def step(self) -> None:
        """One training step."""
        self.gradients()
        self.optimizer.step()

    def redraw(self) -> None:
        """An update that begins with a redraw."""
        for group in self.optimizer.param_groups:
            group["num_updates"] = EVERY - 1
        self.optimizer.step()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m benchmarks.step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--net", choices=sorted({row.net for row in CPU_ROWS + GPU_ROWS}), help="rows of one net only")
    parser.add_argument("--threads", type=int, default=1, help="on CPUs; default: %(default)s")
    parser.add_argument("--out", help="write PATH.csv too, and PATH_dense.csv")
    parser.add_argument("--memory-of", nargs=2, metavar=("ROW", "COLUMN"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        number, column = args.memory_of
        print(_peak_mb((CPU_ROWS + GPU_ROWS)[int(number)], column))
        return
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if has_gpu else "cpu")
    print(header(device, f"medians of {args.rounds} rounds in turns, with quartiles of the ratio to the dense step"))
    rows = [row for row in CPU_ROWS * (not has_gpu) + GPU_ROWS if args.net in (None, row.net)]
    write_table(pd.DataFrame([line for row in rows for line in _lines(row, args.rounds, args.threads)]), args.out)
    dense = [_dense(row, args.rounds) for row in rows]
    write_table(pd.DataFrame(dense), args.out and f"{args.out}_dense")
    print("Where the time of a dense step goes:\n")
    write_table(pd.DataFrame([_shares(row) for row in rows]), args.out and f"{args.out}_shares")


def _is_here(row: Row) -> bool:
    return row.device == "cpu" or torch.cuda.is_available()


def _lines(row: Row, rounds: int, threads: int) -> Iterator[dict[str, Any]]:
    if not _is_here(row):
        yield {"net and batch": row.name, "way": "not measured"}
        return
    trainers = {column: Trainer(row, column) for column in COLUMNS}
    steps: dict[str, list[float]] = defaultdict(list)
    updates: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 3):
        for column, trainer in trainers.items():
            step, update = (timed(call, trainer.device) for call in (trainer.step, trainer.optimizer.step))
            if number >= 3:
                steps[column].append(step)
                updates[column].append(update)
    redraws = [timed(trainers["IteRand"].redraw, trainers["IteRand"].device) for _ in range(3)]
    share = max(0.0, statistics.median(redraws) - statistics.median(updates["IteRand"])) / EVERY
    for column, taken in steps.items():
        extra = share if column == "IteRand" else 0.0
        step, update = statistics.median(taken) + extra, statistics.median(updates[column]) + extra
        ratios = statistics.quantiles([a / b for a, b in zip(taken, steps["dense"], strict=True)], n=4)
        yield {
            "net and batch": row.name,
            "way": column,
            "step, ms": 1e3 * step,
            "x dense": step / statistics.median(steps["dense"]),
            "quartiles": f"{ratios[0]:.2f} to {ratios[2]:.2f}",
            "update, ms": 1e3 * update,
            "update / dense step": f"{update / statistics.median(steps['dense']):.2%}",
            "redraws / dense step": f"{extra / statistics.median(steps['dense']):.3%}" if extra else "",
            "peak memory, MB": _in_a_process_of_its_own(row, column, threads),
        }


def _in_a_process_of_its_own(row: Row, column: str, threads: int) -> float:
    number = (CPU_ROWS + GPU_ROWS).index(row)
    command = [sys.executable, "-m", "benchmarks.step", "--memory-of", str(number), column, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _peak_mb(row: Row, column: str) -> float:
    """Peak of two steps above what the process had before: of the device's memory, or resident."""
    device = torch.device(row.device)
    Trainer(Row("conv6", 32, 1, row.device), column).step()  # loads what is loaded at the first step
    gc.collect()
    if device.type == "cpu":
        ctypes.CDLL(None).malloc_trim(0)
    provenance.reset_peak_memory(device)
    before = provenance.peak_memory_mb(device)
    trainer = Trainer(row, column)
    trainer.step()
    trainer.step()
    return provenance.peak_memory_mb(device) - before


def _dense(row: Row, rounds: int) -> dict[str, Any]:
    """How fast the dense step is, by its operations of multiplying and adding, and by the device's peak."""
    public = next((said for net, said in PUBLIC.items() if row.name.startswith(net)), "")
    if not _is_here(row):
        return {"net and batch": row.name, "images/s": "not measured", "public figure": public}
    trainer = Trainer(row, "dense")
    with FlopCounterMode(display=False) as counter:
        trainer.step()
    trainer.step()
    seconds = statistics.median(timed(trainer.step, trainer.device) for _ in range(rounds))
    rate, peak = counter.get_total_flops() / seconds, _peak_flops(trainer.device)
    return {
        "net and batch": row.name,
        "images/s": f"{row.batch / seconds:.3g}",
        "GFLOP/s": rate / 1e9,
        "peak, GFLOP/s": peak / 1e9,
        "share of peak": f"{rate / peak:.0%}",
        "public figure": public,
    }


def _peak_flops(device: torch.device) -> float:
    """The data sheet's where it is known; else the best that a product of matrices or a wide convolution reaches."""
    name = provenance.device_name(device)
    if device.type == "cuda" and (known := [peak for model, peak in PEAKS.items() if model in name]):
        return known[0]
    matrix, wide = torch.randn(2048, 2048, device=device), nn.Conv2d(256, 256, 3, padding=1, device=device)
    images = torch.randn(16, 256, 28, 28, device=device)
    with torch.no_grad():
        product = min(timed(lambda: matrix @ matrix, device) for _ in range(5))
        convolution = min(timed(lambda: wide(images), device) for _ in range(5))
    return max(2 * 2048**3 / product, 2 * 16 * 28**2 * 256**2 * 9 / convolution)


def _shares(row: Row) -> dict[str, Any]:
    """Shares of a dense step's time by kind of operation, from torch's profiler."""
    if not _is_here(row):
        return {"net and batch": row.name, next(iter(KINDS)): "not measured"}
    trainer = Trainer(row, "dense")
    trainer.step()
    is_gpu = trainer.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if is_gpu else ProfilerActivity.CPU]) as profiler:
        trainer.step()
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        time = event.self_device_time_total if is_gpu else event.self_cpu_time_total
        spent[_kind(event.key)] += time
    total = sum(spent.values())
    return {"net and batch": row.name, **{kind: f"{spent[kind] / total:.1%}" for kind in (*KINDS, "other")}}


def _kind(name: str) -> str:
    lower = name.lower()
    return next((kind for kind, words in KINDS.items() if any(word.lower() in lower for word in words)), "other")


if __name__ == "__main__":
    main()
