"""The update of scores by operations of torch, for methods whose rules the faster forms do not compute.

With edge-popup's rules it leaves the bits of ``plain``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def clip_(steps: Sequence[Tensor], max_norm: float | None) -> None:
    """Bound the norm of the scores' gradients, over all layers, in place; None for no bound."""
    if max_norm is None:
        return
    total = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(step) for step in steps]))
    scale = (max_norm / (total + 1e-6)).clamp_(max=1.0)
    for step in steps:
        step.mul_(scale)


def sgd_(
    scores: Sequence[Tensor],
    steps: Sequence[Tensor],
    buffers: Sequence[Tensor],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """SGD on the scores in place, rounded as ``torch.optim.SGD(foreach=False)``; ``steps`` are overwritten."""
    for score, step, buffer in zip(scores, steps, buffers, strict=True):
        if weight_decay != 0:
            step.add_(score, alpha=weight_decay)
        if momentum != 0:
            step = buffer.mul_(momentum).add_(step)
        score.add_(step, alpha=-lr)
