"""Iterative magnitude pruning: train, remove the smallest weights, rewind the others to early values, train again.

Sources: Frankle and Carbin, "The lottery ticket hypothesis" (ICLR 2019), strategy "iterative pruning with resetting";
Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis" (ICML 2020), which rewinds to iteration k.
"""

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from suite.config import Scope
from suite.methods.options import SparseOptions
from suite.methods.param_groups import RULES as MASKED_RULES
from suite.methods.param_groups import Rule, check_settings
from suite.methods.sparse import SparseSgd, keep_largest

RULES: dict[str, Rule] = {
    "rounds": (lambda v: isinstance(v, int) and v >= 2, "must be a whole number of rounds, at least 2"),
    "scope": MASKED_RULES["scope"],
    "rewind_epoch": (lambda v: isinstance(v, int) and v >= 0, "must be a whole number of epochs, at least 0"),
}


class Imp(SparseSgd):
    """SGD on the weights in rounds; after each one the smallest weights are removed and the others rewound.

    The first round trains all weights. Round r (from 0) of R trains the share ``(1 - sparsity)^(r / (R - 1))`` of them:
    those that were largest at the end of the round before, from the values that they had after ``rewind_epoch`` epochs
    of the first round. All momenta are 0 then, and what has no mask is rewound too.

    A training loop calls ``start_epoch`` before each epoch; without it this is SGD.

    Args:
        rounds: how often the network is trained, R.
        scope: "layer": each layer loses the share; "global": all layers of a group together, by one threshold; a layer
            that would be emptied keeps its largest weight in addition.
        rewind_epoch: after how many epochs of the first round the weights are kept to go back to; 0: as they are drawn.

    The other arguments are those of :class:`SparseSgd`.
    """

    _STATE: ClassVar[tuple[str, ...]] = ("mask", "rewind", "momentum_buffer")

    def __init__(
        self,
        params: ParamsT,
        *,
        rounds: int,
        scope: Scope = "layer",
        rewind_epoch: int = 0,
        **options: Unpack[SparseOptions],
    ) -> None:
        self._own = dict(rounds=rounds, scope=scope, rewind_epoch=rewind_epoch)
        super().__init__(params, **options)

    @torch.no_grad()
    def start_epoch(self, epoch: int, num_epochs: int) -> None:
        """Keep the weights of this moment, or begin a new round, where one of both is due; a second call does nothing.

        Args:
            epoch: that begins, from 0.
            num_epochs: of all rounds together.

        Raises:
            ValueError, RuntimeError: a new round begins, and ``step`` would find fault with a setting or a parameter.
        """
        for watch in self._watches():
            group = watch.group
            params = [param for param in group["params"] if self.state.get(param)]
            due = min(epoch * group["rounds"] // num_epochs, group["rounds"] - 1)
            if epoch == group["rewind_epoch"] and due == 0:
                for param in params:
                    self.state[param]["rewind"].copy_(param)
            if due > group["round"]:
                watch.check(self._holds)
                group["round"] = due
                self._rewind(group, params)
                watch.remember()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as any torch optimizer does, and draw its weights."""
        super().add_param_group(param_group)
        self.param_groups[-1].setdefault("round", 0)  # the first one

    def _rewind(self, group: dict[str, Any], params: list[Tensor]) -> None:
        masks = [torch.ones_like(param, dtype=torch.bool) for param in params]
        if group["sparsity"] is not None:
            sparsity = round_sparsity(group["sparsity"], group["round"], group["rounds"])
            masks = keep_largest(params, self._masks(params, group), sparsity, group["scope"])
        for param, mask in zip(params, masks, strict=True):
            state = self.state[param]
            param.copy_(state["rewind"])
            state["momentum_buffer"].zero_()
            if group["sparsity"] is not None:
                self._set_mask(param, mask)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_settings(group, RULES)

    @torch.no_grad()
    def _draw(self, param: Tensor, group: dict[str, Any], position: int, known: dict[str, Any] | None = None) -> None:
        super()._draw(param, group, position, known)
        self.state[param].setdefault("rewind", param.detach().clone())


def round_sparsity(final: float, number: int, rounds: int) -> float:
    """The share that is removed in round ``number`` (from 0): each keeps the same share of the one before."""
    return final if number == rounds - 1 else 1 - (1 - final) ** (number / (rounds - 1))
