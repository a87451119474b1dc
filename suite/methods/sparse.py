"""SGD on weights under a mask: what sparse training methods share, and the densities of layers."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from suite.config import Distribution, Scope
from suite.methods.dense_sgd import DTYPES, sgd_
from suite.methods.masked import MaskedOptimizer
from suite.methods.masked_step import dense_step_
from suite.methods.param_groups import RULES, SGD_RULES, check_drawable, check_maskable, check_settings, fan_in_of
from suite.methods.random import draw_values_
from suite.methods.saved_state import like
from suite.methods.update.plain import Thresholds, keep_mask, num_pruned
from suite.methods.update.scope import global_masks
from suite.methods.watch import Held, Watch, known_owners

_Group = dict[str, Any]


class SparseSgd(MaskedOptimizer):
    """SGD on the weights that a mask keeps; the parameters hold ``weight * mask``.

    The gradients of pruned weights are not used: they stay +0.0, and their momenta too. The kept ones have the bits of
    ``torch.optim.SGD(foreach=False)``. A method overrides ``_first_mask``, and ``_after_update`` if masks change.

    Args:
        params: as for :class:`MaskedOptimizer`; a group with ``sparsity=None`` is trained by plain SGD.
        sparsity: fraction of the weights removed, in [0, 1).
        lr: learning rate of SGD.
        momentum: of SGD.
        weight_decay: of SGD.
        distribution: what the weights are drawn from; None keeps the present values.
        seed: of the random streams, in [0, 2^32).
        first_parameter: position of the first parameter in the random streams.

    Raises:
        ValueError: a value out of range, or a masked parameter with fewer than 2 dimensions.
    """

    trains_weights: ClassVar[bool] = True
    _STATE: ClassVar[tuple[str, ...]] = ("mask", "momentum_buffer")
    _ADDED: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        params: ParamsT,
        *,
        sparsity: float | None,
        lr: float | Tensor,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        distribution: Distribution | None = "kaiming_uniform",
        seed: int = 0,
        first_parameter: int = 0,
    ) -> None:
        defaults = dict(
            sparsity=sparsity,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            distribution=distribution,
            seed=seed,
            first_parameter=first_parameter,
        )
        Optimizer.__init__(self, params, defaults | vars(self).get("_own", {}))

    def theta(self, param: Tensor) -> Tensor:
        """The present weights of a masked parameter: what it holds.

        Raises:
            ValueError: the parameter is not in a masked group.
        """
        self._group_of(param)
        return param.detach()

    @torch.no_grad()
    def adopt(self) -> None:
        """Apply the masks to parameters that were changed.

        Momenta and masks stay. A parameter that has come to require a gradient since the optimizer was made is trained
        from now on.
        """
        super().adopt()

    def _first_mask(self, param: Tensor, group: _Group, position: int) -> Tensor:
        """The mask with which training begins, in any memory format: all weights."""
        return torch.ones_like(param, dtype=torch.bool)

    def _set_mask(self, param: Tensor, mask: Tensor) -> None:
        """Keep the weights of a mask alone, from now on."""
        state = self.state[param]
        state["mask"].copy_(mask)
        for tensor in (param, state["momentum_buffer"]):
            tensor.copy_(torch.where(state["mask"], tensor, 0.0))

    def _masks(self, params: Sequence[Tensor], group: _Group) -> list[Tensor]:
        return [self.state[param]["mask"].clone() for param in params]

    def _effective_of(self, param: Tensor, mask: Tensor, group: _Group) -> Tensor:
        return torch.where(mask, param.detach(), 0.0)

    def _holds(self, param: Tensor, held: Held) -> bool:
        """Whether pruned weights are 0: the kept ones are trained from what they are, as in any SGD."""
        return param.is_meta or not bool(param.detach()[~self.state[param]["mask"]].any())

    def _masked_step(
        self,
        group: _Group,
        positions: Sequence[int],
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        hints: Thresholds,
    ) -> Sequence[Tensor]:
        states = [self.state[param] for param in params]
        kept = [torch.where(state["mask"], grad, 0.0) for grad, state in zip(grads, states, strict=True)]
        buffers = [state["momentum_buffer"] for state in states]
        if all(each.is_cpu and each.dtype in DTYPES for each in (*params, *kept, *buffers)):
            settings = {key: float(group[key]) for key in ("lr", "momentum", "weight_decay")}
            sgd_(params, kept, buffers if group["momentum"] else [], **settings)
        else:
            dense_step_(group, list(params), kept, states)
        self._after_update(group, positions, params)
        return params

    def _check_group(self, group: _Group) -> None:
        check_settings(group, {**SGD_RULES, "sparsity": RULES["sparsity"]})
        check_drawable(group)
        check_maskable(group)

    def _rewritten(self, params: Sequence[Tensor], group: _Group) -> Sequence[Tensor]:
        return params

    def _is_fast(self, group: _Group) -> bool:
        return False  # the fast forms train scores

    def _new_watch(self, group: _Group) -> Watch:
        return _SparseWatch(group, self._check_group, [*self.defaults, "fan_in"], self.state, known_owners(self))

    @torch.no_grad()
    def _draw(self, param: Tensor, group: _Group, position: int, known: dict[str, Any] | None = None) -> None:
        """Draw a parameter's weights and mask; what is ``known`` of it stays."""
        if group["distribution"] is not None and param.ndim >= 2:
            fan_in, seed = fan_in_of(param, group), group["seed"]
            draw_values_(param, group["distribution"], fan_in=fan_in, seed=seed, draw=0, parameter=position)
        state: dict[str, Any] = {"momentum_buffer": torch.zeros_like(param)}
        if group["sparsity"] is not None:
            state["mask"] = like(param, self._first_mask(param, group, position))
        self.state[param] = state | (known or {})


