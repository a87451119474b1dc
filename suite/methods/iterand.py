"""IteRand: edge-popup which, every K_per steps, draws pruned weights again.

Source: Chijiwa et al., "Pruning randomly initialized neural networks with iterative randomization"
(NeurIPS 2021), algorithm 1; K_per is ``rerandomize_every``, r is ``rerandomize_prob``.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from suite.config import Distribution
from suite.methods.edge_popup import EdgePopup
from suite.methods.options import MaskedOptions
from suite.methods.param_groups import Rule, check_settings, theta_fan_in
from suite.methods.update.plain import Redraw

RULES: dict[str, Rule] = {
    "rerandomize_every": (lambda v: isinstance(v, int) and v >= 1, "must be a whole number of steps, at least 1"),
    "rerandomize_prob": (lambda v: 0 <= v <= 1, "must be in [0, 1]"),
}


class IteRand(EdgePopup):
    """Edge-popup with iterative randomization: at step t, if ``t % rerandomize_every == 0``, each pruned
    weight is drawn again with probability ``rerandomize_prob``; the network's function does not change then.

    Args:
        rerandomize_every: period of the redraws, in steps (K_per).
        rerandomize_prob: probability r of each pruned weight; 0 is edge-popup, 1 redraws all of them.

    The other arguments are those of :class:`MaskedOptimizer`; ``distribution`` may not be None in a masked group.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        rerandomize_every: int = 300,
        rerandomize_prob: float = 0.1,
        **options: Unpack[MaskedOptions],
    ) -> None:
        redraws = dict(rerandomize_every=rerandomize_every, rerandomize_prob=rerandomize_prob)
        self._own = vars(self).get("_own", {}) | redraws
        super().__init__(params, **options)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_settings(group, RULES)
        if group["sparsity"] is not None and group["distribution"] is None:
            raise ValueError(f"distribution: None: {type(self).__name__} needs a distribution to draw from")

    def _redrawn_from(self, group: dict[str, Any]) -> Distribution | None:
        distribution: Distribution = group["distribution"]
        return distribution if group["rerandomize_prob"] != 0 else None

    def _redraw(self, group: dict[str, Any], positions: Sequence[int], params: Sequence[Tensor]) -> Redraw | None:
        if group["rerandomize_prob"] != 0 and params[0].is_cuda and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "IteRand cannot be captured in a CUDA graph: it counts steps on the host, and a replay does not count; "
                "capture forward and backward, and call step() after each replay"
            )
        draw, since = divmod(group["num_updates"], group["rerandomize_every"])
        if since or group["rerandomize_prob"] == 0:
            return None
        return Redraw(
            draw=draw,
            prob=group["rerandomize_prob"],
            seed=group["seed"],
            distribution=group["distribution"],
            fan_ins=[theta_fan_in(param, group) for param in params],
            parameters=positions,
        )
