"""Weight optimization: SGD on the weights, the dense baseline."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.optimizer import Optimizer, ParamsT

from suite.config import Distribution
from suite.methods.dense_sgd import DTYPES, sgd_
from suite.methods.param_groups import SGD_RULES, check_settings, fan_in_of
from suite.methods.random import draw_values_
from suite.methods.step_hooks import has_hooks

_sgd_step = inspect.unwrap(SGD.step)  # torch's wrapper around it imports dynamo, which takes more than a second


def _is_plain(group: dict[str, Any]) -> bool:
    """A group asks for nothing but what the suite's settings say, and leaves the form of the step to us."""
    asked = ("dampening", "nesterov", "maximize", "foreach", "fused", "differentiable")
    return not any(group[key] for key in asked) and not isinstance(group["lr"], Tensor)


def _is_in_memory(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_cpu and tensor.dtype in DTYPES and tensor.layout is torch.strided


class Weights(SGD):
    """``torch.optim.SGD``, which first draws each parameter with 2 dimensions or more as the suite does.

    Args:
        params: as any torch optimizer takes them; all are trained and decayed.
        lr, momentum, weight_decay: of SGD.
        distribution: what the weights are drawn from; None keeps the present values.
        seed: of the random streams, in [0, 2^32).

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
        seed: int = 0,
    ) -> None:
        own = dict(
            lr=lr, momentum=momentum, weight_decay=weight_decay, distribution=distribution, seed=seed, fan_in=None
        )
        check_settings(own, SGD_RULES)
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.defaults.update(distribution=distribution, seed=seed, fan_in=None)
        first = 0
        for group in self.param_groups:
            self._draw(group, first)
            first += len(group["params"])

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of SGD."""
        if has_hooks(self):
            return self._hooked_step(closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined] # see step_hooks

    @torch.no_grad()
    def _step(self, closure: Callable[[], float] | None) -> float | None:
        if closure is None and not torch.compiler.is_compiling() and self._update():
            return None
        loss: float | None = _sgd_step(self, closure)
        return loss

    _hooked_step = Optimizer.profile_hook_step(_step)

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
        first = sum(len(group["params"]) for group in self.param_groups)
        super().add_param_group(param_group)
        if "distribution" not in self.defaults:
            return  # called by SGD's constructor: ours draws
        try:
            self._draw(self.param_groups[-1], first)
        except ValueError:
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def _draw(self, group: dict[str, Any], first: int) -> None:
        for key in ("distribution", "seed", "fan_in"):
            group.setdefault(key, self.defaults[key])
        check_settings(group, SGD_RULES)
        for position, param in enumerate(group["params"], start=first):
            if group["distribution"] is not None and param.ndim >= 2:
                fan_in = fan_in_of(param, group)
                draw_values_(
                    param, group["distribution"], fan_in=fan_in, seed=group["seed"], draw=0, parameter=position
                )
