"""What an optimizer knows of a group between two steps, to notice what others change; nothing here is state."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from suite.methods.param_groups import named
from suite.methods.refusals import why_replaced
from suite.methods.update.plain import Thresholds
from suite.methods.weight_matrices import Weight

Owner = tuple[nn.Module, str]
_KEPT_AS = "_known_groups"
AnyWatch = TypeVar("AnyWatch", bound="SettingsWatch")

CHANGED = (
    "was changed since the optimizer's last step, which would throw the change away. Load a checkpoint into the model "
    "before the optimizer is made, with distribution=None to keep its values, or load the optimizer's own state; "
    "optimizer.adopt() takes the present values as random weights"
)
UNKNOWN = "did not require a gradient when the optimizer was made: optimizer.adopt() trains it from its present values"
SPARSE = "has a sparse gradient: masks need dense ones: make its layer with sparse=False"


class SettingsWatch:
    """Checks the settings of a group where they are others than at the last look."""

    def __init__(self, group: dict[str, Any], check: Callable[[dict[str, Any]], None], keys: Iterable[str]) -> None:
        self.group, self._check, self.num_params = group, check, len(group["params"])
        self._keys = [key for key in keys if key != "lr"]  # schedules change that one at each step
        self._values = itemgetter(*self._keys)
        self._seen: Any = None

    def check_settings(self) -> None:
        """Raise ValueError for a value out of range."""
        group = self.group
        rate, values = group["lr"], self._values(group)
        if values != self._seen or not (isinstance(rate, Tensor) or 0 <= rate < math.inf):
            self._check(group)
            self._seen = values


class Watch(SettingsWatch):
    """That of a masked optimizer, which also sees whether its parameters are those it left."""

    def __init__(
        self,
        group: dict[str, Any],
        check: Callable[[dict[str, Any]], None],
        keys: Iterable[str],
        state: Mapping[Tensor, dict[str, Any]],
        owners: Mapping[int, Owner],
    ) -> None:
        super().__init__(group, check, keys)
        self.hints: dict[int, Thresholds] = defaultdict(dict)
        known = [(i, param) for i, param in enumerate(group["params"], group["first_parameter"]) if state.get(param)]
        self._members = [(i, param) for i, param in known if param.numel()]
        self._unknown = [param for param in group["params"] if not state.get(param)]
        self._masked = [param for _, param in known] if group["sparsity"] is not None else []
        self._owners = [(o._parameters, key, p) for p in self._masked if id(p) in owners for o, key in [owners[id(p)]]]
        self._modules = owners
        self._versions: list[int] | None = None

    def remember(self) -> None:
        """Take the present values of the parameters for those that the optimizer wrote."""
        self._versions = [param._version for param in self._masked]

    def check(self, holds: Callable[[Tensor, dict[str, Any]], bool]) -> None:
        """Raise ValueError for a setting out of range, RuntimeError for a parameter that was changed or replaced.

        ``holds`` says whether a parameter still has its effective weights; it is asked where somebody wrote to it.
        """
        for held, key, param in self._owners:
            if held.get(key) is not param:
                raise RuntimeError(f"parameter {self._name_of(param)}: {why_replaced(*self._modules[id(param)])}")
        if self._versions is None or [param._version for param in self._masked] != self._versions:
            self._compare(holds)
        self.check_settings()

    def with_gradients(self) -> tuple[list[int], list[Tensor], list[Tensor]]:
        """The positions of what is to be updated, the parameters and their gradients.

        Raises:
            RuntimeError: a parameter without state has a gradient.
            ValueError: a gradient of a masked parameter is sparse.
        """
        positions, params, grads = [], [], []
        for position, param in self._members:
            grad = param.grad
            if grad is not None:
                positions.append(position)
                params.append(param)
                grads.append(grad)
                if grad.is_sparse and self._masked:
                    raise ValueError(f"parameter {self._name_of(param)}: {SPARSE}")
        for param in self._unknown:
            if param.grad is not None and param.requires_grad:
                raise RuntimeError(f"parameter {self._name_of(param)}: {UNKNOWN}")
        return positions, params, grads

    def _compare(self, holds: Callable[[Tensor, dict[str, Any]], bool]) -> None:
        last = self.group if self._seen is None else self._last_settings()
        versions = self._versions or [-1] * len(self._masked)
        for param, version in zip(self._masked, versions, strict=True):
            if param._version != version and not holds(param, last):
                raise RuntimeError(f"parameter {self._name_of(param)}: {CHANGED}")
        self.remember()

    def _last_settings(self) -> dict[str, Any]:
        """The group as its last step had it: masks are those of that sparsity."""
        return self.group | dict(zip(self._keys, self._seen, strict=True))

    def _name_of(self, param: Tensor) -> str:
        return next(name for name, own in named(self.group) if own is param)


def watches_of(optimizer: Optimizer, make: Callable[[dict[str, Any]], AnyWatch]) -> list[AnyWatch]:
    """The watch of each group, made where there is none yet; neither copied nor pickled with the optimizer."""
    known: list[AnyWatch] = vars(optimizer).setdefault(_KEPT_AS, [])
    groups = optimizer.param_groups
    if len(known) != len(groups) or not all(map(_is_of, known, groups)):
        kept = dict(enumerate(known))
        known[:] = [kept[i] if i in kept and _is_of(kept[i], group) else make(group) for i, group in enumerate(groups)]
    return known


def _is_of(watch: SettingsWatch, group: dict[str, Any]) -> bool:
    """Whether it watches this very group, with as many parameters."""
    return watch.group is group and watch.num_params == len(group["params"])


def forget(optimizer: Optimizer) -> None:
    """Let the next step look at everything anew, as the optimizer's tensors are others now."""
    vars(optimizer).pop(_KEPT_AS, None)


def owners_of(group: dict[str, Any]) -> dict[int, Owner]:
    """The modules of pairs that ``prunable`` made, by the parameters' ids."""
    weights = [pair for pair in group["params"] if isinstance(pair, Weight)]
    return {id(weight[1]): (weight.owner, weight.attribute) for weight in weights}


def known_owners(optimizer: Optimizer) -> dict[int, Owner]:
    """What ``owners_of`` said of all groups; neither copied nor pickled with the optimizer."""
    owners: dict[int, Owner] = vars(optimizer).setdefault("_modules", {})
    return owners


def same_values(one: Tensor, other: Tensor) -> bool:
    """Equal numbers, NaN like NaN; what a process cannot see (meta tensors) passes."""
    return one.is_meta or torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())
