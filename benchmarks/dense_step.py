"""How good the dense step is that masks are compared with: its rate, its share of the peak, and where its time goes."""

import statistics
from collections import defaultdict
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import timed
from benchmarks.trainers import FUSED, Row, Trainer
from suite.records import provenance

# What others have said of such nets, for scale.
PUBLIC = {
    "resnet18 x1": "A100: 7 min for 32.3 PFLOP, 77 TFLOP/s (README of KellerJordan/cifar10-airbench, standard run)",
    "resnet50 x1": "images/s: A100 2,470 (NVIDIA DeepLearningExamples, ResNet50 v1.5, mixed precision); H100 2,790 and "
    "H200 3,079 (NVIDIA's PyTorch example, synthetic data); 7,983 on one of eight H200 (MLPerf v4.0)",
}
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # bf16, dense, as the data sheets have it
KINDS = {  # of operations, by what is in their names; the first that fits
    "convolutions and matrices": ("conv", "mm", "gemm", "nvjet", "xmma", "cutlass", "wgrad", "dgrad", "cudnn_infer"),
    "batch norm": ("batch_norm", "bn_", "batchnorm"),
    "update": ("sgd", "Optimizer", "select_mask", "update"),
    "pooling": ("pool",),
    "copies and formats": ("copy", "clone", "to_", "nchw", "nhwc", "contiguous"),
    "elementwise": ("relu", "threshold", "add", "mul", "div", "fill", "zero", "elementwise", "softmax", "sum"),
}


def speed(row: Row, rounds: int) -> dict[str, Any]:
    """How fast the dense step is, by its operations of multiplying and adding, and by the device's peak."""
    public = next((said for net, said in PUBLIC.items() if row.name.startswith(net)), "")
    if not row.is_here:
        return {"net and batch": row.name, "images/s": "not measured", "public figure": public}
    trainer = Trainer(row, FUSED)
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


def shares(row: Row, way: str = FUSED) -> dict[str, Any]:
    """Shares of a step's time by kind of operation, from torch's profiler; by default of a dense step."""
    if not row.is_here:
        return {"net and batch": row.name, next(iter(KINDS)): "not measured"}
    trainer = Trainer(row, way)
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
