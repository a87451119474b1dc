"""The specification: one step of masked SGD over lists of tensors, and the exact selection it needs.

Sources: Ramanujan et al., "What's hidden in a randomly weighted neural network?" (CVPR 2020), for the
update of scores; Chijiwa et al., "Pruning randomly initialized neural networks with iterative
randomization" (NeurIPS 2021), for the redraw. Faster forms must equal this one bit for bit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from suite.config import Distribution, RankBy
from suite.methods.random import draw_values_, redraw_mask
from suite.methods.update.signs import Signs, unpacked

RANKINGS: tuple[RankBy, ...] = get_args(RankBy)

Theta = Tensor | Signs
Thresholds = dict[Any, Any]  # what a fast form remembers of the last step; a hint, no result depends on it


@dataclass(frozen=True)
class Redraw:
    """Redraw number ``draw`` (from 1): each pruned weight is drawn again with probability ``prob``."""

    draw: int
    prob: float
    seed: int
    distribution: Distribution
    fan_ins: Sequence[float]
    parameters: Sequence[int]  # positions in Optimizer.state_dict()
    sparsity: float | None = None  # of the masks in force, where it differs from that of the step

    def sparsity_in_force(self, of_step: float) -> float:
        """That of the masks which say what is pruned."""
        return of_step if self.sparsity is None else self.sparsity


def masked_sgd_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    thetas: Sequence[Theta],
    scores: Sequence[Tensor],
    momenta: Sequence[Tensor],
    thresholds: Thresholds,
    *,
    sparsity: float,
    lr: float | Tensor,
    momentum: float,
    weight_decay: float,
    rank_by: RankBy,
    max_norm: float | None = None,
    redraw: Redraw | None = None,
) -> None:
    """One step in place: redraw, SGD on the scores, then ``params = thetas * mask``.

    Each list holds one tensor a layer, all of a layer's shape. ``grads`` are gradients of the effective
    weights; ``max_norm`` bounds the norm of those of the scores, over all layers. Rounding follows
    ``torch.optim.SGD(foreach=False)`` on the scores. Here ``thresholds`` is not used.
    """
    if redraw is not None:
        redraw_all_(thetas, scores, redraw.sparsity_in_force(sparsity), rank_by, redraw)
    scale = None if max_norm is None else score_grad_scale(grads, thetas, scores, rank_by, max_norm)
    for layer in zip(params, grads, thetas, scores, momenta, strict=True):
        update_layer_(
            *layer,
            sparsity=sparsity,
            lr=float(lr),
            momentum=momentum,
            weight_decay=weight_decay,
            rank_by=rank_by,
            scale=scale,
        )


def update_layer_(
    param: Tensor,
    grad: Tensor,
    theta: Theta,
    score: Tensor,
    buffer: Tensor,
    *,
    sparsity: float,
    lr: float,
    momentum: float,
    weight_decay: float,
    rank_by: RankBy,
    scale: Tensor | None,
) -> None:
    """One layer's step, with its scores' gradient multiplied by ``scale``."""
    step = score_grad(grad, theta, score, rank_by)
    if scale is not None:
        step = step.mul_(scale)
    if weight_decay != 0:
        step = step.add_(score, alpha=weight_decay)
    if momentum != 0:
        step = buffer.mul_(momentum).add_(step)
    score.add_(step, alpha=-lr)
    write_effective_(param, theta, keep_mask(score, sparsity, rank_by))


def score_grad(grad: Tensor, theta: Theta, score: Tensor, rank_by: RankBy) -> Tensor:
    """The gradient of one layer's scores, from that of its effective weights."""
    step = grad.to(score.dtype) * unpacked(theta)
    return step.mul_(score.sign()) if rank_by == "abs_scores" else step


def score_grad_scale(
    grads: Sequence[Tensor], thetas: Sequence[Theta], scores: Sequence[Tensor], rank_by: RankBy, max_norm: float
) -> Tensor:
    """What the scores' gradients are multiplied with so that their norm, over all layers, is at most ``max_norm``.

    As ``torch.nn.utils.clip_grad_norm_`` computes it; shape (), on the scores' device.
    """
    norms = [
        torch.linalg.vector_norm(score_grad(grad, theta, score, rank_by))
        for grad, theta, score in zip(grads, thetas, scores, strict=True)
    ]
    total = torch.linalg.vector_norm(torch.stack(norms))
    scale: Tensor = (max_norm / (total + 1e-6)).clamp_(max=1.0)
    return scale


