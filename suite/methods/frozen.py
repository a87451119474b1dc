"""Partially frozen networks: edge-popup, or IteRand, over the weights that no seed has decided about.

Source: Otsuka et al., "Partially frozen random networks contain compact strong lottery tickets" (2024,
arXiv 2402.14029).
"""

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from suite.methods.iterand import IteRand
from suite.methods.options import MaskedOptions
from suite.methods.param_groups import Rule, check_settings
from suite.methods.random import frozen_pattern
from suite.methods.update.plain import keep_highest, num_pruned

_RULE = "must be in [0, 1], or None: half of its share"
RULES: dict[str, Rule] = {
    "scope": (lambda v: v == "layer", "must be layer: frozen weights are counted in each one"),
    "frozen_removed": (lambda v: v is None or 0 <= v <= 1, _RULE),
    "frozen_kept": (lambda v: v is None or 0 <= v <= 1, _RULE),
}
_SLACK = 1e-9  # 0.1 is to be at most 1 - 0.9


class Frozen(IteRand):
    """IteRand, or edge-popup, in a network whose seed removes some weights of each layer for ever and keeps others for
    ever. The mask, the gradient of the scores and redraws are of the free weights; a layer loses as many as without.

    Args:
        frozen_removed: share of a layer's weights that is removed for ever, at most ``sparsity``; None for half of it.
        frozen_kept: share that is kept for ever, at most 1 - ``sparsity``; None for half of it.
        rerandomize_prob: probability r that a redraw replaces a pruned free weight; 0 is edge-popup.

    The other arguments are those of :class:`IteRand`.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        frozen_removed: float | None = None,
        frozen_kept: float | None = None,
        rerandomize_every: int = 300,
        rerandomize_prob: float = 0.0,
        **options: Unpack[MaskedOptions],
    ) -> None:
        self._own = dict(frozen_removed=frozen_removed, frozen_kept=frozen_kept)
        redraws: dict[str, Any] = dict(rerandomize_every=rerandomize_every, rerandomize_prob=rerandomize_prob)
        super().__init__(params, **redraws, **options)

    def frozen(self, param: Tensor) -> Tensor:
        """What is frozen of a masked parameter: int8, its shape; -1 removed for ever, 1 kept for ever, 0 free.

        Raises:
            ValueError: the parameter is not in a masked group.
        """
        self._group_of(param)
        pattern: Tensor = self.state[param]["frozen"]
        return pattern

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_settings(group, RULES)
        if group["sparsity"] is not None:
            _check_shares(group)

    def _draw(self, param: Tensor, group: dict[str, Any], position: int, known: dict[str, Any] | None = None) -> None:
        super()._draw(param, group, position, known)
        if group["sparsity"] is not None and "frozen" not in self.state[param]:
            removed, kept = _counts(param.numel(), group)
            pattern = frozen_pattern(param.numel(), removed, kept, seed=group["seed"], parameter=position)
            self.state[param]["frozen"] = torch.empty_like(param, dtype=torch.int8).copy_(pattern.view(param.shape))

    def _masks(self, params: Sequence[Tensor], group: dict[str, Any]) -> list[Tensor]:
        sparsity = self._sparsity(group)
        assert sparsity is not None
        states = [self.state[param] for param in params]
        return [_mask(state["scores"], state["frozen"], sparsity, group["rank_by"]) for state in states]

    def _score_grad(self, param: Tensor, grad: Tensor, theta: Tensor, score: Tensor, group: dict[str, Any]) -> Tensor:
        step = super()._score_grad(param, grad, theta, score, group)
        return step.masked_fill_(self.state[param]["frozen"] != 0, 0.0)

    def _not_redrawn(self, params: Sequence[Tensor], group: dict[str, Any]) -> list[Tensor]:
        masks = zip(params, self._masks(params, group), strict=True)
        return [mask | (self.state[param]["frozen"] != 0) for param, mask in masks]


def _check_shares(group: dict[str, Any]) -> None:
    sparsity, removed, kept = group["sparsity"], group["frozen_removed"], group["frozen_kept"]
    if removed is not None and removed > sparsity + _SLACK:
        raise ValueError(f"frozen_removed: {removed!r}: must be at most sparsity, which is {sparsity!r}")
    if kept is not None and kept > 1 - sparsity + _SLACK:
        raise ValueError(f"frozen_kept: {kept!r}: must be at most 1 - sparsity, where sparsity is {sparsity!r}")


def _counts(num: int, group: dict[str, Any]) -> tuple[int, int]:
    """How many of ``num`` weights are removed and kept for ever."""
    sparsity, removed, kept = group["sparsity"], group["frozen_removed"], group["frozen_kept"]
    pruned = num_pruned(num, sparsity)
    first = num_pruned(num, sparsity / 2 if removed is None else removed)
    last = num_pruned(num, (1 - sparsity) / 2 if kept is None else kept)
    return min(first, pruned), min(last, num - pruned)


def _mask(scores: Tensor, frozen: Tensor, sparsity: float, rank_by: str) -> Tensor:
    """The mask of one layer: what is kept for ever, and the best of the free weights, in logical order."""
    kinds, flat = frozen.reshape(-1), scores.reshape(-1)
    is_free = kinds == 0
    free = flat[is_free] if rank_by == "scores" else flat[is_free].abs()
    count = num_pruned(len(flat), sparsity) - int((kinds < 0).sum())
    mask = kinds > 0
    mask[is_free] = keep_highest(free, min(max(count, 0), len(free)))
    return mask.view(scores.shape)
