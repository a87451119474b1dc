"""Accuracy and loss of a model on one split."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from suite.data.arrays import ArrayData, SplitName

BATCH_SIZE = 1000  # fixed: another one could change the last bits of a loss


@dataclass(frozen=True)
class Evaluation:
    """``top1`` in [0, 1], mean cross-entropy ``loss``, and the predicted class of each image, in order."""

    top1: float
    loss: float
    predictions: list[int]


@torch.no_grad()
def evaluate(model: nn.Module, data: ArrayData, split: SplitName) -> Evaluation:
    """Evaluate ``model`` on a split, every image once; leaves the model in evaluation mode."""
    model.eval()
    predictions, losses, correct = [], [], []
    for images, labels in data.batches(split, BATCH_SIZE):
        logits = model(images)
        losses.append(functional.cross_entropy(logits, labels, reduction="sum").double())
        predictions.append(logits.argmax(dim=1))
        correct.append((predictions[-1] == labels).sum())
    num = len(getattr(data, split))
    return Evaluation(
        top1=int(torch.stack(correct).sum()) / num,
        loss=float(torch.stack(losses).sum()) / num,
        predictions=torch.cat(predictions).tolist(),
    )
