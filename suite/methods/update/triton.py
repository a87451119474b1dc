"""The form for GPUs: equal to ``plain`` bit for bit, two launches a step for all layers, no wait of the host.

The first kernel makes one pass over memory as ``tracking`` does, the second one finds the exact masks; see ``kernels``.
A step can be captured in a CUDA graph once a step was taken outside. A redraw takes a launch a layer, and a sort.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from suite.config import RankBy
from suite.methods.random import Stream
from suite.methods.update import kernels, plain
from suite.methods.update.plain import Redraw, Theta, Thresholds, keep_mask, num_pruned, redraw_, score_grad_scale
from suite.methods.update.signs import Signs, unpacked

_BLOCK = 2048  # weights of one program of the pass
_OPTIONS = {"num_warps": 8, "enable_fp_fusion": False}  # a multiply-add is fused where a kernel says so, only there
_SEARCHED = 4096  # weights that a program which searches looks at in one go
_HELPERS = 128  # programs in each phase of a search over whole layers: about one for each multiprocessor
_PHASES = 9  # one for each digit of a place, and one that writes
_BAND_ROOM = 32  # of so many weights one may lie in the band
_NARROW = 0.004  # half a first band, in standard deviations of the ranks: 0.2 % to 0.3 % of a layer
_LARGEST = 2**31 - _BLOCK  # weights in a layer: positions are 32 bits wide

_Layer = tuple[Tensor, Tensor, Theta, Tensor, Tensor]


@dataclass
class Plan:
    """What the kernels need of a list of layers beside their weights: about 8 KiB a layer."""

    key: tuple[Any, ...]
    addresses: tuple[int, ...]
    table: Tensor  # int64 (5, layers): where parameters, gradients, thetas, scores and momenta lie
    chunk_layer: Tensor
    chunk_start: Tensor
    sizes: Tensor
    channels: Tensor
    pixels: Tensor
    wanted: Tensor
    constants: Tensor
    bands: Tensor  # float32 (layers, 2): middle and half width
    counts: Tensor  # int32 (layers, 2): below the band, and in it; 0 between steps
    histograms: Tensor
    sync: Tensor
    band_start: Tensor
    band_room: Tensor
    room: int
    wide: bool  # whether four numbers can be read at once: sizes and addresses are multiples of so many
    sources: list[Tensor]  # of copies to the device, which may be under way


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
    """One step in place, as ``plain.masked_sgd_``. ``lr`` as a tensor on the device is read when the kernel runs."""
    settings: dict[str, Any] = dict(momentum=momentum, weight_decay=weight_decay, rank_by=rank_by)
    if not _are_fit(params, grads, thetas, scores, momenta):
        lists = (params, grads, thetas, scores, momenta, thresholds)
        plain.masked_sgd_(*lists, sparsity=sparsity, lr=lr, max_norm=max_norm, redraw=redraw, **settings)
        return
    with _on(scores[0].device):
        if redraw is not None:
            for i, (theta, score) in enumerate(zip(thetas, scores, strict=True)):
                _redraw(theta, score, ~keep_mask(score, sparsity, rank_by), redraw, i)
        scale = None if max_norm is None else score_grad_scale(grads, thetas, scores, rank_by, max_norm)
        grads = [_laid_as(score, grad) for grad, score in zip(grads, scores, strict=True)]
        plan = _plan(params, grads, thetas, scores, momenta, thresholds, sparsity, rank_by)
        _launch(plan, isinstance(thetas[0], Signs), lr, scale, **settings)


def _launch(
    plan: Plan,
    packed: bool,
    lr: float | Tensor,
    scale: Tensor | None,
    *,
    momentum: float,
    weight_decay: float,
    rank_by: RankBy,
) -> None:
    on_device = isinstance(lr, Tensor) and lr.device == plan.table.device
    band_rank = torch.empty(plan.room, dtype=torch.float32, device=plan.table.device)
    band_position = torch.empty(plan.room, dtype=torch.int32, device=plan.table.device)
    num = len(plan.sizes)
    kernels.update[(len(plan.chunk_layer),)](
        plan.table,
        num,
        plan.chunk_layer,
        plan.chunk_start,
        plan.sizes,
        plan.constants,
        plan.bands,
        plan.counts,
        plan.histograms,
        band_rank,
        band_position,
        plan.band_start,
        plan.band_room,
        lr if on_device else -float(lr),
        momentum,
        weight_decay,
        plan.bands if scale is None else scale,
        BLOCK=_BLOCK,
        RATE_IS_TENSOR=on_device,
        ABSOLUTE=rank_by == "abs_scores",
        SCALED=scale is not None,
        DECAYS=weight_decay != 0,
        HAS_MOMENTUM=momentum != 0,
        PACKED=packed,
        WIDE=plan.wide,
        **_OPTIONS,
    )
    kernels.settle[(num + _PHASES * _HELPERS,)](
        plan.table,
        num,
        plan.sizes,
        plan.channels,
        plan.pixels,
        plan.constants,
        plan.bands,
        plan.counts,
        plan.wanted,
        plan.histograms,
        plan.sync,
        band_rank,
        band_position,
        plan.band_start,
        plan.band_room,
        LAYERS=1 << (num - 1).bit_length(),
        HELPERS=_HELPERS,
        BLOCK=_SEARCHED,
        ABSOLUTE=rank_by == "abs_scores",
        PACKED=packed,
        **_OPTIONS,
    )


def _redraw(theta: Theta, score: Tensor, pruned: Tensor, redraw: Redraw, layer: int) -> None:
    if redraw.distribution == "kaiming_normal":  # the same on every device only if computed on the CPU
        drawn = unpacked(theta)
        redraw_(drawn, pruned, redraw, layer)
        return
    bound = math.sqrt((2 if redraw.distribution == "signed_constant" else 6) / redraw.fan_ins[layer])
    channels, pixels = _inner(score)
    kernels.redraw[(-(-score.numel() // _BLOCK),)](
        theta.bits if isinstance(theta, Signs) else theta,
        _laid_as(score, pruned).view(torch.uint8),
        score.numel(),
        channels,
        pixels,
        redraw.seed | Stream.VALUES << 32,
        redraw.seed | Stream.REDRAW << 32,
        redraw.draw,
        redraw.parameters[layer],
        math.ceil(redraw.prob * 2**32),
        bound if redraw.distribution == "signed_constant" else bound * 2**-23,
        BLOCK=_BLOCK,
        SIGNED=redraw.distribution == "signed_constant",
        PACKED=isinstance(theta, Signs),
        **_OPTIONS,
    )


def _are_fit(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    thetas: Sequence[Theta],
    scores: Sequence[Tensor],
    momenta: Sequence[Tensor],
) -> bool:
    """Whether the kernels can take these lists: float32, and each layer's tensors alike in memory."""
    dtypes = {tensor.dtype for tensors in (params, grads, thetas) for tensor in tensors}
    if dtypes != {torch.float32} or len({type(theta) for theta in thetas}) > 1:
        return False
    layers = zip(params, thetas, scores, momenta, strict=True)
    return all(score.numel() < _LARGEST and _lie_alike(p, t, score, m) for p, t, score, m in layers)


