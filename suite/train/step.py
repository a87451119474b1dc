"""One update: a rank's share of a batch goes forward and backward, in parts if asked, then the optimizer steps."""

import torch
from torch import Tensor
from torch.nn import functional

from suite.train.setup import Run, num_micro_batches


def train_step(run: Run, images: Tensor, labels: Tensor, count: int) -> Tensor:
    """Update on a batch of ``count`` images, of which this rank has ``images`` (B, C, H, W), maybe none.

    The gradient is that of the mean loss over the whole batch, whatever the number of ranks and parts. Batch norm is
    the exception: its statistics are those of one part on one rank.

    Returns:
        The sum of the losses of this rank's images: (), detached; float64 where they came in parts.
    """
    for group in run.optimizer.param_groups:
        for param in group["params"]:
            param.grad = None  # as zero_grad does, whose label for profilers takes ten times as long
    num = num_micro_batches(run.trial, count)
    total = _backward(run, images, labels, count) if num == 1 else _backward_in_parts(run, images, labels, count, num)
    run.optimizer.step()
    return total


def _backward_in_parts(run: Run, images: Tensor, labels: Tensor, count: int, num: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64, device=run.device)
    parts = list(zip(torch.tensor_split(images, num), torch.tensor_split(labels, num), strict=True))
    for number, (some, theirs) in enumerate(parts, start=1):
        with run.group.without_sync(run.ddp_model, number < len(parts)):
            total += _backward(run, some, theirs, count)
    return total


def _backward(run: Run, images: Tensor, labels: Tensor, count: int) -> Tensor:
    """Add the gradients of some of a batch's images; the sum of their losses."""
    loss = _loss(run, images, labels)
    share = run.group.world_size * len(labels) / count  # not as backward's gradient, which imports sympy
    (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
    return loss.detach() * len(labels)


def _loss(run: Run, images: Tensor, labels: Tensor) -> Tensor:
    """The mean loss; of no images, a zero that takes part in the exchange of gradients all the same."""
    if len(labels):
        return functional.cross_entropy(run.compute_logits(run.ddp_model, images), labels)
    # Batch norm takes no empty batch, and its synchronized form no image that is not there.
    stand_in = images.new_zeros((0 if run.trial.sync_batch_norm else 2, *images.shape[1:]))
    return run.compute_logits(run.ddp_model, stand_in).sum() * 0
