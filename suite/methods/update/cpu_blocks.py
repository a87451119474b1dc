"""The step of ``cpu`` without a compiler: torch's operations on blocks of a layer, each as long as a cache holds it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from suite.config import RankBy
from suite.methods.update.layout import have_same_strides, logical_index, match_strides
from suite.methods.update.plain import (
    Redraw,
    Theta,
    Thresholds,
    keep_above,
    num_pruned,
    redraw_all_,
    score_grad_scale,
    update_layer_,
    write_effective_,
)
from suite.methods.update.signs import Signs

_Array = npt.NDArray[Any]
_BLOCK = 1 << 18  # weights at once: few enough for a cache, so many that calling Python costs little
_LINE = 64  # numbers; whole lines of a cache, whatever the processor
_BAND_SHARE = 1 / 1024  # of a layer on each side of a threshold of which nothing is known yet
_WORTH_BLOCKS = 1 << 15  # weights of a layer; below, a cache holds all of it anyway
_UNKNOWN = (math.nan, 0.0)  # a threshold's last value, and half the width of its band


# Parameter, gradient, theta, scores, momentum: alike in memory.
LayerTensors = tuple[Tensor, Tensor, Theta, Tensor, Tensor]


@dataclass(frozen=True)
class SgdSettings:
    """The numbers of one step, as ``torch.optim.SGD`` names them; ``scale`` multiplies the scores' gradients."""

    lr: float
    momentum: float
    weight_decay: float
    absolute: bool
    scale: float | None


class ThresholdBand(NamedTuple):
    """A band and what lies in its middle: the last threshold."""

    low: float
    middle: float
    high: float


class Flat(NamedTuple):
    """The tensors of one layer as (n,), in the order of their memory."""

    param: Tensor
    grad: Tensor
    theta: Theta
    score: Tensor
    buffer: Tensor


class Block(NamedTuple):
    """Some of a layer, as long as the cache holds it."""

    param: Tensor
    grad: Tensor
    theta: Tensor
    score: Tensor
    buffer: Tensor


class Band(NamedTuple):
    """Weights whose rank lies in [low, high], each (k,): where in memory, their ranks, their theta."""

    position: _Array
    rank: _Array
    theta: _Array


def masked_sgd_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    thetas: Sequence[Theta],
    scores: Sequence[Tensor],
    momenta: Sequence[Tensor],
    thresholds: Thresholds,
    *,
    sparsity: float,
    lr: float | Tensor,
    momentum: float,
    weight_decay: float,
    rank_by: RankBy,
    max_norm: float | None = None,
    redraw: Redraw | None = None,
) -> None:
    """One step in place, as ``plain.masked_sgd_``; ``thresholds`` keeps (middle, half width) of a band by parameter."""
    if redraw is not None:
        redraw_all_(thetas, scores, redraw.sparsity_in_force(sparsity), rank_by, redraw)
    scale = None if max_norm is None else score_grad_scale(grads, thetas, scores, rank_by, max_norm)
    settings: dict[str, Any] = dict(lr=float(lr), momentum=momentum, weight_decay=weight_decay)
    sgd = SgdSettings(**settings, absolute=rank_by == "abs_scores", scale=None if scale is None else float(scale))
    for layer in zip(params, grads, thetas, scores, momenta, strict=True):
        param, grad, theta, score, buffer = layer
        if param.numel() >= _WORTH_BLOCKS and have_same_strides(param, theta, score, buffer):
            alike = (param, match_strides(score, grad), theta, score, buffer)
            _update_layer(alike, num_pruned(param.numel(), sparsity), sgd, thresholds)
        else:
            update_layer_(*layer, **settings, sparsity=sparsity, rank_by=rank_by, scale=scale)


