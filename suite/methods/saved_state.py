"""The state of a masked optimizer as it is saved: what it must hold, and how it is taken back."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from suite.methods.param_groups import theta_fan_in
from suite.methods.update import adam
from suite.methods.update.signs import Signs, unpacked

STATE = ("theta", "scores", "momentum_buffer")
ADDED = {  # settings that states of earlier releases do not have, and what was true then
    "scale_fan": False,
    "plain_lr": None,
    "scope": "layer",
    "sparsity_schedule": None,
    "update": "sgd",
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
}
UPDATE_STATE = {"sgd": STATE[2:], "adam": adam.STATE}
_Groups = Sequence[dict[str, Any]]


def complete(groups: _Groups, added: dict[str, Any] = ADDED) -> None:
    """Give the groups of an earlier release the settings that they lack, with what was true then."""
    first = 0
    for group in groups:
        group.update(added | {"first_parameter": first} | group)
        first = group["first_parameter"] + len(group["params"])


def check_state(given: dict[str, Any], groups: _Groups, settings: set[str], keys: Sequence[str] = STATE) -> None:
    """Raise ValueError for a state that is not of these groups' parameters and of a method with these settings.

    ``keys`` are those of a masked parameter's state, of which the last one is the momentum.
    """
    members = [(param, group) for group in groups for param in group["params"]]
    numbers = [(number, group) for group in given["param_groups"] for number in group["params"]]
    for group in given["param_groups"]:
        if missing := sorted(settings - group.keys() - ADDED.keys() - {"first_parameter"}):
            raise ValueError(f"saved param_groups: have no {missing[0]!r}: saved by another method")
    for (number, saved), (param, group) in zip(numbers, members, strict=False):  # torch says where numbers differ
        state = given["state"].get(number) or {}
        if not state and not param.requires_grad:
            continue
        of_update = UPDATE_STATE[saved.get("update", "sgd")]
        for key in (*keys[:-1], *of_update) if group["sparsity"] is not None else of_update:
            shape = getattr(state.get(key), "shape", None)
            wanted = torch.Size() if key == "step" else param.shape
            if shape != wanted:
                found = "is missing" if shape is None else f"has shape {tuple(shape)}"
                raise ValueError(f"saved state of parameter {number}: {key} {found}: must be {tuple(wanted)}")
        if saved.get("pack_signs") and group["sparsity"] is not None:
            packed(state["theta"], param, ADDED | saved | {"params": group["params"]})


def like(param: Tensor, value: Any) -> Any:
    """A copy of a saved state value, in its own dtype, on the parameter's device and in its memory format."""
    if not isinstance(value, Tensor):
        return value
    if value.shape != param.shape:
        return value.clone()
    return torch.empty_like(param, dtype=value.dtype).copy_(value)


def new_update_state(tensor: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
    """What the update rule of a group keeps of a tensor that it trains, before the first step."""
    return adam.new_state(tensor) if group.get("update") == "adam" else {"momentum_buffer": torch.zeros_like(tensor)}


def theta_like(param: Tensor) -> Tensor:
    """A parameter's present values, as theta holds them."""
    return param.detach().to(torch.promote_types(param.dtype, torch.float32), copy=True)


def packed(theta: Tensor, param: Tensor, group: dict[str, Any]) -> Signs:
    """theta as signs of the number that its group draws."""
    return Signs.packed(theta, math.sqrt(2 / theta_fan_in(param, group)))


def unpack(_: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state with numbers in place of signs; what the optimizer holds is not touched."""
    states = state_dict["state"].items()
    numbers = {
        number: {key: unpacked(value) if isinstance(value, Signs) else value for key, value in state.items()}
        for number, state in states
    }
    return {**state_dict, "state": numbers}
