"""What an optimizer knows of a group between two steps, to notice what others change; nothing here is state."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import is_, itemgetter
from typing import Any, TypeVar
from weakref import WeakMethod

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from suite.methods.param_groups import named
from suite.methods.refusals import why_replaced
from suite.methods.update.plain import Thresholds
from suite.methods.weight_matrices import Weight

Owner = tuple[nn.Module, str]
Held = dict[str, Any] | None  # the group as it was when a mask was written
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
        self.group, self._check, self.params = group, check, list(group["params"])
        self.is_plain = group.get("sparsity", 0) is None
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

    _CHANGED = CHANGED

    def __init__(
        self,
        group: dict[str, Any],
        check: Callable[[dict[str, Any]], None],
        keys: Iterable[str],
        state: Mapping[Tensor, dict[str, Any]],
        owners: Mapping[int, Owner],
    ) -> None:
        super().__init__(group, _weakly(check), keys)
        self.hints: dict[int, Thresholds] = defaultdict(dict)
        known = [(i, param) for i, param in enumerate(group["params"], group["first_parameter"]) if state.get(param)]
        self._members = [(i, param) for i, param in known if param.numel()]
        self._unknown = [param for param in group["params"] if not state.get(param)]
        self._masked = [param for _, param in known] if group["sparsity"] is not None else []
        self._owners = [(o._parameters, key, p) for p in self._masked if id(p) in owners for o, key in [owners[id(p)]]]
        self._modules = owners
        self._versions: list[int] | None = None
        self._held: list[Held] = [None] * len(self._masked)

    def remember(self, written: Sequence[Tensor] | None = None) -> None:
        """Take the present values for those that the optimizer wrote: of ``written`` with the present settings."""
        self._versions = [param._version for param in self._masked]
        now = dict(self.group)
        if written is None or len(written) == len(self._masked):
            self._held = [now] * len(self._masked)
            return
        ids = set(map(id, written))
        held = zip(self._masked, self._held, strict=True)
        self._held = [now if id(param) in ids else was for param, was in held]

    def write(self, effective: Callable[[Sequence[Tensor], dict[str, Any]], None]) -> None:
        """Write the masks of the present settings."""
        effective(self._masked, self.group)
        self.remember()

    def foreign(self, holds: Callable[[Tensor, Held], bool]) -> list[tuple[int, Tensor]]:
        """The parameters to be trained whose values the optimizer did not write, with their positions."""
        written = {id(p) for p, held in zip(self._masked, self._held, strict=True) if holds(p, held)}
        asked = [p for p in self._unknown if p.requires_grad] + [p for p in self._masked if id(p) not in written]
        ids = set(map(id, asked))
        return [(i, p) for i, p in enumerate(self.params, self.group["first_parameter"]) if id(p) in ids]

    def check(self, holds: Callable[[Tensor, Held], bool]) -> None:
        """Raise ValueError for a setting out of range, RuntimeError for a parameter that was changed or replaced.

        ``holds`` says whether a parameter still has its effective weights; it is asked where somebody wrote to it.
        """
        self.check_settings()
        for held, key, param in self._owners:
            if held.get(key) is not param:
                raise RuntimeError(f"parameter {self._name_of(param)}: {why_replaced(*self._modules[id(param)])}")
        if self._versions is None or [param._version for param in self._masked] != self._versions:
            self._compare(holds)

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

    def _compare(self, holds: Callable[[Tensor, Held], bool]) -> None:
        versions = self._versions or [-1] * len(self._masked)
        for param, version, held in zip(self._masked, versions, self._held, strict=True):
            if param._version != version and not holds(param, held):
                raise RuntimeError(f"parameter {self._name_of(param)}: {self._CHANGED}")
        self.remember([])

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
    """Whether it watches this very group, with these very parameters."""
    if watch.group is not group or watch.is_plain != (group.get("sparsity", 0) is None):
        return False
    return len(watch.params) == len(group["params"]) and all(map(is_, watch.params, group["params"]))


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


def _weakly(check: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """A method that does not keep its optimizer: who drops an optimizer frees its memory at once."""
    method = WeakMethod(check)

    def call(group: dict[str, Any]) -> None:
        found = method()
        assert found is not None  # its optimizer calls
        found(group)

    return call


def same_values(one: Tensor, other: Tensor) -> bool:
    """Equal numbers but for rounding, which adding and subtracting leaves (SAM); NaN like NaN; meta tensors pass."""
    if one.is_meta or torch.equal(one, other):
        return True
    slack = 16 * torch.finfo(one.dtype).eps
    largest = float(other.abs().nan_to_num().max())
    return bool(torch.isclose(one, other, rtol=slack, atol=slack * largest, equal_nan=True).all())
