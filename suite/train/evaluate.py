"""Accuracy and loss of a model on one split."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from suite.data.arrays import shard_range
from suite.data.interface import Data, SplitName
from suite.train.distributed import SINGLE_PROCESS, Group


@dataclass(frozen=True)
class Evaluation:
    """``top1`` in [0, 1], mean cross-entropy ``loss``; by image the class predicted and whether it is right."""

    top1: float
    loss: float
    predictions: list[int]
    correct: list[bool]


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor], Tensor],
    data: Data,
    split: SplitName,
    *,
    group: Group = SINGLE_PROCESS,
    after_batch: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate a network on a split, every image once whatever the number of ranks.

    Args:
        predict: from images to logits; the network is in evaluation mode.
        data: where the split is.
        split: its name.
        group: the ranks, each of which takes its share; all get the same answer.
        after_batch: called after each batch, on every rank equally often.
    """
    num = data.num_images(split)
    of_images = torch.zeros((2, num), dtype=torch.int64)  # predicted classes, and whether they are right
    loss = torch.zeros((), dtype=torch.float64)
    start, _ = shard_range(num, rank=group.rank, world_size=group.world_size)
    found, losses = [], []
    for images, labels in data.batches(split, data.eval_batch_size, rank=group.rank, world_size=group.world_size):
        if len(labels):
            logits = predict(images)
            losses.append(functional.cross_entropy(logits, labels, reduction="sum").double())
            predicted = logits.argmax(dim=1)
            found.append(torch.stack([predicted, predicted == labels]))
        after_batch()
    if found:
        mine = torch.cat(found, dim=1).cpu()
        of_images[:, start : start + mine.shape[1]] = mine
        loss = torch.stack(losses).sum()
    predictions, correct = group.all_reduce_sum(of_images)
    return Evaluation(
        top1=int(correct.sum()) / num,
        loss=float(group.all_reduce_sum(loss)) / num,
        predictions=predictions.tolist(),
        correct=correct.bool().tolist(),
    )
