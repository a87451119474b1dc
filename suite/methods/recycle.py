"""Iterative weight recycling: edge-popup which, every K_per steps, copies its best weights over its worst ones.

Source: Gorbett and Whitley, "Randomly initialized subnetworks with iterative weight recycling" (2023,
arXiv 2303.15953). K_per is ``recycle_every``.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from suite.methods.edge_popup import EdgePopup
from suite.methods.options import MaskedOptions
from suite.methods.param_groups import Rule, check_settings
from suite.methods.update.signs import Signs, unpacked

RULES: dict[str, Rule] = {
    "recycle_every": (lambda v: isinstance(v, int) and v >= 1, "must be a whole number of steps, at least 1"),
    "recycle_share": (lambda v: 0 <= v <= 0.5, "must be in [0, 0.5]"),
    "num_steps": (lambda v: v is None or (isinstance(v, int) and v >= 0), "must be a whole number of steps, or None"),
}


class Recycle(EdgePopup):
    """Edge-popup with weight recycling: at the end of step t, if ``t % recycle_every == 0``, each layer's weights
    with the lowest absolute scores take the values of those with the highest ones. Scores and masks stay.

    Args:
        recycle_every: period, in steps (K_per).
        recycle_share: share of a layer's weights that is replaced, at most one half; 0 is edge-popup.
        num_steps: all steps T of the training; the last recycling is at step T - ``recycle_every`` or before. None
            for no such end.

    The other arguments are those of :class:`MaskedOptimizer`.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        recycle_every: int = 300,
        recycle_share: float = 0.2,
        num_steps: int | None = None,
        **options: Unpack[MaskedOptions],
    ) -> None:
        self._own = dict(recycle_every=recycle_every, recycle_share=recycle_share, num_steps=num_steps)
        super().__init__(params, **options)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_settings(group, RULES)

    def _after_update(
        self, group: dict[str, Any], positions: Sequence[int], params: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        step, every, end = group["num_updates"], group["recycle_every"], group["num_steps"]
        if step % every or (end is not None and step > end - every) or not group["recycle_share"]:
            return ()
        for param in params:
            recycle_(self.state[param]["theta"], self.state[param]["scores"], group["recycle_share"])
        return params


def recycle_(theta: Tensor | Signs, scores: Tensor, share: float) -> None:
    """Copy values of the weights with the highest absolute scores over those with the lowest ones, in place.

    Of n weights ``floor(share * n)``: the i-th lowest takes the value of the i-th of the highest, both in ascending
    order, equal scores by logical index, NaN above all.
    """
    count = int(share * scores.numel())
    order = torch.sort(scores.abs().reshape(-1), stable=True).indices
    old = unpacked(theta)
    values = old.reshape(-1).clone()
    values[order[:count]] = values[order[len(order) - count :]]
    if isinstance(theta, Signs):
        old.copy_(values.view(old.shape))
        theta.pack_(old)
    else:
        theta.copy_(values.view(theta.shape))
