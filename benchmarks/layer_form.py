"""The other way to train masks, to be compared with: layers that select in each forward pass.

Written anew from the definitions, in the two forms in which such layers are common. Each makes a mask, a product, and a
straight-through gradient for the scores. ``threshold``: scores above the ``kthvalue`` are kept (as in IteRand).
``sort``: the weights are put into the order of their |scores|, and the last ones are kept (as in edge-popup).
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

Form = Literal["threshold", "sort"]


class _AboveThreshold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ranks: Tensor, num_pruned: int) -> Tensor:
        if num_pruned == 0:
            return torch.ones_like(ranks)
        threshold = ranks.flatten().kthvalue(num_pruned).values.item()  # waits for a GPU
        return (ranks > threshold).to(ranks.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _LastInOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ranks: Tensor, num_pruned: int) -> Tensor:
        order = ranks.flatten().argsort()
        mask = torch.ones_like(ranks)
        mask.view(-1)[order[:num_pruned]] = 0
        return mask

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class MaskedLayer(nn.Module):
    """A convolution or linear layer over fixed random weights, with a score for each."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, sparsity: float, form: Form) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.scores = nn.Parameter(torch.empty_like(layer.weight))
        nn.init.kaiming_uniform_(self.scores, a=5**0.5)
        self.num_pruned = round(sparsity * (layer.weight.numel() - 1))
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        """What the layer makes of ``x`` with the weights whose scores are highest."""
        if self.form == "sort":
            mask = _LastInOrder.apply(self.scores.abs(), self.num_pruned)  # type: ignore[no-untyped-call]
        else:
            mask = _AboveThreshold.apply(self.scores, self.num_pruned)  # type: ignore[no-untyped-call]
        weight = self.layer.weight * mask
        if isinstance(self.layer, nn.Linear):
            return linear(x, weight, self.layer.bias)
        return conv2d(x, weight, self.layer.bias, self.layer.stride, self.layer.padding)


def in_layer_form(model: nn.Module, sparsity: float, form: Form) -> nn.Module:
    """``model`` with each convolution and linear layer replaced, in place."""
    for name, child in model.named_children():
        if isinstance(child, nn.Conv2d | nn.Linear):
            setattr(model, name, MaskedLayer(child, sparsity, form))
        else:
            in_layer_form(child, sparsity, form)
    return model
