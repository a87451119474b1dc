"""Accuracy and loss of a model on one split."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from suite.data import Data, SplitName
from suite.data.arrays import share_of
from suite.distributed import ALONE, Group


@dataclass(frozen=True)
class Evaluation:
    """``top1`` in [0, 1], mean cross-entropy ``loss``, and the predicted class of each image, in order."""

    top1: float
    loss: float
    predictions: list[int]


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor], Tensor],
    data: Data,
    split: SplitName,
    *,
    group: Group = ALONE,
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate a network on a split, every image once whatever the number of ranks.

    Args:
        predict: from images to logits; the network is in evaluation mode.
        data: where the split is.
        split: its name.
        group: the ranks, each of which takes its share; all get the same answer.
        between: called after each batch, on every rank equally often.
    """
    num = data.num_images(split)
    predictions = torch.zeros(num, dtype=torch.int64)
    loss = torch.zeros((), dtype=torch.float64)
    correct = torch.zeros((), dtype=torch.int64)
    start, _ = share_of(num, rank=group.rank, world_size=group.world_size)
    found, losses, hits = [], [], []
    for images, labels in data.batches(split, data.eval_batch_size, rank=group.rank, world_size=group.world_size):
        if len(labels):
            logits = predict(images)
            losses.append(functional.cross_entropy(logits, labels, reduction="sum").double())
            found.append(logits.argmax(dim=1))
            hits.append((found[-1] == labels).sum())
        between()
    if found:
        mine = torch.cat(found).cpu()
        predictions[start : start + len(mine)] = mine
        loss, correct = torch.stack(losses).sum(), torch.stack(hits).sum()
    return Evaluation(
        top1=int(group.sum_(correct)) / num,
        loss=float(group.sum_(loss)) / num,
        predictions=group.sum_(predictions).tolist(),
    )