class _SparseWatch(Watch):
    _CHANGED = (
        "was changed since the optimizer's last step: pruned weights are not 0. Load a checkpoint into the model "
        "before the optimizer is made, with distribution=None to keep its values, or with the optimizer's "
        "own state; optimizer.adopt() applies the masks to the present values"
    )


def erk_counts(shapes: Sequence[Sequence[int]], sparsity: float) -> list[int]:
    """How many weights each layer keeps by the Erdős-Rényi-kernel rule.

    A layer of n weights has density min(1, e * sum(shape) / n), with one e for all layers such that they keep
    ``n - round(sparsity * (n - 1))`` of all n weights together. Counts are rounded down, and the rest goes to the
    largest fractions, equal ones in order; each layer keeps at least one weight.

    Source: Evci et al., "Rigging the lottery: making all tickets winners" (ICML 2020), section 3.
    """
    sizes = [math.prod(shape) for shape in shapes]
    total = sum(sizes) - num_pruned(sum(sizes), sparsity)
    ideal = _erk(sizes, [sum(shape) for shape in shapes], total)
    counts = [min(max(int(wanted), 1), size) for wanted, size in zip(ideal, sizes, strict=True)]
    by_fraction = sorted(range(len(sizes)), key=lambda i: counts[i] - ideal[i])
    for i in by_fraction[: max(total - sum(counts), 0)]:
        counts[i] += 1
    while sum(counts) > total and max(counts) > 1:  # layers of less than one weight were lifted to one
        counts[counts.index(max(counts))] -= 1
    return counts


def _erk(sizes: Sequence[int], sums: Sequence[int], total: int) -> list[float]:
    """The counts before rounding: layers that would keep more than they have are dense, the others share the rest."""
    dense: set[int] = set()
    while True:
        free = [i for i in range(len(sizes)) if i not in dense]
        share = (total - sum(sizes[i] for i in dense)) / max(sum(sums[i] for i in free), 1)
        over = {i for i in free if share * sums[i] > sizes[i]}
        if not over:
            return [sizes[i] if i in dense else share * sums[i] for i in range(len(sizes))]
        dense |= over


def keep_largest(params: Sequence[Tensor], masks: Sequence[Tensor], sparsity: float, scope: Scope) -> list[Tensor]:
    """Masks that keep the weights of the highest absolute values, of those that ``masks`` keep.

    Each layer loses ``round(sparsity * (n - 1))`` of its n weights in all, or all layers together; ties by parameter,
    then by logical index, NaN above all. A layer that would be emptied keeps its largest weight in addition.
    """
    wide = [torch.promote_types(param.dtype, torch.float32) for param in params]
    sizes = [param.detach().abs().to(dtype) for param, dtype in zip(params, wide, strict=True)]
    ranks = [torch.where(mask, size, -1.0) for mask, size in zip(masks, sizes, strict=True)]
    if scope == "global":
        largest = global_masks(ranks, sparsity, "scores")
    else:
        largest = [keep_mask(rank, sparsity, "scores") for rank in ranks]
    return [mask & keep for mask, keep in zip(masks, largest, strict=True)]
