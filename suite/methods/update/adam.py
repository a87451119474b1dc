"""The update of ``torch.optim.Adam``, by single operations on one tensor after the other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

STATE = ("exp_avg", "exp_avg_sq", "step")


def new_state(param: Tensor) -> dict[str, Tensor]:
    """That of a tensor which was never updated: two averages in its shape, and a count, float32, ()."""
    averages = {key: torch.zeros_like(param) for key in STATE[:2]}
    return averages | {"step": torch.zeros((), dtype=torch.float32)}


def adam_(
    params: Sequence[Tensor], grads: Sequence[Tensor], states: Sequence[dict[str, Tensor]], group: dict[str, Any]
) -> None:
    """One step in place, rounded as ``torch.optim.Adam(foreach=False)``; ``group`` has the settings."""
    averages, squares, steps = ([state[key] for state in states] for key in STATE)
    adam(
        list(params),
        list(grads),
        averages,
        squares,
        [],
        steps,
        foreach=False,
        fused=False,
        has_complex=any(map(torch.is_complex, params)),
        amsgrad=False,
        beta1=group["beta1"],
        beta2=group["beta2"],
        lr=float(group["lr"]),
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
