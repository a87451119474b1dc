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
        The sum of the losses of this rank's images: float64 (), detached.
    """
    run.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), dtype=torch.float64, device=run.device)
    num = num_micro_batches(run.trial, count)
    parts = list(zip(torch.tensor_split(images, num), torch.tensor_split(labels, num), strict=True))
    for number, (some, theirs) in enumerate(parts, start=1):
        with run.group.without_sync(run.ddp_model, number < len(parts)):
            loss = _loss(run, some, theirs)
            (loss * (run.group.world_size * len(theirs) / count)).backward()  # type: ignore[no-untyped-call]
        total += loss.detach() * len(theirs)
    run.optimizer.step()
    return total


def _loss(run: Run, images: Tensor, labels: Tensor) -> Tensor:
    """The mean loss; of no images, a zero that takes part in the exchange of gradients all the same."""
    if len(labels):
        return functional.cross_entropy(run.compute_logits(run.ddp_model, images), labels)
    # Batch norm takes no empty batch, and its synchronized form no image that is not there.
    stand_in = images.new_zeros((0 if run.trial.sync_batch_norm else 2, *images.shape[1:]))
    return run.compute_logits(run.ddp_model, stand_in).sum() * 0
