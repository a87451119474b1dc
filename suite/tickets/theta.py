"""The survivors' random weights: found again from the seed, and said in as few bits as that takes.

A layer's weights are those of draw 0 (``seed``); or of draw 0 with some signs turned (``signs``: a redraw of
``signed_constant`` changes nothing else); or each is of the last draw that touched it (``draws``). Where none of these
gives the very numbers that the optimizer holds, they are stored (``values``).
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from suite.methods.random import values_at
from suite.tickets import coding
from suite.tickets.coding import Coding, Garbled
from suite.tickets.header import Layer, Source, Theta

_COUNT = np.dtype("<u4")


class Said(NamedTuple):
    """How a layer's survivors are said: the fields of its entry, and the section's bytes."""

    kind: Theta
    coding: Coding
    data: bytes
    turned: int = 0


class Draw(NamedTuple):
    """Where the values of one layer come from."""

    source: Source
    fan_in: int
    position: int
    dtype: torch.dtype

    def __call__(self, index: Tensor, draw: Tensor) -> Tensor:
        """Values at logical indices, each in a draw of its own: (num,)."""
        assert self.source.distribution is not None
        return values_at(
            index,
            draw,
            self.source.distribution,
            fan_in=self.fan_in,
            seed=self.source.seed,
            parameter=self.position,
            dtype=self.dtype,
        )


def say(kept: Tensor, values: Tensor, draw: Draw) -> Said:
    """Say the weights ``values`` (k,) of the survivors at logical indices ``kept`` (k,), int64 and ascending."""
    if draw.source.distribution is None:
        return _stored(values)
    first = draw(kept, torch.zeros_like(kept))
    if _same(first, values):
        return Said("seed", "none", b"")
    turned = first != values
    if draw.source.distribution == "signed_constant" and _same(torch.where(turned, -first, first), values):
        symbols = turned.cpu().numpy().astype(np.int32)
        num = int(symbols.sum())
        return Said("signs", *coding.encode(symbols, (len(symbols) - num, num)), turned=num)
    last = last_draws(kept, values, draw)
    return _stored(values) if last is None else _said_draws(last.cpu().numpy().astype(np.int32))


def weights(layer: Layer, kept: Tensor, section: bytes, draw: Draw) -> Tensor:
    """The weights (k,) of the survivors at logical indices ``kept`` (k,), from their section.

    Raises:
        Garbled: it is not what ``say`` writes.
    """
    kind, form, _ = layer.theta
    if kind == "values":
        return _read_values(section, len(kept), draw.dtype)
    if kind == "draws":
        return draw(kept, _read_draws(form, section, len(kept), draw.source.num_draws))
    first = draw(kept, torch.zeros_like(kept))
    if kind == "seed":
        return first
    chunks = coding.decode(form, section, (len(kept) - layer.turned, layer.turned))
    return torch.where(_joined(chunks, len(kept)).bool(), -first, first)


def last_draws(kept: Tensor, values: Tensor, draw: Draw) -> Tensor | None:
    """The latest draw whose value equals each of ``values``: int64 (k,); None where one has no such draw."""
    found = torch.full_like(kept, -1)
    left = torch.arange(len(kept), device=kept.device)
    for number in range(draw.source.num_draws, -1, -1):
        some = draw(kept[left], torch.full_like(left, number))
        hit = some == values[left]
        found[left[hit]] = number
        left = left[~hit]
        if not len(left):
            return found
    return None


def entropy_bytes(layer: Layer, source: Source, section: bytes) -> float:
    """What the survivors' weights need at least, each said without regard to the others."""
    kind, _, length = layer.theta
    if kind == "signs":
        return coding.entropy_bytes((layer.kept - layer.turned, layer.turned))
    if kind == "draws":
        return coding.entropy_bytes(_read_counts(section, layer.kept, source.num_draws)[0])
    return float(length)


def check_length(layer: Layer, source: Source) -> None:
    """Raise Garbled where a section's length cannot be right: before any memory is taken."""
    kind, form, length = layer.theta
    if kind == "seed":
        fits = form == "none" and length == 0
    elif kind == "values":
        fits = form == "raw" and length == layer.kept * (8 if layer.dtype == "float64" else 4)
    elif kind == "draws":
        fits = length <= 5 * 4 * (source.num_draws + 1) + 16 + layer.kept * 4
    else:
        coding.check_length(form, length, (layer.kept - layer.turned, layer.turned))
        fits = source.distribution == "signed_constant"
    if not fits:
        raise Garbled(f"{layer.name}: {length} bytes cannot be its weights ({kind}, {form})")


def _stored(values: Tensor) -> Said:
    return Said("values", "raw", values.cpu().contiguous().view(torch.uint8).numpy().tobytes())


def _read_values(section: bytes, num: int, dtype: torch.dtype) -> Tensor:
    if len(section) != num * dtype.itemsize:
        raise Garbled("its weights are not as many as it says")
    return torch.frombuffer(bytearray(section), dtype=dtype) if num else torch.empty(0, dtype=dtype)


def _said_draws(last: coding.Symbols) -> Said:
    """How often each draw is the last one, then which."""
    counts = np.bincount(last)
    head = zlib.compress(counts.astype(_COUNT).tobytes(), 9)
    form, data = coding.encode(last, counts.tolist())
    return Said("draws", form, len(head).to_bytes(4, "little") + head + data)


def _read_draws(form: Coding, section: bytes, num: int, num_draws: int) -> Tensor:
    counts, rest = _read_counts(section, num, num_draws)
    return _joined(coding.decode(form, rest, counts), num)


def _read_counts(section: bytes, num: int, num_draws: int) -> tuple[list[int], bytes]:
    length = int.from_bytes(section[:4], "little")
    unpacker = zlib.decompressobj()
    try:
        head = unpacker.decompress(section[4 : 4 + length], 4 * (num_draws + 1))
    except zlib.error as error:
        raise Garbled(str(error)) from None
    if not unpacker.eof or unpacker.unused_data or len(head) % 4 or len(section) < 4 + length:
        raise Garbled("its count of draws is cut short, or longer than there are draws")
    counts: Sequence[int] = np.frombuffer(head, dtype=_COUNT).tolist()
    if sum(counts) != num:
        raise Garbled("its draws are not as many as its weights")
    return list(counts), section[4 + length :]


def _joined(chunks: Iterable[coding.Symbols], num: int) -> Tensor:
    out = torch.empty(num, dtype=torch.int64)
    start = 0
    for chunk in chunks:
        out[start : start + len(chunk)] = torch.from_numpy(chunk)
        start += len(chunk)
    return out


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal bits, so that -0 is not taken for 0."""
    kind = torch.int64 if one.dtype == torch.float64 else torch.int32
    return torch.equal(one.view(kind), other.view(kind))