def _update_layer(layer: LayerTensors, count: int, sgd: SgdSettings, thresholds: Thresholds) -> None:
    param, _, theta, score, _ = layer
    middle, half = thresholds.get(param, _UNKNOWN) if count else (-math.inf, 0.0)
    last = _by_blocks(layer, ThresholdBand(middle - half, middle, middle + half), count, sgd)
    if math.isnan(last):
        last, half = _select_in_whole_layer(param, theta, score, count, sgd.absolute)
    else:
        half *= 0.95
    half = half if math.isnan(middle) else max(half, 4 * abs(last - middle))
    thresholds[param] = (last, half) if math.isfinite(half) else _UNKNOWN


def _by_blocks(layer: LayerTensors, around: ThresholdBand, count: int, sgd: SgdSettings) -> float:
    """The rank of the last pruned weight; NaN where the whole layer is to be ranked."""
    flat = _flat(*layer)
    num_below, band = _one_pass(flat, around, sgd)
    if not 0 <= count - num_below <= band.position.size:
        return math.nan
    return _select_in_band(flat.param, layer[3], band, count - num_below, around.middle)


def _one_pass(layer: Flat, around: ThresholdBand, sgd: SgdSettings) -> tuple[int, Band]:
    """Update a layer, and write its weights as if all ranks up to the middle were pruned; how many ranks are below the
    band, and those in it.
    """
    room = torch.empty(min(_BLOCK, len(layer.score)), dtype=layer.score.dtype)
    num_below, bands = 0, []
    for start, block in _blocks(layer):
        _sgd_step(block, room[: len(block.score)], sgd)
        ranks = block.score.abs() if sgd.absolute else block.score
        _write_above(block, ranks, around.middle, room[: len(ranks)])
        values = ranks.numpy()
        below = values < values.dtype.type(around.low)
        num_below += int(np.count_nonzero(below))
        inside = np.flatnonzero((values <= values.dtype.type(around.high)) ^ below)
        bands.append((inside + start, values[inside], block.theta.numpy()[inside]))
    return num_below, Band(*map(np.concatenate, zip(*bands, strict=True)))


def _blocks(layer: Flat) -> Iterator[tuple[int, Block]]:
    params, grads, scores, buffers = (
        torch.split(t, _BLOCK) for t in (layer.param, layer.grad, layer.score, layer.buffer)
    )
    for i, start in enumerate(range(0, len(layer.score), _BLOCK)):
        num, theta = len(scores[i]), layer.theta
        some = theta.block(start, num) if isinstance(theta, Signs) else theta[start : start + num]
        yield start, Block(params[i], grads[i], some, scores[i], buffers[i])


def _sgd_step(block: Block, step: Tensor, sgd: SgdSettings) -> None:
    """SGD on the scores of a block; ``step`` is room for as many numbers."""
    torch.mul(block.grad.to(step.dtype), block.theta, out=step)
    if sgd.absolute:
        step.mul_(block.score.sign())
    if sgd.scale is not None:
        step.mul_(sgd.scale)
    whole = len(step) - len(step) % _LINE if _fuses_alike(step.dtype, torch.get_num_threads()) else 0
    if whole:
        _sgd_fused(block.score[:whole], step[:whole], block.buffer[:whole], sgd)
    if whole < len(step):
        _sgd_by_operations(block.score[whole:], step[whole:], block.buffer[whole:], sgd)


def _sgd_by_operations(score: Tensor, step: Tensor, buffer: Tensor, sgd: SgdSettings) -> None:
    """The operations of ``plain``, in its order."""
    if sgd.weight_decay != 0:
        step.add_(score, alpha=sgd.weight_decay)
    if sgd.momentum != 0:
        step = buffer.mul_(sgd.momentum).add_(step)
    score.add_(step, alpha=-sgd.lr)


