"""Weights as whole numbers with a scale an output channel, as they are or all of a network's in one coded section."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suite.tickets import entropy_coding
from suite.tickets.entropy_coding import Coding, CorruptData
from suite.tickets.header import TensorEntry

SCALE = ".scale"  # behind the name of a quantized weight
SECTION = "*coded"  # no module or parameter can have this name


def quantize(weight: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Whole numbers from ``-largest`` to ``largest``, int8, and the scale of each output channel, (channels,)."""
    scale = weight.abs().flatten(1).amax(1) / largest
    safe = torch.where(scale > 0, scale, 1.0).view(-1, *[1] * (weight.ndim - 1))
    return (weight / safe).round_().to(torch.int8), scale


def restore(numbers: Tensor, scale: Tensor) -> Tensor:
    """The weights that whole numbers mean, in float32."""
    return numbers.float() * scale.view(-1, *[1] * (numbers.ndim - 1))


def encode(stored: Mapping[str, Tensor], largest: int) -> tuple[dict[str, Tensor], list[TensorEntry], Coding]:
    """Put all int8 tensors into one section, of symbols with common counts: a table a layer is dear in small networks.

    Returns the tensors with that section for those, which they were, and the section's coding.
    """
    whole = {name: tensor for name, tensor in stored.items() if tensor.dtype == torch.int8}
    rest = {name: tensor for name, tensor in stored.items() if name not in whole}
    numbers = [np.empty(0, np.int32), *(each.flatten().numpy().astype(np.int32) for each in whole.values())]
    coding, section = entropy_coding.encode_with_counts(np.concatenate(numbers) + largest)
    entries = [TensorEntry(name=name, shape=list(tensor.shape), dtype="int8") for name, tensor in whole.items()]
    return rest | {SECTION: torch.frombuffer(bytearray(section), dtype=torch.uint8)}, entries, coding


def decode(stored: Mapping[str, Tensor], entries: list[TensorEntry], coding: Coding, largest: int) -> dict[str, Tensor]:
    """The tensors that ``encode`` was given; whoever asks has seen that their size is bearable.

    Raises:
        CorruptData: the section is not that of such tensors.
    """
    sizes = [math.prod(entry.shape) for entry in entries]
    section = stored[SECTION].numpy().tobytes()
    counts, data = entropy_coding.split_counts(section, sum(sizes), 2 * largest + 1)
    numbers = np.empty(sum(sizes), np.int8)
    start = 0
    for chunk in entropy_coding.decode(coding, data, counts):
        numbers[start : start + len(chunk)] = chunk - largest
        start += len(chunk)
    parts = np.split(numbers, np.cumsum(sizes)[:-1]) if sizes else []
    whole = {entry.name: torch.from_numpy(part).view(entry.shape) for entry, part in zip(entries, parts, strict=True)}
    return {name: tensor for name, tensor in stored.items() if name != SECTION} | whole


def check(shapes: Mapping[str, list[int]], dtypes: Mapping[str, str], entries: list[TensorEntry]) -> None:
    """Raise CorruptData where tensors, by safetensors' words, lack the section or scales of these entries."""
    if dtypes.get(SECTION) != "U8" or len(shapes[SECTION]) != 1:
        raise CorruptData("it has no section of coded weights")
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names) or set(names) & shapes.keys():
        raise CorruptData("it names a tensor twice")
    for entry in entries:
        check_scale(entry.name, entry.shape, shapes, dtypes)


def check_scale(name: str, shape: list[int], shapes: Mapping[str, list[int]], dtypes: Mapping[str, Any]) -> None:
    """Raise CorruptData where a quantized weight has no scale for each of its output channels."""
    if dtypes.get(name + SCALE) != "F32" or shapes[name + SCALE] != shape[:1] or len(shape) < 2:
        raise CorruptData(f"{name}: has no scale for each of its output channels")
