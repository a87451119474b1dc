"""Masks of several layers by one threshold."""

from collections.abc import Sequence

import torch
from torch import Tensor

from suite.config import RankBy
from suite.methods.update.plain import keep_mask


def global_masks(scores: Sequence[Tensor], sparsity: float, rank_by: RankBy) -> list[Tensor]:
    """The masks of some layers by the rank of their scores among all: bool, of the scores' shapes.

    Of all n weights ``num_pruned(n, sparsity)`` are pruned: those that come first by rank, then by the position of
    their layer, then by logical index. A layer that would be emptied keeps its best weight in addition.
    """
    if not scores:
        return []
    whole = keep_mask(torch.cat([score.detach().reshape(-1) for score in scores]), sparsity, rank_by)
    masks = [
        part.view(score.shape)
        for part, score in zip(torch.split(whole, [s.numel() for s in scores]), scores, strict=True)
    ]
    return [
        mask if mask.any() or not mask.numel() else keep_mask(score, 1.0, rank_by)
        for mask, score in zip(masks, scores, strict=True)
    ]
