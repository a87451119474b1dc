"""Peak memory of one training step, each way in a process of its own, in bytes a weight above the activations."""

import ctypes
import gc
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.trainers import FUSED, ITERAND, WAYS, Row, Trainer
from suite.records import provenance

NET = "resnet18"
# The first one loads what a step loads; the second one has many weights, and few activations.
_WARM_UP, _MEASURED = Row("conv6", 1, 32, batch=1), Row(NET, 1, 32, batch=2)
# Large blocks go back to the system when they are freed: the peak is then of what lives, equal from run to run.
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def lines(device: str, threads: int) -> list[dict[str, Any]]:
    """A row of the table for each way, and one for a step of IteRand that redraws."""
    row = replace(_MEASURED, device=device)
    trainer = Trainer(row, FUSED)
    num, activations = trainer.num_weights, _activation_mb(trainer)
    cases = [*((way, way, False) for way in WAYS), (f"{ITERAND}, a step that redraws", ITERAND, True)]
    return [
        {
            "net and batch": row.name,
            "way": name,
            "peak of a step, MB": (peak := _in_a_process_of_its_own(device, way, redraws, threads)),
            "activations, MB": activations,
            "bytes a weight above them": 1e6 * (peak - activations) / num,
        }
        for name, way, redraws in cases
    ]


def peak_mb(device: str, way: str, redraws: bool, row: Row = _MEASURED, warm_up: Row = _WARM_UP) -> float:
    """Peak of a training step above what the process had before it made the network: on the device, or resident."""
    _step(Trainer(replace(warm_up, device=device), way), redraws)
    before = _now(device)
    trainer = Trainer(replace(row, device=device), way)
    _step(trainer, redraws)  # makes the state
    _now(device)
    _step(trainer, redraws)
    return provenance.peak_memory_mb(torch.device(device)) - before


def _step(trainer: Trainer, redraws: bool) -> None:
    trainer.set_redraw(redraws)
    trainer.step()


def _now(device: str) -> float:
    """Memory in use, in MB, from which the peak is counted anew."""
    gc.collect()
    if device == "cpu":
        ctypes.CDLL(None).malloc_trim(0)
    provenance.reset_peak_memory(torch.device(device))
    return provenance.peak_memory_mb(torch.device(device))


def _in_a_process_of_its_own(device: str, way: str, redraws: bool, threads: int) -> float:
    options = ["--threads", str(threads), "--memory-of", device, way, str(int(redraws))]
    command = [sys.executable, "-m", "benchmarks.step", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **_ENVIRONMENT})
    return float(done.stdout)


def _activation_mb(trainer: Trainer) -> float:
    """What the dense net's forward pass keeps for its backward pass, parameters left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in trainer.model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        trainer.gradients()
    return sum(size for place, size in kept.items() if place not in own) / 1e6
