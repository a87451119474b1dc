"""Training under a random mask that never changes: what is gained by selecting weights, and not just by having few?

Source of ``erk``: Evci et al., "Rigging the lottery: making all tickets winners" (ICML 2020), section 3.
"""

import math
from typing import Any, Unpack, get_args

from torch import Tensor
from torch.optim.optimizer import ParamsT

from suite.config import Layout
from suite.methods.options import SparseOptions
from suite.methods.param_groups import Rule, check_settings
from suite.methods.random import Stream, random_words
from suite.methods.sparse import SparseSgd, erk_counts
from suite.methods.update.plain import keep_highest, num_pruned

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
RULES: dict[str, Rule] = {"layout": (lambda v: v in LAYOUTS, f"must be one of {', '.join(LAYOUTS)}")}


class RandomMask(SparseSgd):
    """SGD on the weights under a mask that is drawn from the seed, once.

    Args:
        layout: "uniform": each layer loses the share ``sparsity``; "erk": small layers lose less (``erk_counts``), and
            all layers of a group together that share.

    The other arguments are those of :class:`SparseSgd`.
    """

    def __init__(self, params: ParamsT, *, layout: Layout = "uniform", **options: Unpack[SparseOptions]) -> None:
        self._own = dict(layout=layout)
        super().__init__(params, **options)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_settings(group, RULES)

    def _first_mask(self, param: Tensor, group: dict[str, Any], position: int) -> Tensor:
        where: dict[str, Any] = {"draw": 0, "parameter": position, "device": param.device}
        words = random_words(param.numel(), seed=group["seed"], stream=Stream.MASK, **where)
        return keep_highest(words.view(param.shape), self._num_pruned(param, group))

    def _num_pruned(self, param: Tensor, group: dict[str, Any]) -> int:
        if group["layout"] == "uniform":
            return num_pruned(param.numel(), group["sparsity"])
        layers = [each for each in group["params"] if each.requires_grad]
        counts = erk_counts([each.shape for each in layers], group["sparsity"])
        kept = next(count for each, count in zip(layers, counts, strict=True) if each is param)
        return math.prod(param.shape) - kept
