"""Weights of which many are zero: for each layer a mask at its entropy, and its other numbers in logical order."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from suite.tickets import entropy_coding, quantized
from suite.tickets.entropy_coding import Coding, CorruptData
from suite.tickets.header import TensorEntry, Whole

VALUES = ".kept"  # behind the name of a weight: its numbers that are not zero
SECTION = "*masks"  # no module or parameter can have this name
_DTYPES = {"float32": "F32", "bfloat16": "BF16", "int8": "I8"}  # of values, as safetensors names them


class SparseEntry(TensorEntry):
    """A weight that is stored as its mask and the ``kept`` numbers under it, of ``dtype``."""

    kept: Whole
    mask: tuple[Coding, Whole]  # the form and bytes of its part of the section

    @property
    def num(self) -> int:
        """Weights."""
        return math.prod(self.shape)

    @property
    def counts(self) -> tuple[int, int]:
        """How many weights are zero, and how many are kept."""
        return self.num - self.kept, self.kept


def masks_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which numbers of each weight of a network are not +0.0: bool. Weights have 2 dimensions or more."""
    weights = {name: each.detach().cpu().float() for name, each in state.items() if each.is_floating_point()}
    return {name: each.contiguous().view(torch.int32) != 0 for name, each in weights.items() if each.ndim >= 2}


def encode(stored: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[SparseEntry]]:
    """Put the masks into one section and the numbers under them into a tensor a layer, in place of the weights."""
    out, entries, section = dict(stored), [], bytearray()
    for name, mask in masks.items():
        weight, kept = out.pop(name), int(mask.sum())
        symbols = mask.flatten().numpy().astype(np.int32)
        coding, bits = entropy_coding.encode(symbols, (mask.numel() - kept, kept))
        out[name + VALUES] = weight[mask]
        dtype = str(weight.dtype).removeprefix("torch.")
        entries.append(
            SparseEntry(name=name, shape=list(mask.shape), dtype=dtype, kept=kept, mask=(coding, len(bits)))  # type: ignore[arg-type]
        )
        section += bits
    out[SECTION] = torch.frombuffer(section, dtype=torch.uint8) if section else torch.empty(0, dtype=torch.uint8)
    return out, entries


def decode(stored: Mapping[str, Tensor], entries: list[SparseEntry]) -> dict[str, Tensor]:
    """The tensors that ``encode`` was given; whoever asks has seen that their size is bearable.

    Raises:
        CorruptData: the masks are not those of such tensors.
    """
    section, start = stored[SECTION].numpy().tobytes(), 0
    own = {entry.name + VALUES for entry in entries}
    out = {name: tensor for name, tensor in stored.items() if name != SECTION and name not in own}
    for entry in entries:
        coding, length = entry.mask
        values = stored[entry.name + VALUES]
        out[entry.name] = _filled(entry, coding, section[start : start + length], values)
        start += length
    return out


def _filled(entry: SparseEntry, coding: Coding, bits: bytes, values: Tensor) -> Tensor:
    flat, start, taken = torch.zeros(entry.num, dtype=values.dtype), 0, 0
    for chunk in entropy_coding.decode(coding, bits, entry.counts):
        index = torch.from_numpy(np.flatnonzero(chunk) + start)
        if taken + len(index) > entry.kept:
            raise CorruptData(f"{entry.name}: its mask keeps more weights than it says")
        flat[index] = values[taken : taken + len(index)]
        start, taken = start + len(chunk), taken + len(index)
    return flat.view(entry.shape)


def check(shapes: Mapping[str, list[int]], dtypes: Mapping[str, str], entries: list[SparseEntry]) -> None:
    """Raise CorruptData where tensors, by safetensors' words, lack the section, numbers or scales of these entries."""
    if dtypes.get(SECTION) != "U8" or shapes[SECTION] != [sum(entry.mask[1] for entry in entries)]:
        raise CorruptData("it has no section of masks of that length")
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names) or set(names) & shapes.keys():
        raise CorruptData("it names a tensor twice")
    for entry in entries:
        values = entry.name + VALUES
        if (
            entry.kept > entry.num
            or dtypes.get(values) != _DTYPES.get(entry.dtype, "")
            or shapes[values] != [entry.kept]
        ):
            raise CorruptData(f"{entry.name}: has no numbers for each of the weights that it keeps")
        if entry.dtype == "int8":
            quantized.check_scale(entry.name, entry.shape, shapes, dtypes)
        entropy_coding.check_length(*entry.mask, entry.counts)