def _sgd_fused(score: Tensor, step: Tensor, buffer: Tensor, sgd: SgdSettings) -> None:
    """The same in one operation: that of ``torch.optim.SGD(fused=True)``."""
    torch._fused_sgd_(
        [score],
        [step],
        [buffer] if sgd.momentum != 0 else [],
        weight_decay=sgd.weight_decay,
        momentum=sgd.momentum,
        lr=sgd.lr,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


@cache
def _fuses_alike(dtype: torch.dtype, num_threads: int) -> bool:
    """Whether torch's fused operation rounds as the single ones do, on an example of whole cache lines.

    At the end of a line it may not: there its compiler joins the two roundings of the momentum to one.
    """
    sgd = SgdSettings(0.1, 0.9, 5e-4, absolute=False, scale=None)
    example = torch.randn(3, 1 << 17, dtype=dtype, generator=torch.Generator().manual_seed(1))
    results = []
    for form in (_sgd_fused, _sgd_by_operations):
        score, step, buffer = example.clone()
        form(score, step, buffer, sgd)
        results.append(torch.stack([score, buffer]))
    return torch.equal(*results)


def _write_above(block: Block, ranks: Tensor, threshold: float, room: Tensor) -> None:
    """``param = 0 if rank <= threshold else theta``: a ReLU's backward pass, many times faster than where."""
    out = block.param if block.param.dtype == room.dtype else room
    torch.ops.aten.threshold_backward.grad_input(block.theta, ranks, threshold, grad_input=out)
    if out is room:
        block.param.copy_(room)


def _flat(param: Tensor, grad: Tensor, theta: Theta, score: Tensor, buffer: Tensor) -> Flat:
    size, stride = (score.numel(),), (1,)
    flat = [tensor.as_strided(size, stride) for tensor in (param.detach(), grad.detach(), score, buffer)]
    whole = theta if isinstance(theta, Signs) else theta.as_strided(size, stride)
    return Flat(flat[0], flat[1], whole, flat[2], flat[3])


def _select_in_band(param: Tensor, score: Tensor, band: Band, num: int, middle: float) -> float:
    """Prune the ``num`` lowest of the band and keep the others, most being so already; the rank of the last pruned."""
    keep, last = np.ones(band.rank.size, dtype=np.bool_), middle
    if num:
        last = np.partition(band.rank, num - 1)[num - 1]
        keep = band.rank > last
        if np.count_nonzero(keep) < keep.size - num:  # of those that are equal to the last pruned one, some stay
            order = slice(None) if score.is_contiguous() else np.argsort(logical_index(band.position, score))
            band = Band(*(part[order] for part in band))
            keep = keep_above(band.rank, last, num)
    wrong = np.flatnonzero(keep ^ (band.rank > band.rank.dtype.type(middle)))
    values = np.where(keep[wrong], band.theta[wrong], 0)
    if param.dtype == score.dtype:
        param.numpy()[band.position[wrong]] = values
    else:
        param[torch.from_numpy(band.position[wrong])] = torch.from_numpy(values).to(param.dtype)
    return float(last)


def _select_in_whole_layer(
    param: Tensor, theta: Theta, score: Tensor, count: int, absolute: bool
) -> tuple[float, float]:
    """Select over the whole layer, and find a band that holds a small share of it."""
    if count == 0:
        write_effective_(param, theta, torch.ones_like(score, dtype=torch.bool))
        return _UNKNOWN
    values = (score.abs() if absolute else score).reshape(-1).numpy()
    width = math.ceil(values.size * _BAND_SHARE)
    parted = np.partition(values, count - 1)
    lower, threshold, upper = parted[:count], float(parted[count - 1]), parted[count - 1 :]
    write_effective_(param, theta, torch.from_numpy(keep_above(values, threshold, count)).view(score.shape))
    low = float(np.partition(lower, max(count - 1 - width, 0))[max(count - 1 - width, 0)])
    high = float(np.partition(upper, min(width, upper.size - 1))[min(width, upper.size - 1)])
    half = max(threshold - low, high - threshold)
    return threshold, half if math.isfinite(half) else 0.0
