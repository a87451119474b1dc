"""IteRand: edge-popup which, every K_per steps, draws pruned weights again.

Source: Chijiwa et al., "Pruning randomly initialized neural networks with iterative randomization"
(NeurIPS 2021), algorithm 1; K_per is ``rerandomize_every``, r is ``rerandomize_prob``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from suite.config import Distribution, RankBy, ScoreInit
from suite.methods.edge_popup import EdgePopup
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

    The other arguments are those of :class:`EdgePopup`; ``distribution`` may not be None in a masked group.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        sparsity: float | None,
        lr: float | Tensor,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        distribution: Distribution = "signed_constant",
        rank_by: RankBy = "scores",
        score_init: ScoreInit = "kaiming_uniform",
        scale_fan: bool = False,
        max_score_grad_norm: float | None = None,
        pack_signs: bool = False,
        plain_lr: float | None = None,
        seed: int = 0,
        first_parameter: int = 0,
        rerandomize_every: int = 300,
        rerandomize_prob: float = 0.1,
    ) -> None:
        defaults = dict(
            sparsity=sparsity,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            distribution=distribution,
            rank_by=rank_by,
            score_init=score_init,
            scale_fan=scale_fan,
            max_score_grad_norm=max_score_grad_norm,
            pack_signs=pack_signs,
            plain_lr=plain_lr,
            seed=seed,
            first_parameter=first_parameter,
            rerandomize_every=rerandomize_every,
            rerandomize_prob=rerandomize_prob,
        )
        Optimizer.__init__(self, params, defaults)  # EdgePopup.__init__ only names its own defaults

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_settings(group, RULES)
        if group["sparsity"] is not None and group["distribution"] is None:
            raise ValueError("distribution: None: IteRand needs a distribution to draw from again")

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
