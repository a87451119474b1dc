"""Parameter groups: what they may hold. Errors name the value, the rule and the valid choices."""

import math
from collections.abc import Callable, Container, Sequence
from typing import Any, get_args

from torch import Tensor, nn

from suite.config import Scope, Update
from suite.methods.random import DISTRIBUTIONS, SCORE_INITS, scaled_fan_in
from suite.methods.refusals import check_whole
from suite.methods.sparsity_schedule import RULE, is_schedule
from suite.methods.update.plain import RANKINGS
from suite.methods.weight_matrices import Weight

Rule = tuple[Callable[[Any], bool], str]
SCOPES: tuple[Scope, ...] = get_args(Scope)
UPDATES: tuple[Update, ...] = get_args(Update)

SGD_RULES: dict[str, Rule] = {
    "lr": (lambda v: 0 <= float(v) < math.inf, "must be at least 0 and finite"),
    "momentum": (lambda v: 0 <= v < 1, "must be in [0, 1)"),
    "weight_decay": (lambda v: 0 <= v < math.inf, "must be at least 0 and finite"),
    "distribution": (lambda v: v is None or v in DISTRIBUTIONS, f"must be one of {', '.join(DISTRIBUTIONS)}, or None"),
    "seed": (lambda v: _is_whole(v) and 0 <= v < 2**32, "must be a whole number in [0, 2^32)"),
    "first_parameter": (lambda v: _is_whole(v) and 0 <= v < 2**31, "must be a whole number in [0, 2^31)"),
    "fan_in": (
        lambda v: v is None or all(_is_whole(one) and one >= 1 for one in (v if isinstance(v, list) else [v])),
        "must be a whole number from 1, a list of one for each parameter, or None: by the shape",
    ),
}
UPDATE_RULES: dict[str, Rule] = {
    "update": (lambda v: v in UPDATES, f"must be one of {', '.join(UPDATES)}"),
    "beta1": (lambda v: 0 <= v < 1, "must be in [0, 1)"),
    "beta2": (lambda v: 0 <= v < 1, "must be in [0, 1)"),
    "eps": (lambda v: 0 < v < math.inf, "must be above 0 and finite"),
}
RULES: dict[str, Rule] = {
    **SGD_RULES,
    **UPDATE_RULES,
    "sparsity": (lambda v: v is None or 0 <= v < 1, "must be in [0, 1), or None for plain SGD"),
    "rank_by": (lambda v: v in RANKINGS, f"must be one of {', '.join(RANKINGS)}"),
    "scope": (lambda v: v in SCOPES, f"must be one of {', '.join(SCOPES)}"),
    "sparsity_schedule": (is_schedule, RULE),
    "score_init": (lambda v: v in SCORE_INITS, f"must be one of {', '.join(SCORE_INITS)}"),
    "scale_fan": (lambda v: isinstance(v, bool), "must be True or False"),
    "max_score_grad_norm": (lambda v: v is None or 0 < v < math.inf, "must be above 0 and finite, or None: no bound"),
    "pack_signs": (lambda v: isinstance(v, bool), "must be True or False"),
    "plain_lr": (lambda v: v is None or 0 <= v < math.inf, "must be at least 0 and finite, or None: lr"),
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
    check_drawable(group)
    if group["sparsity"] is None:
        return
    if group["pack_signs"] and group["distribution"] != "signed_constant":
        raise ValueError(f"pack_signs: True: distribution must be signed_constant, it is {group['distribution']!r}")
    if group["scale_fan"] and group["distribution"] is None:
        raise ValueError(f"scale_fan: True: distribution must be one of {', '.join(DISTRIBUTIONS)}, it is None")
    check_maskable(group)


def check_maskable(group: dict[str, Any]) -> None:
    """Raise ValueError for a parameter of a masked group that cannot be masked."""
    for name, param in named(group) if group["sparsity"] is not None else ():
        if param.ndim < 2 or not param.is_floating_point():
            raise ValueError(
                f"parameter {name}: shape {tuple(param.shape)}, {param.dtype}: a masked parameter is floating point "
                "and has at least 2 dimensions; pass methods.prunable(model), or put this one in a group with "
                "sparsity=None"
            )
        if not (param.requires_grad or isinstance(param, nn.Parameter)):
            raise ValueError(
                f"parameter {name}: requires no gradient and is no nn.Parameter: where its layer is parametrized, call "
                "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight') first"
            )


def check_drawable(group: dict[str, Any]) -> None:
    """Raise ValueError for parameters that no distribution can be drawn for, or another number of fan-ins."""
    for name, param in named(group):
        check_whole(name, param)
        if group["distribution"] is not None and param.requires_grad and param.is_complex():
            raise ValueError(f"parameter {name}: {param.dtype}: pass distribution=None, or a real parameter")
    if isinstance(group["fan_in"], list) and len(group["fan_in"]) != len(group["params"]):
        given = f"{len(group['fan_in'])} values for {len(group['params'])} parameters"
        raise ValueError(f"fan_in: {given}: must be one for each, or one number, or None")


def named(group: dict[str, Any]) -> list[tuple[str, Tensor]]:
    """The parameters of a group, with their names or numbers."""
    names, params = group.get("param_names") or [], group["params"]
    if len(names) != len(params):  # none, or params were put in or taken out by hand
        names = [f"number {i} of its group" for i in range(len(params))]
    return list(zip(names, params, strict=True))


def once(param_group: dict[str, Any]) -> dict[str, Any]:
    """A group with each of its parameters once, and with the fan-ins that pairs of ``prunable`` know."""
    if not isinstance(param_group, dict) or isinstance(param_group["params"], set):
        return param_group  # which torch refuses
    params = param_group["params"]
    params = [params] if isinstance(params, Tensor) else params
    unique: dict[int, Any] = {}
    for item in params:
        unique.setdefault(id(item[1] if isinstance(item, tuple) else item), item)
    pairs = list(unique.values())
    group = param_group
    group["params"] = pairs  # in the caller's own dict, as torch does
    if group.get("fan_in") is None and any(isinstance(pair, Weight) for pair in pairs):
        fan_ins = [_known_fan_in(pair) for pair in pairs]
        by_shape = [fan_in_by_shape(pair[1] if isinstance(pair, tuple) else pair) for pair in pairs]
        group["fan_in"] = fan_ins if fan_ins != by_shape else None
    return group


def start_group(group: dict[str, Any], earlier: Sequence[dict[str, Any]], given: Container[str]) -> None:
    """Set what a new group leaves open: its first parameter's position follows those of ``earlier`` groups."""
    group.setdefault("fan_in", None)
    if "first_parameter" not in given and earlier:
        group["first_parameter"] = earlier[-1]["first_parameter"] + len(earlier[-1]["params"])


def fan_in_of(param: Tensor, group: dict[str, Any]) -> int:
    """Inputs of one output unit: the group's ``fan_in`` where set, else the product of all sizes but the first."""
    given = group["fan_in"]
    if isinstance(given, list):
        given = next(one for own, one in zip(group["params"], given, strict=True) if own is param)
    return int(given or fan_in_by_shape(param))


def theta_fan_in(param: Tensor, group: dict[str, Any]) -> float:
    """What theta is drawn with: ``fan_in_of``, scaled in a masked group with ``scale_fan``."""
    fan_in = fan_in_of(param, group)
    return scaled_fan_in(fan_in, group["sparsity"]) if group["scale_fan"] and group["sparsity"] is not None else fan_in


def fan_in_by_shape(param: Tensor) -> int:
    """The product of all sizes but the first; 1 where that is 0."""
    return max(math.prod(param.shape[1:]), 1)


def _known_fan_in(pair: Any) -> int:
    if isinstance(pair, Weight):
        return pair.fan_in
    return fan_in_by_shape(pair[1] if isinstance(pair, tuple) else pair)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