def _lie_alike(param: Tensor, theta: Theta, score: Tensor, buffer: Tensor) -> bool:
    stride = theta.stride if isinstance(theta, Signs) else theta.stride()
    return param.stride() == stride == score.stride() == buffer.stride() and _inner(score) != (0, 0)


def _inner(score: Tensor) -> tuple[int, int]:
    """Channels and pixels of one output unit where memory holds pixels of channels; (1, 1) where it is as the index."""
    if score.is_contiguous():
        return 1, 1
    if score.ndim == 4 and score.is_contiguous(memory_format=torch.channels_last):
        return score.shape[1], score.shape[2] * score.shape[3]
    return 0, 0


def _laid_as(score: Tensor, tensor: Tensor) -> Tensor:
    """``tensor`` itself, or a copy that lies in memory as ``score`` does."""
    return tensor if tensor.stride() == score.stride() else torch.empty_like(score, dtype=tensor.dtype).copy_(tensor)


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _plan(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    thetas: Sequence[Theta],
    scores: Sequence[Tensor],
    momenta: Sequence[Tensor],
    thresholds: Thresholds,
    sparsity: float,
    rank_by: RankBy,
) -> Plan:
    """The plan of the last step where it still holds, with the addresses of this step's gradients."""
    known = [*(p.data_ptr() for p in params), *(_storage(t).data_ptr() for t in thetas)]
    state = [*(s.data_ptr() for s in scores), *(m.data_ptr() for m in momenta)]
    key = (*known, *state, sparsity, rank_by)
    plan: Plan | None = thresholds.get("plan")
    if plan is None or plan.key != key:
        plan = thresholds["plan"] = _new_plan(key, thetas, scores, sparsity, rank_by)
    num = len(params)
    addresses = (*known[:num], *(g.data_ptr() for g in grads), *known[num:], *state)
    if plan.addresses != addresses:
        plan.addresses = addresses
        plan.wide = all(address % 16 == 0 for address in addresses) and all(score.numel() % 4 == 0 for score in scores)
        _send(plan, torch.tensor(addresses, dtype=torch.int64).view(5, num))
    return plan


