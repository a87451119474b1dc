"""Edge-popup: train a score per weight over fixed random weights; the best-scored weights are kept.

Source: Ramanujan et al., "What's hidden in a randomly weighted neural network?" (CVPR 2020), section 3.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT
from torch.optim.sgd import sgd

from suite.config import Distribution, RankBy, ScoreInit
from suite.methods.param_groups import check_masked_group, fan_in_of, theta_fan_in
from suite.methods.random import draw_scores_, draw_values_
from suite.methods.step_hooks import has_hooks
from suite.methods.update import prepare, select_backend
from suite.methods.update.plain import Redraw, Thresholds, keep_mask, write_effective_
from suite.methods.update.signs import Signs, unpacked

STATE = ("theta", "scores", "momentum_buffer")
ADDED = {"scale_fan": False}  # settings that states of earlier releases do not have


class EdgePopup(Optimizer):
    """SGD on the scores of a random network's weights; the parameters hold ``theta * mask``.

    Args:
        params: tensors, named parameters or groups, as any torch optimizer takes them. A group with
            ``sparsity=None`` is trained by plain SGD; ``fan_in`` may be set per group.
        sparsity: fraction of each layer's weights removed, in [0, 1).
        lr, momentum, weight_decay: of SGD on the scores (on the weights where ``sparsity`` is None).
        distribution: what theta is drawn from; None keeps the present values as theta.
        rank_by: "scores" (IteRand's), or "abs_scores" (edge-popup's own, with its gradient).
        score_init: "kaiming_uniform" (IteRand's) or "fan_in_uniform" (edge-popup's own).
        scale_fan: multiply theta's standard deviation by sqrt(1 / k), where k = 1 - sparsity is the share kept
            (edge-popup's "scaled kaiming normal"); the scores keep their range.
        max_score_grad_norm: bound of the norm of the scores' gradients ``dw * theta``, over all layers of a group; None
            for no bound. ``torch.nn.utils.clip_grad_norm_`` on the parameters bounds ``dw``, which differs from it by
            each layer's scale of theta.
        pack_signs: with "signed_constant", keep one bit a weight of theta instead of a number, with equal results;
            ``state_dict()`` has numbers.
        seed: of the random streams, in [0, 2^32).

    Raises:
        ValueError: a value out of range, or a masked parameter with fewer than 2 dimensions.
    """

    masked: ClassVar[bool] = True

    def __init__(
        self,
        params: ParamsT,
        *,
        sparsity: float | None,
        lr: float | Tensor,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        distribution: Distribution | None = "signed_constant",
        rank_by: RankBy = "scores",
        score_init: ScoreInit = "kaiming_uniform",
        scale_fan: bool = False,
        max_score_grad_norm: float | None = None,
        pack_signs: bool = False,
        seed: int = 0,
    ) -> None:
        defaults = dict(
            sparsity=sparsity,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            distribution=distribution,
            rank_by=rank_by,
            score_init=score_init,
            scale_fan=scale_fan,
            max_score_grad_norm=max_score_grad_norm,
            pack_signs=pack_signs,
            seed=seed,
        )
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as any torch optimizer does, and draw its weights and scores."""
        first = sum(len(group["params"]) for group in self.param_groups)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("fan_in", None)
        group.setdefault("num_updates", 0)
        try:
            self._check_group(group)
        except ValueError:
            self.param_groups.pop()
            raise
        for position, param in enumerate(group["params"], start=first):
            self._draw(param, group, position)

    def mask(self, param: Tensor) -> Tensor:
        """The present mask of a masked parameter: bool, its shape; True keeps.

        Raises:
            ValueError: the parameter is not in a masked group.
        """
        return self._mask(param, self._group_of(param))

    def theta(self, param: Tensor) -> Tensor:
        """The present random weights of a masked parameter, in its shape: those kept, where they are not packed.

        Raises:
            ValueError: the parameter is not in a masked group.
        """
        self._group_of(param)
        return unpacked(self.state[param]["theta"])

    def _group_of(self, param: Tensor) -> dict[str, Any]:
        for group in self.param_groups:
            if group["sparsity"] is not None and any(param is own for own in group["params"]):
                return group
        raise ValueError(f"parameter of shape {tuple(param.shape)}: not in a masked group of this optimizer")

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every group; parameters without a gradient are passed over."""
        if torch.compiler.is_compiling():  # compiled code calls it as it is; as a decorator this would import dynamo
            return torch.compiler.disable(self._step)(closure)  # type: ignore[no-any-return, no-untyped-call]
        if has_hooks(self):
            return self._hooked_step(closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined] # see step_hooks

    @torch.no_grad()
    def _step(self, closure: Callable[[], float] | None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first = 0
        for group in self.param_groups:
            group["num_updates"] += 1
            update = self._dense_step if group["sparsity"] is None else self._masked_step
            members = [(i, p) for i, p in enumerate(group["params"], start=first) if p.grad is not None]
            if members:
                update(group, members)
            first += len(group["params"])
        return loss

    _hooked_step = Optimizer.profile_hook_step(_step)

    def state_dict(self) -> dict[str, Any]:
        """The state as any torch optimizer gives it, packed signs as numbers."""
        hook = self.register_state_dict_post_hook(_unpack, prepend=True)
        try:
            return super().state_dict()
        finally:
            hook.remove()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state bit for bit, in the saved dtypes, and write the effective weights.

        Raises:
            ValueError: the state is that of another method or of other parameters; nothing is changed then.
        """
        saved: dict[str, Any] = {}

        def note_state(_: Optimizer, given: dict[str, Any]) -> None:
            self._check_state(given)
            saved.update(given)

        # Hooks of our own, innermost: torch would cast the state to the parameters' dtype.
        note = self.register_load_state_dict_pre_hook(note_state)
        restore = self.register_load_state_dict_post_hook(lambda _: self._restore(saved), prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            note.remove()
            restore.remove()

    def prepare(self) -> None:
        """Load or compile what ``step()`` needs on this machine; otherwise the first step does it, and takes longer."""
        for group in self.param_groups:
            if group["sparsity"] is not None:
                thetas, scores, momenta = self._states(group["params"])
                lists = (group["params"], thetas, scores, momenta)
                prepare(*lists, self._redrawn_from(group), **_settings(group))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.update(ADDED | group)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_masked_group(group)

    def _redrawn_from(self, group: dict[str, Any]) -> Distribution | None:
        """What redraws of a group draw from; None where it has none."""
        return None

    def _redraw(self, group: dict[str, Any], members: list[tuple[int, Tensor]]) -> Redraw | None:
        """What this step draws again before it updates: nothing here; a variant may say otherwise."""
        return None

    @torch.no_grad()
    def _draw(self, param: Tensor, group: dict[str, Any], position: int) -> None:
        theta = param.detach().to(torch.promote_types(param.dtype, torch.float32), copy=True)
        fan_in = theta_fan_in(param, group)
        if group["distribution"] is not None and param.ndim >= 2:
            draw_values_(theta, group["distribution"], fan_in=fan_in, seed=group["seed"], draw=0, parameter=position)
        if group["sparsity"] is None:
            param.copy_(theta)
            self.state[param] = {"momentum_buffer": torch.zeros_like(param)}  # there from the start, as all state
            return
        scores = draw_scores_(
            torch.empty_like(theta),
            group["score_init"],
            fan_in=fan_in_of(param, group),
            seed=group["seed"],
            parameter=position,
        )
        kept = _packed(theta, param, group) if group["pack_signs"] else theta
        self.state[param] = dict(zip(STATE, (kept, scores, torch.zeros_like(scores)), strict=True))
        write_effective_(param, theta, self._mask(param, group))

    def _mask(self, param: Tensor, group: dict[str, Any]) -> Tensor:
        return keep_mask(self.state[param]["scores"], group["sparsity"], group["rank_by"])

    def _masked_step(self, group: dict[str, Any], members: list[tuple[int, Tensor]]) -> None:
        params = [param for _, param in members]
        settings = _settings(group)
        thetas, scores, momenta = self._states(params)
        masked_sgd_ = select_backend(scores, thetas, **settings)
        masked_sgd_(
            params,
            [param.grad for param in params],
            thetas,
            scores,
            momenta,
            self._thresholds_of(members[0][0]),
            sparsity=group["sparsity"],
            lr=group["lr"],
            redraw=self._redraw(group, members),
            **settings,
        )

    def _states(self, params: Sequence[Tensor]) -> Iterator[list[Any]]:
        """The thetas, scores and momenta of parameters, a list each."""
        states = [self.state[param] for param in params]
        return ([state[key] for state in states] for key in STATE)

    def _thresholds_of(self, first: int) -> Thresholds:
        """Hints from the group's last step; neither copied nor pickled with the optimizer."""
        hints: dict[int, Thresholds] = vars(self).setdefault("_thresholds", defaultdict(dict))
        return hints[first]

    def _dense_step(self, group: dict[str, Any], members: list[tuple[int, Tensor]]) -> None:
        params = [param for _, param in members]
        sgd(
            params,
            [param.grad for param in params if param.grad is not None],
            [self.state[param]["momentum_buffer"] for param in params],
            foreach=False,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=float(group["lr"]),
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def _check_state(self, given: dict[str, Any]) -> None:
        """Raise ValueError, before anything is changed, for a state that is not of these parameters and this method."""
        members = [(param, group) for group in self.param_groups for param in group["params"]]
        numbers = [(number, group) for group in given["param_groups"] for number in group["params"]]
        for group in given["param_groups"]:
            if missing := sorted(self.defaults.keys() - group.keys() - ADDED.keys()):
                raise ValueError(f"saved param_groups: have no {missing[0]!r}: saved by another method")
        for (number, saved), (param, group) in zip(numbers, members, strict=False):  # torch says where numbers differ
            state = given["state"].get(number, {})
            for key in STATE if group["sparsity"] is not None else STATE[2:]:
                shape = getattr(state.get(key), "shape", None)
                if shape != param.shape:
                    found = "is missing" if shape is None else f"has shape {tuple(shape)}"
                    raise ValueError(f"saved state of parameter {number}: {key} {found}: must be {tuple(param.shape)}")
            if saved["pack_signs"] and group["sparsity"] is not None:
                _packed(state["theta"], param, ADDED | saved)

    @torch.no_grad()
    def _restore(self, saved: dict[str, Any]) -> None:
        vars(self).pop("_thresholds", None)  # hints hold the tensors that are replaced here
        numbers = (number for group in saved["param_groups"] for number in group["params"])
        members = ((param, group) for group in self.param_groups for param in group["params"])
        for number, (param, group) in zip(numbers, members, strict=True):
            state = self.state[param] = {key: _like(param, value) for key, value in saved["state"][number].items()}
            if group["sparsity"] is not None:
                if group["pack_signs"]:
                    state["theta"] = _packed(state["theta"], param, group)
                write_effective_(param, state["theta"], self._mask(param, group))


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """Those of the step that decide which form it takes."""
    return {
        "momentum": group["momentum"],
        "weight_decay": group["weight_decay"],
        "rank_by": group["rank_by"],
        "max_norm": group["max_score_grad_norm"],
    }


def _like(param: Tensor, value: Any) -> Any:
    """A copy of a saved state value, in its own dtype, on the parameter's device and in its memory format."""
    if not isinstance(value, Tensor) or value.shape != param.shape:
        return value
    return torch.empty_like(param, dtype=value.dtype).copy_(value)


def _packed(theta: Tensor, param: Tensor, group: dict[str, Any]) -> Signs:
    return Signs.packed(theta, math.sqrt(2 / theta_fan_in(param, group)))


def _unpack(_: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state with numbers in place of signs; what the optimizer holds is not touched."""
    states = state_dict["state"].items()
    numbers = {
        number: {key: unpacked(value) if isinstance(value, Signs) else value for key, value in state.items()}
        for number, state in states
    }
    return {**state_dict, "state": numbers}
