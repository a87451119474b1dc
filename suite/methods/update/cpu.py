"""The form for CPUs: equal to ``plain`` bit for bit, and one pass over memory instead of ten.

A threshold moves little in one step. So while a block of a layer is in the cache, its updated ranks are compared with
a narrow band around the last threshold: those below it are counted, those inside it are noted. If the rank that is
looked for falls into the band, the selection among the few noted ones is the exact one; if not, the whole layer is
ranked. ``loops`` has this as loops for a compiler; where there is none, ``cpu_blocks`` does it by torch's operations.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from suite.config import Distribution, RankBy
from suite.methods.update import compiled, cpu_blocks, plain
from suite.methods.update.compiled import Kind
from suite.methods.update.cpu_plan import LOOPED, Layers, Plan
from suite.methods.update.plain import Redraw, Theta, Thresholds, redraw_all_, score_grad_scale
from suite.methods.update.reference_check import matches_reference

Function = Callable[..., int]

_PLAN = "plan"  # its key among the hints
_CPU = torch.device("cpu")


def masked_sgd_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    thetas: Sequence[Theta],
    scores: Sequence[Tensor],
    momenta: Sequence[Tensor],
    thresholds: Thresholds,
    *,
    redraw: Redraw | None = None,
    **settings: Any,
) -> None:
    """One step in place, as ``plain.masked_sgd_``; ``thresholds`` keeps a plan between steps."""
    layers = Layers(params, thetas, scores, momenta)
    plan = _plan_of(layers, thresholds)
    update = _update_loop(plan, grads, **settings)
    if update is None:
        cpu_blocks.masked_sgd_(params, grads, thetas, scores, momenta, thresholds, redraw=redraw, **settings)
        return
    redraw_loop = None if redraw is None else _redraw_loop(plan, redraw.distribution, settings["rank_by"])
    _by_loops(plan, layers, grads, update, redraw_loop, redraw, **settings)


def prepare(layers: Layers, distribution: Distribution | None, **settings: Any) -> None:
    """Load or compile what steps over these layers need; ``distribution`` is that of redraws, None without them."""
    plan = Plan(layers)
    _update_loop(plan, layers.scores, **settings)
    if distribution is not None:
        _redraw_loop(plan, distribution, settings["rank_by"])


def _plan_of(layers: Layers, thresholds: Thresholds) -> Plan:
    plan: Plan | None = thresholds.get(_PLAN)
    if plan is None or not plan.is_of(layers):
        plan = thresholds[_PLAN] = Plan(layers)
    return plan


def _by_loops(
    plan: Plan,
    layers: Layers,
    grads: Sequence[Tensor],
    update: Function,
    redraw_loop: Function | None,
    redraw: Redraw | None,
    *,
    sparsity: float,
    lr: float | Tensor,
    momentum: float,
    weight_decay: float,
    rank_by: RankBy,
    max_norm: float | None = None,
) -> None:
    if redraw is not None and redraw_loop is not None:
        plan.set_sparsity(redraw.sparsity_in_force(sparsity))
        plan.redraw(redraw_loop, layers, redraw, rank_by)
    elif redraw is not None:
        redraw_all_(layers.thetas, layers.scores, redraw.sparsity_in_force(sparsity), rank_by, redraw)
    plan.set_sparsity(sparsity)
    scale = None
    if max_norm is not None:
        scale = float(score_grad_scale(grads, layers.thetas, layers.scores, rank_by, max_norm))
    sgd: dict[str, Any] = dict(lr=float(lr), momentum=momentum, weight_decay=weight_decay, scale=scale)
    plan.update(update, layers, grads, rank_by=rank_by, **sgd)
    torch.autograd.graph.increment_version(layers.params)  # autograd does not see what is written by address


def _update_loop(
    plan: Plan,
    grads: Sequence[Tensor],
    *,
    momentum: float,
    weight_decay: float,
    rank_by: RankBy,
    max_norm: float | None = None,
    **others: Any,
) -> Function | None:
    """The compiled update for these layers and settings; None where there is none now."""
    kind = plan.kind
    if kind is None or any(grad.dtype is not kind.dtype or grad.layout is not torch.strided for grad in grads):
        return None
    case = (rank_by, momentum != 0, weight_decay != 0, max_norm is not None)
    if case == plan.ready_case:
        return plan.ready_update
    loop = compiled.loop("update", kind)
    update = loop.get(plan.num_weights, case, partial(_update_equals_plain, kind, *case))
    if update is not None:
        plan.ready_case, plan.ready_update = case, update
    return update


def _redraw_loop(plan: Plan, distribution: Distribution, rank_by: RankBy) -> Function | None:
    kind = plan.kind
    if kind is None or distribution not in LOOPED:
        return None
    case = (rank_by, distribution)
    loop = compiled.loop("redraw", kind)
    return loop.get(plan.num_weights, case, partial(_redraw_equals_plain, kind, *case))


def _update_equals_plain(
    kind: Kind, rank_by: RankBy, has_momentum: bool, decays: bool, clips: bool, update: Function
) -> bool:
    def form(*lists: Any, redraw: Redraw | None, **settings: Any) -> None:
        params, grads, thetas, scores, momenta, thresholds = lists
        layers = Layers(params, thetas, scores, momenta)
        _by_loops(_plan_of(layers, thresholds), layers, grads, update, None, redraw, **settings)

    settings: dict[str, Any] = dict(lr=0.1, momentum=0.9 * has_momentum, weight_decay=5e-4 * decays, rank_by=rank_by)
    settings["max_norm"] = 1.0 if clips else None
    return matches_reference(form, _CPU, packed=kind.packed, dtype=kind.dtype, **settings)


def _redraw_equals_plain(kind: Kind, rank_by: RankBy, distribution: Distribution, redraw_loop: Function) -> bool:
    def form(*lists: Any, redraw: Redraw | None, sparsity: float, **settings: Any) -> None:
        params, _, thetas, scores, momenta, thresholds = lists
        layers = Layers(params, thetas, scores, momenta)
        plan = _plan_of(layers, thresholds)
        if redraw is not None:
            plan.set_sparsity(redraw.sparsity_in_force(sparsity))
            plan.redraw(redraw_loop, layers, redraw, rank_by)
        plain.masked_sgd_(*lists, sparsity=sparsity, **settings)

    settings: dict[str, Any] = dict(lr=0.1, momentum=0.9, weight_decay=5e-4, rank_by=rank_by)
    examples: dict[str, Any] = dict(packed=kind.packed, dtype=kind.dtype, distribution=distribution)
    return matches_reference(form, _CPU, **examples, **settings)
