"""Weight optimization: SGD on the weights, the dense baseline."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.optimizer import ParamsT

from suite.config import Distribution
from suite.methods.groups import RULES, check_settings, fan_in_of
from suite.methods.random import draw_values_


class Weights(SGD):
    """``torch.optim.SGD``, which first draws each parameter with 2 dimensions or more as the suite does.

    Args:
        params: as any torch optimizer takes them; all are trained and decayed.
        lr, momentum, weight_decay: of SGD.
        distribution: what the weights are drawn from; None keeps the present values.
        seed: of the random streams, in [0, 2^32).

    Raises:
        ValueError: a value out of range.
    """

    masked: ClassVar[bool] = False

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float | Tensor,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        distribution: Distribution | None = "kaiming_uniform",
        seed: int = 0,
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.defaults.update(distribution=distribution, seed=seed)
        first = 0
        for group in self.param_groups:
            group.setdefault("distribution", distribution)
            group.setdefault("seed", seed)
            self._draw(group, first)
            first += len(group["params"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as SGD does, and draw its weights."""
        first = sum(len(group["params"]) for group in self.param_groups)
        super().add_param_group(param_group)
        if "distribution" in self.defaults:  # SGD's constructor comes here before ours has set it
            self._draw(self.param_groups[-1], first)

    @torch.no_grad()
    def _draw(self, group: dict[str, Any], first: int) -> None:
        group.setdefault("fan_in", None)
        check_settings(group, {key: RULES[key] for key in ("distribution", "seed", "fan_in")})
        if group["distribution"] is None:
            return
        for position, param in enumerate(group["params"], start=first):
            if param.ndim >= 2:
                draw_values_(
                    param,
                    group["distribution"],
                    fan_in=fan_in_of(param, group),
                    seed=group["seed"],
                    draw=0,
                    parameter=position,
                )