def write_effective_(param: Tensor, theta: Theta, mask: Tensor) -> None:
    """``param = theta`` where the mask keeps, else +0.0: a select, since a product would leave -0 and NaN."""
    param.copy_(effective(theta, mask))


def effective(theta: Theta, mask: Tensor) -> Tensor:
    """theta where the mask keeps, else +0.0."""
    return torch.where(mask, unpacked(theta), 0.0)


def redraw_all_(
    thetas: Sequence[Theta], scores: Sequence[Tensor], sparsity: float, rank_by: RankBy, redraw: Redraw
) -> None:
    """Draw pruned weights of each layer again, by the masks of the scores as they stand, in place."""
    redraw_pruned_(thetas, (keep_mask(score, sparsity, rank_by) for score in scores), redraw)


def redraw_pruned_(thetas: Sequence[Theta], masks: Iterable[Tensor], redraw: Redraw) -> None:
    """Draw weights of each layer that its mask prunes again, in place."""
    for i, (theta, mask) in enumerate(zip(thetas, masks, strict=True)):
        drawn = unpacked(theta)
        redraw_(drawn, ~mask, redraw, i)
        if isinstance(theta, Signs):
            theta.pack_(drawn)


def redraw_(theta: Tensor, pruned: Tensor, redraw: Redraw, layer: int) -> None:
    """Draw the chosen ones of the ``pruned`` weights of layer number ``layer`` again, in place."""
    parameter = redraw.parameters[layer]
    choice = redraw_mask(
        theta.numel(), redraw.prob, seed=redraw.seed, draw=redraw.draw, parameter=parameter, device=theta.device
    )
    fresh = draw_values_(
        torch.empty_like(theta),
        redraw.distribution,
        fan_in=redraw.fan_ins[layer],
        seed=redraw.seed,
        draw=redraw.draw,
        parameter=parameter,
    )
    theta.copy_(torch.where(pruned & choice.view(theta.shape), fresh, theta))


def num_pruned(num_weights: int, sparsity: float) -> int:
    """How many of a layer's weights are removed: ``round(sparsity * (n - 1))``, so at least one survives."""
    return max(round(sparsity * (num_weights - 1)), 0)


def keep_mask(scores: Tensor, sparsity: float, rank_by: RankBy) -> Tensor:
    """The mask of one layer: bool, shape of ``scores``; exactly ``num_pruned`` entries are False.

    Order: by rank value, ties by logical index, NaN above all, -0 equal to +0; the first ones are pruned.
    """
    return keep_highest(scores if rank_by == "scores" else scores.abs(), num_pruned(scores.numel(), sparsity))


def keep_highest(rank: Tensor, count: int) -> Tensor:
    """Which weights stay when ``count`` of them are pruned, in the order of ``keep_mask``: bool, shape of ``rank``."""
    if count == 0:
        return torch.ones_like(rank, dtype=torch.bool)
    flat = rank.detach().reshape(-1)
    keep = _keep_by_partition(flat, count) if flat.device.type == "cpu" else _keep_by_sort(flat, count)
    return keep.view(rank.shape)


def _keep_by_sort(flat: Tensor, count: int) -> Tensor:
    # Adding 0 turns -0 into +0, which a radix sort would tell apart.
    order = torch.sort(flat + 0, stable=True).indices
    return torch.ones_like(flat, dtype=torch.bool).index_fill_(0, order[:count], False)


def _keep_by_partition(flat: Tensor, count: int) -> Tensor:
    values = flat.numpy()
    return torch.from_numpy(keep_above(values, np.partition(values, count - 1)[count - 1], count))


def keep_above(values: npt.NDArray[Any], threshold: Any, count: int) -> npt.NDArray[np.bool_]:
    """Which of ``values`` (n,) stay when ``count`` are pruned, the last of them being equal to ``threshold``."""
    if np.isnan(threshold):  # NaN is last in numpy's order too
        keep, ties = np.zeros(values.size, dtype=np.bool_), np.isnan(values)
    else:
        keep, ties = ~(values <= threshold), values == threshold
    missing = values.size - count - np.count_nonzero(keep)
    if missing:
        keep[np.flatnonzero(ties)[-missing:]] = True
    return keep
