"""What all masked methods share: the keeping of state, and the order of a step, by the rules of a method."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from suite.config import Distribution, RankBy, Scope, ScoreInit, Update
from suite.methods.masked_step import StepByRules, dense_step_, settings_of
from suite.methods.options import whole_signature
from suite.methods.param_groups import fan_in_of, once, start_group, theta_fan_in
from suite.methods.random import draw_scores_, draw_values_
from suite.methods.saved_state import (
    ADDED,
    STATE,
    check_state,
    complete,
    like,
    new_update_state,
    packed,
    theta_like,
    unpack,
)
from suite.methods.sparsity_schedule import SparsitySchedule
from suite.methods.step_hooks import has_hooks
from suite.methods.update import prepare
from suite.methods.update.signs import unpacked
from suite.methods.watch import Held, Watch, forget, known_owners, owners_of, same_values, watches_of


class MaskedOptimizer(StepByRules, Optimizer):
    """SGD on the scores of a random network's weights; the parameters hold their effective weights.

    The rules are those of edge-popup; a method overrides some of the hooks of ``Rules``. Its constructor, where it adds
    arguments, sets ``self._own`` to their values and passes ``**options`` on.

    Args:
        params: tensors, named parameters or groups, as any torch optimizer takes them: best ``prunable(model)``, whose
            pairs know their fan-in. A group with ``sparsity=None`` is trained by plain SGD; ``fan_in`` may be set per
            group. A parameter that is given twice counts once; one without ``requires_grad`` is left alone.
        sparsity: fraction of each layer's weights removed, in [0, 1).
        lr: learning rate of the scores (of the weights where ``sparsity`` is None).
        momentum: of SGD.
        weight_decay: L2 penalty, of SGD and of Adam.
        scope: "layer", or "global": the fraction is removed of all masked weights of a group together, by one
            threshold; a layer that would be emptied keeps its best weight in addition.
        sparsity_schedule: how the fraction comes to be ``sparsity``, by the number of updates; None for a constant one.
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
        plain_lr: learning rate of groups with ``sparsity=None`` that set none; None for ``lr``.
        update: "sgd", or "adam": of scores, and of the weights where ``sparsity`` is None, as ``torch.optim.Adam``.
        beta1: of Adam's average of gradients.
        beta2: of Adam's average of their squares.
        eps: of Adam, added to the root of that average.
        seed: of the random streams, in [0, 2^32).
        first_parameter: position of the first parameter in the random streams. Several optimizers with one seed draw
            what one optimizer draws, if each begins where the one before it ends. A group may set its own.

    Raises:
        ValueError: a value out of range, or a masked parameter with fewer than 2 dimensions.
    """

    masked: ClassVar[bool] = True
    _STATE: ClassVar[tuple[str, ...]] = STATE  # of a masked parameter; the last one is the momentum
    _ADDED: ClassVar[dict[str, Any]] = ADDED
    _own: dict[str, Any]

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        cls.__signature__ = whole_signature(cls)  # type: ignore[attr-defined] # that of ``help`` and of editors

    def __init__(
        self,
        params: ParamsT,
        *,
        sparsity: float | None,
        lr: float | Tensor,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        scope: Scope = "layer",
        sparsity_schedule: SparsitySchedule | None = None,
        distribution: Distribution | None = "signed_constant",
        rank_by: RankBy = "scores",
        score_init: ScoreInit = "kaiming_uniform",
        scale_fan: bool = False,
        max_score_grad_norm: float | None = None,
        pack_signs: bool = False,
        plain_lr: float | None = None,
        update: Update = "sgd",
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        seed: int = 0,
        first_parameter: int = 0,
    ) -> None:
        defaults = dict(
            sparsity=sparsity,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            scope=scope,
            sparsity_schedule=sparsity_schedule,
            distribution=distribution,
            rank_by=rank_by,
            score_init=score_init,
            scale_fan=scale_fan,
            max_score_grad_norm=max_score_grad_norm,
            pack_signs=pack_signs,
            plain_lr=plain_lr,
            update=update,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            seed=seed,
            first_parameter=first_parameter,
        )
        super().__init__(params, defaults | vars(self).get("_own", {}))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as any torch optimizer does, and draw its weights and scores."""
        given, group = set(param_group), once(param_group)
        owners = owners_of(group)
        super().add_param_group(group)
        group.setdefault("num_updates", 0)
        start_group(group, self.param_groups[:-1], given)
        if group["sparsity"] is None and "lr" not in given and group.get("plain_lr") is not None:
            group["lr"] = group["plain_lr"]
        try:
            self._check_group(group)
            known_owners(self).update(owners)
            for position, param in enumerate(group["params"], start=group["first_parameter"]):
                if param.requires_grad:
                    self._draw(param, group, position)
            self._write(self._members(group), group)
        except ValueError:
            self.param_groups.pop()
            raise
        self._watches()[-1].remember()

    def mask(self, param: Tensor) -> Tensor:
        """The present mask of a masked parameter: bool, its shape; True keeps.

        Raises:
            ValueError: the parameter is not in a masked group.
        """
        return self._masks([param], self._group_of(param))[0]

    def masks(self) -> list[tuple[Tensor, Tensor]]:
        """Each masked parameter with its present mask, faster than one by one where a threshold is that of many."""
        groups = [(group, self._members(group)) for group in self.param_groups if group["sparsity"] is not None]
        return [pair for group, params in groups for pair in zip(params, self._masks(params, group), strict=True)]

    def theta(self, param: Tensor) -> Tensor:
        """The present random weights of a masked parameter, in its shape: those kept, where they are not packed.

        Raises:
            ValueError: the parameter is not in a masked group.
        """
        self._group_of(param)
        return unpacked(self.state[param]["theta"])

    def _group_of(self, param: Tensor) -> dict[str, Any]:
        for group in self.param_groups:
            if group["sparsity"] is not None and self.state.get(param) and any(param is own for own in group["params"]):
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
        watches = self._watches()
        for watch in watches:
            watch.check(self._holds)
        found = [watch.with_gradients() for watch in watches]
        for watch, (positions, params, grads) in zip(watches, found, strict=True):
            watch.group["num_updates"] += 1
            if params and watch.group["sparsity"] is None:
                dense_step_(watch.group, params, grads, self._update_states(params, watch.group))
            elif params:
                written = self._masked_step(watch.group, positions, params, grads, watch.hints[positions[0]])
                watch.remember(written)
            elif written := self._rewritten([], watch.group):
                self._write(written, watch.group)
                watch.remember(written)
        return loss

    _hooked_step = Optimizer.profile_hook_step(_step)

    def state_dict(self) -> dict[str, Any]:
        """The state as any torch optimizer gives it, packed signs as numbers."""
        hook = self.register_state_dict_post_hook(unpack, prepend=True)
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
            check_state(given, self.param_groups, set(self.defaults), self._STATE)
            saved.update(given)

        # Hooks of our own, innermost: torch would cast the state to the parameters' dtype.
        own = dict(self.state)  # of parameters that a distributed checkpoint leaves out: those without requires_grad
        note = self.register_load_state_dict_pre_hook(note_state)
        restore = self.register_load_state_dict_post_hook(lambda _: self._restore(saved, own), prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            note.remove()
            restore.remove()

    def prepare(self) -> None:
        """Load or compile what ``step()`` needs on this machine; otherwise the first step does it, and takes longer."""
        for group in self.param_groups:
            params = [param for param in self._members(group) if param.numel()]
            if params and self._is_fast(group):
                thetas, scores, momenta = self._states(params, group)
                prepare(params, thetas, scores, momenta, self._redrawn_from(group), **settings_of(group))

    @torch.no_grad()
    def adopt(self) -> None:
        """Take the present values of masked parameters that were changed as their random weights, and apply the masks.

        Scores, momenta and masks stay. A parameter that has come to require a gradient since the optimizer was made is
        trained from now on.

        Raises:
            ValueError: ``pack_signs`` cannot hold the values; nothing is changed then.
        """
        watches = self._watches()
        members = [(*found, watch.group) for watch in watches for found in watch.foreign(self._holds)]
        for _, param, group in members:
            if group["sparsity"] is not None and group.get("pack_signs"):
                packed(theta_like(param), param, group)
        for position, param, group in members:
            self._draw(param, group | {"distribution": None}, position, self.state.get(param))
        forget(self)
        for watch in self._watches():
            watch.write(self._write)

    def __setstate__(self, state: dict[str, Any]) -> None:
        given = set((vars(self) | state)["defaults"])
        super().__setstate__(state)
        for key in self.defaults.keys() - given:  # torch's own, which no state needs to have
            del self.defaults[key]
        complete(self.param_groups, self._ADDED)

    def _watches(self) -> list[Watch]:
        return watches_of(self, self._new_watch)

    def _new_watch(self, group: dict[str, Any]) -> Watch:
        return Watch(group, self._check_group, [*self.defaults, "fan_in"], self.state, known_owners(self))

    def _holds(self, param: Tensor, held: Held) -> bool:
        """Whether a masked parameter still has the effective weights of a mask; of any, where ``held`` is unknown."""
        mask = param != 0 if held is None else self._masks([param], held)[0]
        effective = self._effective_of(param, mask, self._group_of(param) if held is None else held)
        return same_values(param, torch.empty_like(param).copy_(effective))

    @torch.no_grad()
    def _draw(self, param: Tensor, group: dict[str, Any], position: int, known: dict[str, Any] | None = None) -> None:
        """Draw a parameter's weights and scores; what is ``known`` of it besides theta stays."""
        theta, seed = theta_like(param), group["seed"]
        if group["distribution"] is not None and param.ndim >= 2:
            fan_in = theta_fan_in(param, group)
            draw_values_(theta, group["distribution"], fan_in=fan_in, seed=seed, draw=0, parameter=position)
        if group["sparsity"] is None:
            param.copy_(theta)
            self.state[param] = known or new_update_state(param, group)  # from the start, as all state
            return
        fan_in, scores = fan_in_of(param, group), torch.empty_like(theta)
        draw_scores_(scores, group["score_init"], fan_in=fan_in, seed=seed, parameter=position)
        kept = packed(theta, param, group) if group["pack_signs"] else theta
        state = {"theta": kept, "scores": scores} | new_update_state(scores, group)
        self.state[param] = state | (known or {}) | {"theta": kept}

    @torch.no_grad()
    def _restore(self, saved: dict[str, Any], own: dict[Tensor, dict[str, Any]]) -> None:
        forget(self)  # its hints hold the tensors that are replaced here
        numbers = (number for group in saved["param_groups"] for number in group["params"])
        members = ((param, group) for group in self.param_groups for param in group["params"])
        for number, (param, group) in zip(numbers, members, strict=True):
            self._restore_one(param, group, saved["state"].get(number) or own.get(param))
        for group in self.param_groups:
            self._write(self._members(group), group)
        for watch in self._watches():
            watch.remember()

    def _restore_one(self, param: Tensor, group: dict[str, Any], saved: dict[str, Any] | None) -> None:
        if not saved:  # it required no gradient when it was saved, and requires none now
            self.state.pop(param, None)
            return
        state = self.state[param] = {key: like(param, unpacked(value)) for key, value in saved.items()}
        if group["sparsity"] is not None and group.get("pack_signs"):
            state["theta"] = packed(state["theta"], param, group)
