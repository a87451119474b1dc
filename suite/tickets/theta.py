"""The survivors' random weights: found again from the seed, and said in as few bits as that takes.

A layer's weights are those of draw 0 (``seed``); or of draw 0 with some signs turned (``signs``: a redraw of
``signed_constant`` changes nothing else); or each is of the last draw that touched it (``draws``). Where none of these
gives the very numbers that the optimizer holds, those that draw 0 does not give are stored (``changed``), or all of
them (``values``), whichever is shorter.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from suite.methods.random import values_at
from suite.tickets import entropy_coding, networks
from suite.tickets.entropy_coding import Coding, CorruptData
from suite.tickets.header import Layer, Source, Theta


class EncodedTheta(NamedTuple):
    """How a layer's survivors are said: the fields of its entry, and the section's bytes."""

    kind: Theta
    coding: Coding
    data: bytes
    turned: int = 0


class ValueSampler(NamedTuple):
    """Where the values of one layer come from."""

    source: Source
    fan_in: float
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


def encode_theta(kept: Tensor, values: Tensor, draw: ValueSampler) -> EncodedTheta:
    """Say the weights ``values`` (k,) of the survivors at logical indices ``kept`` (k,), int64 and ascending."""
    if draw.source.distribution is None:
        return _stored(values)
    first = draw(kept, torch.zeros_like(kept))
    if networks.same_bits(first, values):
        return EncodedTheta("seed", "none", b"")
    turned = first != values
    if draw.source.distribution == "signed_constant" and networks.same_bits(torch.where(turned, -first, first), values):
        symbols = turned.cpu().numpy().astype(np.int32)
        num = int(symbols.sum())
        return EncodedTheta("signs", *entropy_coding.encode(symbols, (len(symbols) - num, num)), turned=num)
    last = last_draws(kept, values, draw)
    if last is None:
        return min(_changed(first, values), _stored(values), key=lambda said: len(said.data))
    return EncodedTheta("draws", *entropy_coding.encode_with_counts(last.cpu().numpy().astype(np.int32)))


class ThetaDecoder:
    """What a section says of a layer's survivors; their weights are made a part at a time, to save memory.

    ``taken`` counts those made so far.

    Raises:
        CorruptData: it is not what ``encode_theta`` writes.
    """

    def __init__(self, layer: Layer, section: bytes, draw: ValueSampler) -> None:
        self._kind, self._draw, self.taken = layer.theta[0], draw, 0
        form, kept = layer.theta[1], layer.kept
        if self._kind == "values":
            self._said = _numbers(section, draw.dtype)
        elif self._kind == "changed":
            end = len(section) - layer.turned * draw.dtype.itemsize
            self._said = _joined(entropy_coding.decode(form, section[:end], _turned_or_not(layer)), kept).bool()
            self._changes = _numbers(section[end:], draw.dtype)
        elif self._kind == "draws":
            counts, rest = entropy_coding.split_counts(section, kept, draw.source.num_draws + 1)
            self._said = _joined(entropy_coding.decode(form, rest, counts), kept)
        elif self._kind == "signs":
            self._said = _joined(entropy_coding.decode(form, section, _turned_or_not(layer)), kept).bool()

    def take(self, index: Tensor) -> Tensor:
        """The weights of the next survivors, at these logical indices."""
        begin, self.taken = self.taken, self.taken + len(index)
        if self._kind == "values":
            return self._said[begin : self.taken]
        if self._kind == "draws":
            return self._draw(index, self._said[begin : self.taken].long())
        first = self._draw(index, torch.zeros_like(index))
        if self._kind == "changed":
            return self._with_changes(first, self._said[begin : self.taken])
        return torch.where(self._said[begin : self.taken], -first, first) if self._kind == "signs" else first

    def _with_changes(self, first: Tensor, is_changed: Tensor) -> Tensor:
        num = int(is_changed.sum())
        first[is_changed], self._changes = self._changes[:num], self._changes[num:]
        return first


def last_draws(kept: Tensor, values: Tensor, draw: ValueSampler) -> Tensor | None:
    """The draw whose value equals each of ``values``: int64 (k,); None where one has no such draw.

    Draw 0 is tried first, since most were never drawn again; then the latest ones.
    """
    found = torch.full_like(kept, -1)
    left = torch.arange(len(kept), device=kept.device)
    for number in (0, *range(draw.source.num_draws, 0, -1)):
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
        return entropy_coding.entropy_bytes(_turned_or_not(layer))
    if kind == "changed":
        return entropy_coding.entropy_bytes(_turned_or_not(layer)) + layer.turned * _item_bytes(layer)
    if kind == "draws":
        return entropy_coding.entropy_bytes(entropy_coding.split_counts(section, layer.kept, source.num_draws + 1)[0])
    return float(length)


def check_length(layer: Layer, source: Source) -> None:
    """Raise CorruptData where a section's length cannot be right: before any memory is taken."""
    kind, form, length = layer.theta
    if kind == "seed":
        fits = form == "none" and length == 0
    elif kind == "values":
        fits = form == "raw" and length == layer.kept * _item_bytes(layer)
    elif kind == "draws":
        fits = length <= 5 * 4 * (source.num_draws + 1) + 16 + layer.kept * 4
    elif kind == "changed":
        entropy_coding.check_length(form, length - layer.turned * _item_bytes(layer), _turned_or_not(layer))
        fits = True
    else:
        entropy_coding.check_length(form, length, _turned_or_not(layer))
        fits = source.distribution == "signed_constant"
    if not fits:
        raise CorruptData(f"{length} bytes cannot be its weights ({kind}, {form})")


def _stored(values: Tensor) -> EncodedTheta:
    return EncodedTheta("values", "raw", networks.bytes_of(values))


def _changed(first: Tensor, values: Tensor) -> EncodedTheta:
    """Which weights draw 0 does not give bit for bit, and what they are."""
    whole = {torch.float32: torch.int32, torch.float64: torch.int64}[values.dtype]
    is_changed = first.view(whole) != values.contiguous().view(whole)
    symbols = is_changed.cpu().numpy().astype(np.int32)
    num = int(symbols.sum())
    coding, bits = entropy_coding.encode(symbols, (len(symbols) - num, num))
    return EncodedTheta("changed", coding, bits + networks.bytes_of(values[is_changed]), turned=num)


def _turned_or_not(layer: Layer) -> tuple[int, int]:
    """How many survivors have the sign or value that the seed gives them, and how many another one."""
    return layer.kept - layer.turned, layer.turned


def _numbers(section: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(section), dtype=dtype) if section else torch.empty(0, dtype=dtype)


def _item_bytes(layer: Layer) -> int:
    return 8 if layer.drawn_dtype == "float64" else 4


def _joined(chunks: Iterable[entropy_coding.Symbols], num: int) -> Tensor:
    out = torch.empty(num, dtype=torch.int32)
    start = 0
    for chunk in chunks:
        out[start : start + len(chunk)] = torch.from_numpy(chunk)
        start += len(chunk)
    return out
