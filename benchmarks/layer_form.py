"""The other way to train masks, to be compared with: layers that select in each forward pass.

Written anew from the definition, as such layers are commonly written: a threshold by ``kthvalue(...).item()`` for each
layer and pass, a mask, a product, and a straight-through gradient for the scores.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, num_pruned: int) -> Tensor:
        if num_pruned == 0:
            return torch.ones_like(scores)
        threshold = scores.flatten().kthvalue(num_pruned).values.item()  # waits for a GPU
        return (scores > threshold).to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class MaskedLayer(nn.Module):
    """A convolution or linear layer over fixed random weights, with a score for each."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, sparsity: float) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.scores = nn.Parameter(torch.empty_like(layer.weight))
        nn.init.kaiming_uniform_(self.scores, a=5**0.5)
        self.num_pruned = round(sparsity * (layer.weight.numel() - 1))

    def forward(self, x: Tensor) -> Tensor:
        """What the layer makes of ``x`` with the weights whose scores are highest."""
        weight = self.layer.weight * _Select.apply(self.scores, self.num_pruned)
        if isinstance(self.layer, nn.Linear):
            return linear(x, weight, self.layer.bias)
        return conv2d(x, weight, self.layer.bias, self.layer.stride, self.layer.padding)


def in_layer_form(model: nn.Module, sparsity: float) -> nn.Module:
    """``model`` with each convolution and linear layer replaced, in place."""
    for name, child in model.named_children():
        if isinstance(child, nn.Conv2d | nn.Linear):
            setattr(model, name, MaskedLayer(child, sparsity))
        else:
            in_layer_form(child, sparsity)
    return model
