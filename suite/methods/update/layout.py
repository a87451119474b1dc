"""How the tensors of one layer lie in memory: fast forms go through it in order, ties and draws by logical index."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from suite.methods.update.signs import Signs


def have_same_strides(param: Tensor, theta: Tensor | Signs, score: Tensor, buffer: Tensor) -> bool:
    """Whether a place in memory is the same weight in all of them."""
    stride = theta.stride if isinstance(theta, Signs) else theta.stride()
    return param.stride() == stride == buffer.stride() == score.stride()


def match_strides(score: Tensor, tensor: Tensor) -> Tensor:
    """``tensor`` itself, or a copy that lies in memory as ``score`` does."""
    return tensor if tensor.stride() == score.stride() else torch.empty_like(score, dtype=tensor.dtype).copy_(tensor)


def inner_sizes(score: Tensor) -> tuple[int, int]:
    """Channels and pixels of one output unit where memory holds pixels of channels; (1, 1) where it is as the index."""
    if score.is_contiguous():
        return 1, 1
    if score.ndim == 4 and score.is_contiguous(memory_format=torch.channels_last):
        return score.shape[1], score.shape[2] * score.shape[3]
    return 0, 0


def logical_index(positions: npt.NDArray[Any], like: Tensor) -> npt.NDArray[Any]:
    """The logical indices of the weights at ``positions`` of the memory of a dense tensor."""
    index = np.zeros_like(positions)
    for size, stride in zip(like.shape, like.stride(), strict=True):
        index = index * size + positions // stride % size
    return index
