"""One step of a masked method, by its rules: in a fast form where one computes them, else by torch's operations."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from suite.methods.rules import Rules
from suite.methods.saved_state import STATE, UPDATE_STATE, new_update_state
from suite.methods.update import adam, general, select_backend
from suite.methods.update.plain import Thresholds, redraw_pruned_
from suite.methods.update.signs import unpacked

_Group = dict[str, Any]


class StepByRules(Rules):
    """The order of a step: redraw, update of the scores, ``_after_update``, new masks and effective weights."""

    def _masked_step(
        self,
        group: _Group,
        positions: Sequence[int],
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        hints: Thresholds,
    ) -> Sequence[Tensor]:
        """Step number ``group["num_updates"]`` of a masked group; the parameters that were written."""
        if self._is_fast(group):
            self._fast_step(group, positions, params, grads, hints)
            changed = self._after_update(group, positions, params)
            written = self._rewritten(params, group)
            if changed or len(written) > len(params):
                done = set(map(id, params)) - set(map(id, changed))
                self._write([param for param in written if id(param) not in done], group)
            return written
        self._update_scores(group, positions, params, grads)
        self._after_update(group, positions, params)
        written = self._rewritten(params, group)
        self._write(written, group)
        return written

    def _fast_step(
        self,
        group: _Group,
        positions: Sequence[int],
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        hints: Thresholds,
    ) -> None:
        settings = settings_of(group)
        redraw = self._redraw(group, positions, params)
        if redraw is not None and group["sparsity_schedule"] is not None:
            redraw = replace(redraw, sparsity=self._sparsity(_before(group)))
        thetas, scores, momenta = self._states(params, group)
        masked_sgd_ = select_backend(scores, thetas, **settings)
        masked_sgd_(
            params,
            grads,
            thetas,
            scores,
            momenta,
            hints,
            sparsity=self._sparsity(group),
            lr=group["lr"],
            redraw=redraw,
            **settings,
        )

    def _update_scores(
        self, group: _Group, positions: Sequence[int], params: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> None:
        """Redraw, and update the scores; the effective weights are still to be written."""
        states = self._update_states(params, group)
        thetas, scores = ([state[key] for state in states] for key in STATE[:2])
        redraw = self._redraw(group, positions, params)
        if redraw is not None:
            redraw_pruned_(thetas, self._not_redrawn(params, _before(group)), redraw)
        layers = zip(params, grads, thetas, scores, strict=True)
        steps = [self._score_grad(param, grad, unpacked(theta), score, group) for param, grad, theta, score in layers]
        general.clip_(steps, group["max_score_grad_norm"])
        if group["update"] == "adam":
            adam.adam_(scores, steps, states, group)
            return
        momenta, settings = [state["momentum_buffer"] for state in states], settings_of(group)
        sgd = {key: settings[key] for key in ("momentum", "weight_decay")}
        general.sgd_(scores, steps, momenta, lr=float(group["lr"]), **sgd)

    @torch.no_grad()
    def _write(self, params: Sequence[Tensor], group: _Group) -> None:
        """Write the effective weights of masked parameters, by their scores as they are; of others nothing."""
        if group["sparsity"] is None:
            return
        for param, mask in zip(params, self._masks(params, group), strict=True):
            param.copy_(self._effective_of(param, mask, group))

    def _effective_of(self, param: Tensor, mask: Tensor, group: _Group) -> Tensor:
        state = self.state[param]
        return self._effective(param, unpacked(state["theta"]), state["scores"], mask, group)

    def _update_states(self, params: Sequence[Tensor], group: _Group) -> list[dict[str, Any]]:
        """The states of parameters, with what the update rule keeps begun where the rule was another before."""
        states, key = [self.state[param] for param in params], UPDATE_STATE[group.get("update", "sgd")][0]
        for param, state in zip(params, states, strict=True):
            if key not in state:
                state.update(new_update_state(state.get("scores", param), group))
        return states

    def _states(self, params: Sequence[Tensor], group: _Group) -> Iterator[list[Any]]:
        """The thetas, scores and momenta of parameters, a list each, of SGD."""
        states = self._update_states(params, group)
        return ([state[key] for state in states] for key in STATE)


def _before(group: _Group) -> _Group:
    """The group as it was after the last step, whose masks are in force."""
    return group | {"num_updates": group["num_updates"] - 1}


def settings_of(group: _Group) -> dict[str, Any]:
    """Those of a step that decide which fast form it takes."""
    return {
        "momentum": group["momentum"],
        "weight_decay": group["weight_decay"],
        "rank_by": group["rank_by"],
        "max_norm": group["max_score_grad_norm"],
    }


def dense_step_(group: _Group, params: list[Tensor], grads: list[Tensor], states: Sequence[dict[str, Tensor]]) -> None:
    """One step on parameters without masks, in place."""
    if group.get("update") == "adam":
        adam.adam_(params, grads, states, group)
        return
    sgd(
        params,
        grads,
        [state["momentum_buffer"] for state in states],
        foreach=False,
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=float(group["lr"]),
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )
