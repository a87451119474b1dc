"""The redraws of IteRand, one number at a time."""

import math
from typing import Any

import torch

from suite.methods.random import Stream, random_words


def slow_redraw(layer: Any, position: int, *, seed: int, draw: int, prob: float, distribution: str) -> None:
    """Draw pruned weights again, one at a time, from the words that docs/explanation/methods.md names."""
    where = {"seed": seed, "draw": draw, "parameter": position}
    choice = random_words(layer.theta.numel(), stream=Stream.REDRAW, **where).tolist()
    value = random_words(layer.theta.numel(), stream=Stream.VALUES, **where).tolist()
    keep, theta = layer.not_redrawn().flatten().tolist(), layer.theta.view(-1)
    fan_in = layer.theta[0].numel()
    for i, kept in enumerate(keep):
        if not kept and choice[i] < prob * 2**32:
            if distribution == "signed_constant":
                number = torch.tensor(math.sqrt(2 / fan_in)).copysign(torch.tensor(value[i] - 2**31 + 0.5))
            else:
                number = torch.tensor(float((value[i] >> 8) - 2**23)) * (math.sqrt(6 / fan_in) / 2**23)
            theta[i] = number
