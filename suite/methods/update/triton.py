"""The form for GPUs: equal to ``plain`` bit for bit, two launches a step for all layers, no wait of the host.

The first kernel makes one pass over memory as ``cpu`` does, the second one finds the exact masks; see ``kernels``.
A step can be captured in a CUDA graph once a step was taken outside. A redraw takes a launch a layer, and a sort.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from suite.config import RankBy
from suite.methods.random import Stream
from suite.methods.update import kernels, plain
from suite.methods.update.layout import inner_sizes, match_strides
from suite.methods.update.plain import Redraw, Theta, Thresholds, keep_mask, redraw_, score_grad_scale
from suite.methods.update.plan import BLOCK, PHASES, PROGRAMS_PER_PHASE, SEARCHED, Plan, plan_for, table_of
from suite.methods.update.signs import Signs, storage_of, unpacked

_OPTIONS = {"num_warps": 8, "enable_fp_fusion": False}  # a multiply-add is fused where a kernel says so, only there


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
    device = scores[0].device
    plan, addresses = plan_for(params, thetas, scores, momenta, thresholds, sparsity, rank_by)
    if plan is None or any(grad.dtype != torch.float32 or grad.device != device for grad in grads):
        lists = (params, grads, thetas, scores, momenta, thresholds)
        plain.masked_sgd_(*lists, sparsity=sparsity, lr=lr, max_norm=max_norm, redraw=redraw, **settings)
        return
    with _on(device):
        if redraw is not None:
            pruned = redraw.sparsity_in_force(sparsity)
            for i, (theta, score) in enumerate(zip(thetas, scores, strict=True)):
                _redraw(theta, score, ~keep_mask(score, pruned, rank_by), redraw, i)
        scale = None if max_norm is None else score_grad_scale(grads, thetas, scores, rank_by, max_norm)
        grads = [match_strides(score, grad) for grad, score in zip(grads, scores, strict=True)]
        _launch(plan, table_of(plan, addresses, grads), isinstance(thetas[0], Signs), lr, scale, **settings)
    torch.autograd.graph.increment_version(params)  # autograd does not see what is written by address


def _launch(
    plan: Plan,
    table: Tensor,
    packed: bool,
    lr: float | Tensor,
    scale: Tensor | None,
    *,
    momentum: float,
    weight_decay: float,
    rank_by: RankBy,
) -> None:
    on_device = isinstance(lr, Tensor) and lr.device == table.device
    band_rank = torch.empty(plan.room, dtype=torch.float32, device=table.device)
    band_position = torch.empty(plan.room, dtype=torch.int32, device=table.device)
    num = len(plan.sizes)
    kernels.update[(len(plan.chunk_layer),)](
        table,
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
        BLOCK=BLOCK,
        RATE_IS_TENSOR=on_device,
        ABSOLUTE=rank_by == "abs_scores",
        SCALED=scale is not None,
        DECAYS=weight_decay != 0,
        HAS_MOMENTUM=momentum != 0,
        PACKED=packed,
        WIDE=plan.wide,
        **_OPTIONS,
    )
    kernels.select_mask[(num + PHASES * PROGRAMS_PER_PHASE,)](
        table,
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
        PROGRAMS_PER_PHASE=PROGRAMS_PER_PHASE,
        BLOCK=SEARCHED,
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
    channels, pixels = inner_sizes(score)
    kernels.redraw[(-(-score.numel() // BLOCK),)](
        storage_of(theta),
        match_strides(score, pruned).view(torch.uint8),
        score.numel(),
        channels,
        pixels,
        redraw.seed | Stream.VALUES << 32,
        redraw.seed | Stream.REDRAW << 32,
        redraw.draw,
        redraw.parameters[layer],
        math.ceil(redraw.prob * 2**32),
        bound if redraw.distribution == "signed_constant" else bound * 2**-23,
        BLOCK=BLOCK,
        SIGNED=redraw.distribution == "signed_constant",
        PACKED=isinstance(theta, Signs),
        **_OPTIONS,
    )


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
