"""Biprop: edge-popup whose weights are signs, times one magnitude for each layer.

Source: Diffenderfer and Kailkhura, "Multi-prize lottery ticket hypothesis: finding accurate binary neural networks by
pruning a randomly weighted network" (ICLR 2021), algorithm 1.
"""

from typing import Any, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from suite.config import Distribution, RankBy
from suite.methods.edge_popup import EdgePopup
from suite.methods.options import MaskedOptions
from suite.methods.update.signs import unpacked


class BiProp(EdgePopup):
    """Edge-popup by absolute scores; a kept weight is ``magnitude * sign(theta)``, the magnitude the mean of
    ``|theta|`` over the kept weights of its layer. The scores' gradient is that of edge-popup.

    Args:
        distribution: what theta is drawn from. With "signed_constant" the method is edge-popup.
        rank_by: "abs_scores", the method's own, or "scores".

    The other arguments are those of :class:`MaskedOptimizer`.
    """

    def __init__(  # type: ignore[misc] # two arguments have other defaults than in the options
        self,
        params: ParamsT,
        *,
        distribution: Distribution | None = "kaiming_normal",
        rank_by: RankBy = "abs_scores",
        **options: Unpack[MaskedOptions],
    ) -> None:
        super().__init__(params, **options | {"distribution": distribution, "rank_by": rank_by})

    def magnitude(self, param: Tensor) -> float:
        """The absolute value of the kept weights of a masked parameter.

        Raises:
            ValueError: the parameter is not in a masked group.
        """
        mask = self.mask(param)
        return float(mean_size(unpacked(self.state[param]["theta"]), mask))

    def _effective(self, param: Tensor, theta: Tensor, score: Tensor, mask: Tensor, group: dict[str, Any]) -> Tensor:
        return torch.where(mask, theta.sign() * mean_size(theta, mask), 0.0)


def mean_size(theta: Tensor, mask: Tensor) -> Tensor:
    """The mean of ``|theta|`` over what ``mask`` keeps: (), computed in float64 and rounded once to theta's dtype.

    Weights of one size have that very size as their mean, in any dtype.
    """
    if not theta.numel():
        return theta.new_zeros(())
    sizes = theta.abs().double().reshape(-1)
    largest = sizes.max()
    short = torch.where(mask.reshape(-1), largest - sizes, 0.0).sum()
    return (largest - short / mask.sum()).to(theta.dtype)
