"""Gradual magnitude pruning: while weights train, the smallest ones are removed, more and more of them.

Source: Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression" (2017,
arXiv 1710.01878).
"""

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor
from torch.optim.optimizer import ParamsT

from suite.config import Scope
from suite.methods.options import SparseOptions
from suite.methods.param_groups import RULES as MASKED_RULES
from suite.methods.param_groups import Rule, check_settings
from suite.methods.sparse import SparseSgd, keep_largest

RULES: dict[str, Rule] = {
    "scope": MASKED_RULES["scope"],
    "begin_epoch": (lambda v: isinstance(v, int) and v >= 0, "must be a whole number of epochs, at least 0"),
    "end_epoch": (lambda v: isinstance(v, int) and v >= 1, "must be a whole number of epochs, at least 1"),
    "prune_every": (lambda v: isinstance(v, int) and v >= 1, "must be a whole number of steps, at least 1"),
    "steps_per_epoch": (lambda v: isinstance(v, int) and v >= 1, "must be a whole number of steps, at least 1"),
}


class Magnitude(SparseSgd):
    """SGD on the weights; those of the lowest absolute values are removed for ever, by a cubic ramp.

    After step t, from step t0 = ``begin_epoch`` to t1 = ``end_epoch``, every ``prune_every`` steps and at t1, the share
    ``sparsity * (1 - (1 - (t - t0) / (t1 - t0))^3)`` of the weights is removed. After t1 the mask stays.

    Args:
        end_epoch: the epoch after which the mask stays.
        scope: "layer": each layer loses the share; "global": all layers of a group together, by one threshold; a layer
            that would be emptied keeps its largest weight in addition.
        begin_epoch: the epoch (from 0) in which pruning begins.
        prune_every: steps between two prunings.
        steps_per_epoch: how many steps an epoch has; a trial knows.

    The other arguments are those of :class:`SparseSgd`. A parameter without a gradient at such a step keeps its mask
    until the next one.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        end_epoch: int,
        scope: Scope = "layer",
        begin_epoch: int = 0,
        prune_every: int = 100,
        steps_per_epoch: int = 1,
        **options: Unpack[SparseOptions],
    ) -> None:
        self._own = dict(
            end_epoch=end_epoch,
            scope=scope,
            begin_epoch=begin_epoch,
            prune_every=prune_every,
            steps_per_epoch=steps_per_epoch,
        )
        super().__init__(params, **options)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_settings(group, RULES)
        if group["begin_epoch"] > group["end_epoch"]:
            raise ValueError(f"begin_epoch: {group['begin_epoch']}: must be at most end_epoch ({group['end_epoch']})")

    def _after_update(
        self, group: dict[str, Any], positions: Sequence[int], params: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        step = group["num_updates"]
        begin, end = (group[key] * group["steps_per_epoch"] for key in ("begin_epoch", "end_epoch"))
        if not begin <= step <= end or (step < end and (step - begin) % group["prune_every"]):
            return ()
        masks = self._masks(params, group)
        sparsity = cubic_sparsity(group["sparsity"], step, begin, end)
        for param, mask in zip(params, keep_largest(params, masks, sparsity, group["scope"]), strict=True):
            self._set_mask(param, mask)
        return params


def cubic_sparsity(final: float, step: int, begin: int, end: int) -> float:
    """The share that is removed after a step from ``begin`` to ``end``: all of ``final`` at the end."""
    left = (end - step) / (end - begin) if end > begin else 0.0
    return final * (1 - left**3)
