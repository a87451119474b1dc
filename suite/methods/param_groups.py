"""Parameter groups: what they may hold. Errors name the value, the rule and the valid choices."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from suite.methods.random import DISTRIBUTIONS, SCORE_INITS, scaled_fan_in
from suite.methods.update.plain import RANKINGS

Rule = tuple[Callable[[Any], bool], str]

SGD_RULES: dict[str, Rule] = {
    "lr": (lambda v: 0 <= float(v) < math.inf, "must be at least 0 and finite"),
    "momentum": (lambda v: 0 <= v < 1, "must be in [0, 1)"),
    "weight_decay": (lambda v: 0 <= v < math.inf, "must be at least 0 and finite"),
    "distribution": (lambda v: v is None or v in DISTRIBUTIONS, f"must be one of {', '.join(DISTRIBUTIONS)}, or None"),
    "seed": (lambda v: _is_whole(v) and 0 <= v < 2**32, "must be a whole number in [0, 2^32)"),
    "fan_in": (
        lambda v: v is None or (_is_whole(v) and v >= 1),
        "must be a whole number from 1, or None: by the shape",
    ),
}
RULES: dict[str, Rule] = {
    **SGD_RULES,
    "sparsity": (lambda v: v is None or 0 <= v < 1, "must be in [0, 1), or None for plain SGD"),
    "rank_by": (lambda v: v in RANKINGS, f"must be one of {', '.join(RANKINGS)}"),
    "score_init": (lambda v: v in SCORE_INITS, f"must be one of {', '.join(SCORE_INITS)}"),
    "scale_fan": (lambda v: isinstance(v, bool), "must be True or False"),
    "max_score_grad_norm": (lambda v: v is None or 0 < v < math.inf, "must be above 0 and finite, or None: no bound"),
    "pack_signs": (lambda v: isinstance(v, bool), "must be True or False"),
}


def check_settings(group: dict[str, Any], rules: dict[str, Rule]) -> None:
    """Raise ValueError for the first setting of ``group`` that breaks its rule."""
    for key, (holds, rule) in rules.items():
        try:
            fine = holds(group[key])
        except (TypeError, ValueError):  # not even of the right kind
            fine = False
        if not fine:
            raise ValueError(f"{key}: {group[key]!r}: {rule}")


def check_masked_group(group: dict[str, Any]) -> None:
    """Raise ValueError for a setting out of range, or for a parameter that cannot be masked."""
    check_settings(group, RULES)
    if group["sparsity"] is None:
        return
    if group["pack_signs"] and group["distribution"] != "signed_constant":
        raise ValueError(f"pack_signs: True: distribution must be signed_constant, it is {group['distribution']!r}")
    if group["scale_fan"] and group["distribution"] is None:
        raise ValueError(f"scale_fan: True: distribution must be one of {', '.join(DISTRIBUTIONS)}, it is None")
    names = group.get("param_names") or [f"number {i} of its group" for i in range(len(group["params"]))]
    for name, param in zip(names, group["params"], strict=True):
        if param.ndim < 2 or param.numel() == 0 or not param.is_floating_point():
            raise ValueError(
                f"parameter {name}: shape {tuple(param.shape)}, {param.dtype}: a masked parameter is floating point, "
                "has at least 2 dimensions and is not empty; pass methods.prunable(model), "
                "or put this one in a group with sparsity=None"
            )


def fan_in_of(param: Tensor, group: dict[str, Any]) -> int:
    """Inputs of one output unit: the group's ``fan_in`` where set, else the product of all sizes but the first."""
    return int(group["fan_in"] or (param[0].numel() if param.ndim >= 2 else 1))


def theta_fan_in(param: Tensor, group: dict[str, Any]) -> float:
    """What theta is drawn with: ``fan_in_of``, scaled in a masked group with ``scale_fan``."""
    fan_in = fan_in_of(param, group)
    return scaled_fan_in(fan_in, group["sparsity"]) if group["scale_fan"] and group["sparsity"] is not None else fan_in


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
