"""What the loops for CPUs read of a list of layers, kept between steps: addresses, sizes, bands around thresholds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import is_
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from suite.config import RankBy
from suite.methods.random import Stream
from suite.methods.update.compiled import Kind
from suite.methods.update.layout import have_same_strides, inner_sizes, match_strides
from suite.methods.update.loops import table as t
from suite.methods.update.plain import Redraw, Theta, keep_mask, num_pruned, redraw_all_, write_effective_
from suite.methods.update.signs import Signs, storage_of

_NEAR = 1 / 256  # a change of sparsity, as a schedule makes it in a step, after which a threshold is near its last one
LOOPED = ("signed_constant", "kaiming_uniform")
_RANGES = {"signed_constant": (2, 1.0), "kaiming_uniform": (6, 2.0**-23)}  # sqrt(first / fan_in) * second


class Layers(NamedTuple):
    """The tensors of a step, one of each list a layer."""

    params: Sequence[Tensor]
    thetas: Sequence[Theta]
    scores: Sequence[Tensor]
    momenta: Sequence[Tensor]

    @property
    def kind(self) -> Kind | None:
        """What loops they need; None where none can take them: another device or dtype, or a mixture, or a layer whose
        tensors differ in their layout.
        """
        dense = (*self.params, *self.scores, *self.momenta)
        kinds = {(tensor.dtype, tensor.device.type) for tensor in dense}
        kinds |= {(theta.dtype, storage_of(theta).device.type) for theta in self.thetas}
        packed = {isinstance(theta, Signs) for theta in self.thetas}
        dtype, device = next(iter(kinds))
        if len(kinds) > 1 or len(packed) > 1 or device != "cpu" or dtype not in (torch.float32, torch.float64):
            return None
        return Kind(dtype, *packed) if all(have_same_strides(*layer) for layer in zip(*self, strict=True)) else None


class _Found(NamedTuple):
    """What a plan was made of; cheap to compare at each step."""

    tensors: Sequence[Tensor]
    addresses: list[int]
    strides: list[tuple[int, ...]]
    params: list[tuple[int, torch.dtype]]

    @classmethod
    def of(cls, layers: Layers) -> "_Found":
        thetas = [theta.bits if isinstance(theta, Signs) else theta for theta in layers.thetas]
        tensors = (*layers.params, *layers.scores, *layers.momenta, *thetas)
        addresses = [tensor.data_ptr() for tensor in tensors]
        strides = [param.stride() for param in layers.params]  # of the state only a new tensor or storage changes them
        return cls(tensors, addresses, strides, [(param.numel(), param.dtype) for param in layers.params])

    def equals(self, other: "_Found") -> bool:
        return self[1:] == other[1:] and all(map(is_, self.tensors, other.tensors))


class Plan:
    """The tables of ``loops.table`` for some layers; about 300 bytes a layer, and a byte for 16 weights of the largest.

    ``is_of`` must hold before each use.
    """

    def __init__(self, layers: Layers) -> None:
        self.kind = layers.kind
        self._strides = [score.stride() for score in layers.scores]
        self.num_weights = sum(score.numel() for score in layers.scores)
        self._found = _Found.of(layers)
        self.ready_case: Any = None  # the kind of step that was last found to have a compiled loop, and the loop
        self.ready_update: Callable[..., int] | None = None
        self._sparsity = math.nan
        num, sizes = len(layers.scores), [score.numel() for score in layers.scores]
        self._table = np.zeros((t.ROWS, num), dtype=np.int64)
        self._numbers = np.zeros((t.NUMBERS, num))
        self._scratch = np.empty(t.scratch_bytes(max(sizes)), dtype=np.uint8)
        self._at = self._table.ctypes.data, num, self._numbers.ctypes.data, self._scratch.ctypes.data
        rows = {t.PARAM: layers.params, t.THETA: [storage_of(theta) for theta in layers.thetas]}
        rows |= {t.SCORE: layers.scores, t.MOMENTUM: layers.momenta}
        for row, tensors in rows.items():
            self._table[row] = [tensor.data_ptr() for tensor in tensors]
        self._table[t.SIZE] = sizes
        self._table[[t.CHANNELS, t.PIXELS]] = np.transpose([inner_sizes(score) for score in layers.scores])
        self._numbers[t.CONSTANT] = [theta.constant if isinstance(theta, Signs) else 0 for theta in layers.thetas]

    def is_of(self, layers: Layers) -> bool:
        """Whether the plan still holds for these layers."""
        return self._found.equals(_Found.of(layers))

    def set_sparsity(self, sparsity: float) -> None:
        """How many weights each layer prunes from now on; the bands of quite another sparsity are forgotten."""
        if sparsity == self._sparsity:
            return
        is_near = abs(sparsity - self._sparsity) < _NEAR
        self._sparsity = sparsity
        self._table[t.NUM_PRUNED] = [num_pruned(int(size), sparsity) for size in self._table[t.SIZE]]
        if not is_near:  # also the first one: it was NaN
            self._numbers[t.MIDDLE] = math.nan
            self._numbers[t.HALF] = 0.0

    @property
    def bands(self) -> Any:
        """A view: each layer's last threshold, and half the width of its band: float64, (2, layers)."""
        return self._numbers[t.MIDDLE : t.HALF + 1]

    @property
    def num_ranked(self) -> int:
        """How often a whole layer was ranked."""
        return int(self._table[t.NUM_RANKED].sum())

    def update(
        self,
        loop: Callable[..., int],
        layers: Layers,
        grads: Sequence[Tensor],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        rank_by: RankBy,
        scale: float | None,
    ) -> None:
        """One step over all layers."""
        if [grad.stride() for grad in grads] != self._strides:
            grads = [match_strides(score, grad) for grad, score in zip(grads, layers.scores, strict=True)]
        self._table[t.GRAD] = [grad.data_ptr() for grad in grads]
        flags = t.ABSOLUTE * (rank_by == "abs_scores") | t.SCALED * (scale is not None)
        flags |= t.DECAYS * (weight_decay != 0) | t.HAS_MOMENTUM * (momentum != 0)
        if loop(*self._at, flags, -lr, momentum, weight_decay, scale or 0.0):
            for i in self._undecided():
                mask = keep_mask(layers.scores[i], self._sparsity, rank_by)
                write_effective_(layers.params[i], layers.thetas[i], mask)

    def redraw(self, loop: Callable[..., int], layers: Layers, redraw: Redraw, rank_by: RankBy) -> None:
        """Draw pruned weights of each layer again, as ``plain.redraw_all_``, from a distribution in ``LOOPED``."""
        variance, unit = _RANGES[redraw.distribution]
        self._numbers[t.BOUND] = [math.sqrt(variance / fan_in) * unit for fan_in in redraw.fan_ins]
        self._table[t.PARAMETER] = redraw.parameters
        flags = t.ABSOLUTE * (rank_by == "abs_scores") | t.SIGNED * (redraw.distribution == "signed_constant")
        limit = math.ceil(redraw.prob * 2**32)  # the integers below prob * 2^32
        if loop(*self._at, flags, limit, redraw.seed, Stream.VALUES, Stream.REDRAW, redraw.draw):
            for i in self._undecided():
                one = replace(redraw, fan_ins=[redraw.fan_ins[i]], parameters=[redraw.parameters[i]])
                redraw_all_([layers.thetas[i]], [layers.scores[i]], self._sparsity, rank_by, one)

    def _undecided(self) -> list[int]:
        return [int(layer) for layer in np.flatnonzero(self._table[t.UNDECIDED])]
