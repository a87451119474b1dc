"""The rules of a masked method, as hooks: each default is edge-popup's, and a method replaces one or two.

A method fixes seven things:

- mask rule and scope: ``_masks``, by the rank of the scores in each layer;
- schedule: ``_sparsity``, constant unless the group has a ``sparsity_schedule``;
- value map: ``_effective``, a select of theta;
- redraw rule: ``_redraw`` before an update, and ``_after_update`` after it: nothing;
- gradient map: ``_score_grad``, ``grad * theta``, times sign(score) where absolute scores rank;
- evaluation rule: the weights that training left. No method differs so far, so it has no hook.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from suite.config import Distribution
from suite.methods.param_groups import check_masked_group
from suite.methods.sparsity_schedule import sparsity_at
from suite.methods.update.plain import Redraw, effective, keep_mask, score_grad
from suite.methods.update.scope import global_masks

_COMPUTED = ("_masks", "_effective", "_score_grad")  # by the fast forms of a step themselves


class Rules:
    """Edge-popup's, over the state of an optimizer."""

    state: defaultdict[Tensor, Any]

    def _sparsity(self, group: dict[str, Any]) -> float | None:
        """The share that the masks of a group remove after ``group["num_updates"]`` updates; None for no masks."""
        if group["sparsity"] is None:
            return None
        return sparsity_at(group["num_updates"], group["sparsity_schedule"], group["sparsity"])

    def _masks(self, params: Sequence[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """The masks of some parameters of a group, by their scores as they are: bool, True keeps.

        ``group`` may be a copy with other settings.
        """
        sparsity = self._sparsity(group)
        assert sparsity is not None  # only masked groups come here
        if group["scope"] == "global":
            members = self._members(group)
            masks = global_masks([self.state[param]["scores"] for param in members], sparsity, group["rank_by"])
            by_id = dict(zip(map(id, members), masks, strict=True))
            return [by_id[id(param)] for param in params]
        return [keep_mask(self.state[param]["scores"], sparsity, group["rank_by"]) for param in params]

    def _effective(self, param: Tensor, theta: Tensor, score: Tensor, mask: Tensor, group: dict[str, Any]) -> Tensor:
        """What a parameter is to hold: in its shape, in any floating dtype."""
        return effective(theta, mask)

    def _score_grad(self, param: Tensor, grad: Tensor, theta: Tensor, score: Tensor, group: dict[str, Any]) -> Tensor:
        """The gradient of a parameter's scores, a new tensor, from ``grad``, that of its effective weights."""
        return score_grad(grad, theta, score, group["rank_by"])

    def _redrawn_from(self, group: dict[str, Any]) -> Distribution | None:
        """What redraws of a group draw from; None where it has none."""
        return None

    def _redraw(self, group: dict[str, Any], positions: Sequence[int], params: Sequence[Tensor]) -> Redraw | None:
        """What this step draws again before it updates: nothing here; a variant may say otherwise."""
        return None

    def _not_redrawn(self, params: Sequence[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Which weights a redraw leaves as they are: those kept."""
        return self._masks(params, group)

    def _after_update(
        self, group: dict[str, Any], positions: Sequence[int], params: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """Change state once the scores are updated, at the end of step ``group["num_updates"]``.

        Returns those of ``params`` whose theta was changed: their effective weights are written again.
        """
        return ()

    def _rewritten(self, params: Sequence[Tensor], group: dict[str, Any]) -> Sequence[Tensor]:
        """The parameters of a group whose masks may change in a step that updates the scores of ``params``."""
        alone = group.get("scope", "layer") == "layer" and group.get("sparsity_schedule") is None  # not all have them
        return params if alone else self._members(group)

    def _members(self, group: dict[str, Any]) -> list[Tensor]:
        """The parameters of a group that are trained."""
        return [param for param in group["params"] if self.state.get(param)]

    def _check_group(self, group: dict[str, Any]) -> None:
        """Raise ValueError for a setting out of range, or for a parameter that cannot be masked."""
        check_masked_group(group)

    def _is_fast(self, group: dict[str, Any]) -> bool:
        """Whether the fast forms of a step compute the rules of a group: those of edge-popup alone."""
        if not all(getattr(type(self), rule) is getattr(Rules, rule) for rule in _COMPUTED):
            return False
        return group["sparsity"] is not None and group["scope"] == "layer" and group["update"] == "sgd"
