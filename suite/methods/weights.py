"""Weight optimization: SGD or Adam on the weights, the dense baseline."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.optimizer import Optimizer, ParamsT

from suite.config import Distribution, Update
from suite.methods.dense_sgd import DTYPES, sgd_
from suite.methods.param_groups import (
    SGD_RULES,
    UPDATE_RULES,
    check_drawable,
    check_settings,
    fan_in_of,
    once,
    start_group,
)
from suite.methods.random import draw_values_
from suite.methods.step_hooks import has_hooks
from suite.methods.update import adam
from suite.methods.watch import SettingsWatch, watches_of

_sgd_step = inspect.unwrap(SGD.step)  # torch's wrapper around it imports dynamo, which takes more than a second


_RULES = SGD_RULES | UPDATE_RULES
_UNSET = {  # the settings that SGD does not have
    "distribution": None,
    "update": "sgd",
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "seed": 0,
    "first_parameter": 0,
    "fan_in": None,
}


def _check_group(group: dict[str, Any]) -> None:
    check_settings(group, _RULES)
    check_drawable(group)


def _is_plain(group: dict[str, Any]) -> bool:
    """A group asks for nothing but what the suite's settings say, and leaves the form of the step to us."""
    asked = ("dampening", "nesterov", "maximize", "foreach", "fused", "differentiable")
    return not any(group[key] for key in asked) and not isinstance(group["lr"], Tensor)


def _is_in_memory(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_cpu and tensor.dtype in DTYPES and tensor.layout is torch.strided


class Weights(SGD):
    """``torch.optim.SGD``, which first draws each parameter with 2 dimensions or more as the suite does.

    Args:
        params: as any torch optimizer takes them; all are trained and decayed. One that is given twice counts once, one
            without ``requires_grad`` is left alone.
        lr: learning rate.
        momentum: of SGD.
        weight_decay: L2 penalty, of SGD and of Adam.
        distribution: what the weights are drawn from; None keeps the present values.
        update: "sgd", or "adam": as ``torch.optim.Adam``, for all groups.
        beta1: of Adam's average of gradients.
        beta2: of Adam's average of their squares.
        eps: of Adam, added to the root of that average.
        seed: of the random streams, in [0, 2^32).
        first_parameter: position of the first parameter in the random streams; see ``EdgePopup``.

    Raises:
        ValueError: a value out of range.
    """

    masked: ClassVar[bool] = False

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float | Tensor,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        distribution: Distribution | None = "kaiming_uniform",
        update: Update = "sgd",
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        seed: int = 0,
        first_parameter: int = 0,
    ) -> None:
        own: dict[str, Any] = dict(distribution=distribution, update=update, beta1=beta1, beta2=beta2, eps=eps)
        own |= dict(seed=seed, first_parameter=first_parameter, fan_in=None)
        sgd = dict(lr=lr, momentum=momentum, weight_decay=weight_decay)
        check_settings(own | sgd, _RULES)
        self._own = own
        super().__init__(params, **sgd)  # type: ignore[arg-type] # mypy does not know which key is of which type
        self.defaults.update(own)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update."""
        if has_hooks(self):
            return self._hooked_step(closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined] # see step_hooks

    @torch.no_grad()
    def _step(self, closure: Callable[[], float] | None) -> float | None:
        for watch in watches_of(self, lambda group: SettingsWatch(group, _check_group, _RULES)):
            watch.check_settings()
        if any(group["update"] == "adam" for group in self.param_groups):
            return self._adam_step(closure)
        if closure is None and not torch.compiler.is_compiling() and self._update():
            return None
        loss: float | None = _sgd_step(self, closure)
        return loss

    _hooked_step = Optimizer.profile_hook_step(_step)

    def _adam_step(self, closure: Callable[[], float] | None) -> float | None:
        if others := [group["update"] for group in self.param_groups if group["update"] != "adam"]:
            raise ValueError(f"update: {others[0]!r}: must be that of all groups, another one has 'adam'")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            for param in params:
                if not self.state[param].keys() >= set(adam.STATE):
                    self.state[param].update(adam.new_state(param))
            grads = [param.grad for param in params]
            adam.adam_(params, grads, [self.state[param] for param in params], group)
        return loss

    def _update(self) -> bool:
        """Update all weights, unless some are not as ``sgd_`` takes them, or have no momentum yet: then none."""
        if not all(map(_is_plain, self.param_groups)):
            return False
        updates = []
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            grads = [param.grad for param in params]
            buffers = [self.state[param].get("momentum_buffer") for param in params] if group["momentum"] else []
            if not all(map(_is_in_memory, (*params, *grads, *buffers))):
                return False
            updates.append((group, params, grads, buffers))
        for group, *tensors in updates:
            if tensors[0]:
                sgd_(*tensors, lr=group["lr"], momentum=group["momentum"], weight_decay=group["weight_decay"])
        return True

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as SGD does, and draw its weights."""
        given, group = set(param_group), once(param_group)
        super().add_param_group(group)
        for key, value in self._own.items():  # SGD's constructor, which adds groups too, does not know them
            group.setdefault(key, value)
        start_group(group, self.param_groups[:-1], given)
        try:
            self._draw(group)
        except ValueError:
            self.param_groups.pop()
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._own = {key: self.defaults.get(key, value) for key, value in _UNSET.items()}
        for group in self.param_groups:  # that torch's SGD saved, or an earlier release
            group.update(self._own | group)
        for values in self.state.values():
            for key in [key for key, value in values.items() if value == {}]:  # of a flattened distributed checkpoint
                del values[key]
            for key in values.keys() & set(adam.STATE):
                values[key] = values[key].clone()  # which torch would share with the dict that was loaded

    @torch.no_grad()
    def _draw(self, group: dict[str, Any]) -> None:
        _check_group(group)
        for position, param in enumerate(group["params"], start=group["first_parameter"]):
            if group["distribution"] is not None and param.ndim >= 2 and param.requires_grad:
                draw_values_(
                    param,
                    group["distribution"],
                    fan_in=fan_in_of(param, group),
                    seed=group["seed"],
                    draw=0,
                    parameter=position,
                )