def _send(plan: Plan, table: Tensor) -> None:
    """Copy without a wait; a graph that is being captured reads the source each time it is replayed."""
    if plan.table.device.type == "cuda":
        table = table.pin_memory()
        plan.sources = [*plan.sources, table] if torch.cuda.is_current_stream_capturing() else [table]
    plan.table.copy_(table, non_blocking=True)


def _storage(theta: Theta) -> Tensor:
    return theta.bits if isinstance(theta, Signs) else theta


def _new_plan(
    key: tuple[Any, ...], thetas: Sequence[Theta], scores: Sequence[Tensor], sparsity: float, rank_by: RankBy
) -> Plan:
    device, num = scores[0].device, len(scores)
    sizes = [score.numel() for score in scores]
    chunks = [(layer, start) for layer, size in enumerate(sizes) for start in range(0, size, _BLOCK)]
    wanted = [num_pruned(size, sparsity) for size in sizes]
    rooms = [size // _BAND_ROOM + 64 for size in sizes]
    firsts = [sum(rooms[:layer]) for layer in range(num)]

    def ints(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    return Plan(
        key=key,
        addresses=(),
        table=torch.zeros((5, num), dtype=torch.int64, device=device),
        chunk_layer=ints([layer for layer, _ in chunks]),
        chunk_start=ints([start for _, start in chunks]),
        sizes=ints(sizes),
        channels=ints([_inner(score)[0] for score in scores]),
        pixels=ints([_inner(score)[1] for score in scores]),
        wanted=ints(wanted),
        constants=torch.tensor([t.constant if isinstance(t, Signs) else 0.0 for t in thetas], device=device),
        bands=_first_bands(scores, wanted, rank_by),
        counts=torch.zeros((num, 2), dtype=torch.int32, device=device),
        histograms=torch.zeros((num, 8 * 256), dtype=torch.int32, device=device),
        sync=torch.zeros(2 + _PHASES, dtype=torch.int32, device=device),
        band_start=torch.tensor(firsts, dtype=torch.int64, device=device),
        band_room=ints(rooms),
        room=sum(rooms),
        wide=False,
        sources=[],
    )


def _first_bands(scores: Sequence[Tensor], wanted: Sequence[int], rank_by: RankBy) -> Tensor:
    """Nothing is known of a middle; where nothing is pruned it lies below all."""
    widths = torch.stack([(s if rank_by == "scores" else s.abs()).float().std(correction=0) for s in scores]) * _NARROW
    middles = torch.tensor([math.nan if num else -math.inf for num in wanted], device=widths.device)
    widths = torch.where(torch.isfinite(widths) & torch.isnan(middles), widths, 0.0)
    return torch.stack([middles, widths], dim=1).contiguous()
