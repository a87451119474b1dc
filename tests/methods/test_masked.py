"""``MaskedOptimizer``: the hooks of its rules, the general form of a step, and the arguments that methods share."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from suite import methods
from suite.methods.edge_popup import EdgePopup
from suite.methods.iterand import IteRand
from suite.methods.masked import MaskedOptimizer
from suite.methods.options import MaskedOptions
from suite.methods.rules import Rules
from suite.testing.method.cases import advance, full_state, net


class GeneralEdgePopup(EdgePopup):
    """Takes the general form of a step."""

    def _is_fast(self, group: dict[str, Any]) -> bool:
        return False


class GeneralIteRand(IteRand):
    """Takes the general form of a step."""

    def _is_fast(self, group: dict[str, Any]) -> bool:
        return False


def after_steps(cls: Callable[..., Any], dtype: torch.dtype, **settings: Any) -> Any:
    """The state of an optimizer after seven steps."""
    model = net(dtype)
    optimizer = cls(methods.trainable(model), lr=0.1, **{"sparsity": 0.4, "weight_decay": 0.01, **settings})
    advance(optimizer, range(7))
    return full_state(optimizer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "settings",
    [{}, {"rank_by": "abs_scores", "momentum": 0.0}, {"max_score_grad_norm": 0.5}, {"pack_signs": True}],
    ids=str,
)
def test_the_general_form_of_a_step_leaves_the_bits_of_the_fast_one(
    dtype: torch.dtype, settings: dict[str, Any]
) -> None:
    assert after_steps(GeneralEdgePopup, dtype, **settings) == after_steps(EdgePopup, dtype, **settings)
    redraws = {"rerandomize_every": 2, "rerandomize_prob": 0.5}
    assert after_steps(GeneralIteRand, dtype, **redraws, **settings) == after_steps(
        IteRand, dtype, **redraws, **settings
    )


class Doubled(MaskedOptimizer):
    """Keeps twice theta, a value map of its own, and takes an argument of its own."""

    def __init__(self, params: ParamsT, *, factor: float = 2.0, **options: Unpack[MaskedOptions]) -> None:
        self._own = dict(factor=factor)
        super().__init__(params, **options)

    def _effective(self, param: Tensor, theta: Tensor, score: Tensor, mask: Tensor, group: dict[str, Any]) -> Tensor:
        return super()._effective(param, theta, score, mask, group) * group["factor"]


def test_a_rule_of_a_methods_own_holds_at_each_moment() -> None:
    weight = nn.Parameter(torch.zeros(6, 5))
    optimizer = Doubled([weight], sparsity=0.5, lr=0.1, factor=3.0)
    for step in range(3):
        kept = torch.where(optimizer.mask(weight), optimizer.theta(weight), 0.0)
        assert torch.equal(weight.detach(), 3.0 * kept)
        advance(optimizer, [step])
    other = Doubled([nn.Parameter(torch.zeros(6, 5))], sparsity=0.5, lr=0.1, seed=3)
    other.load_state_dict(optimizer.state_dict())
    assert full_state(other) == full_state(optimizer)
    with torch.no_grad():
        weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="was changed since the optimizer's last step"):
        optimizer.step()


class Zeroing(EdgePopup):
    """Sets theta of the first weight to 7 after step 2."""

    def _after_update(
        self, group: dict[str, Any], positions: Sequence[int], params: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        if group["num_updates"] != 2:
            return ()
        for param in params:
            self.state[param]["theta"][0, 0] = 7.0
        return params


class GeneralZeroing(Zeroing):
    """The same, in the general form of a step."""

    def _is_fast(self, group: dict[str, Any]) -> bool:
        return False


@pytest.mark.parametrize("cls", [Zeroing, GeneralZeroing])
def test_what_is_changed_after_an_update_is_written(cls: type[EdgePopup]) -> None:
    weight = nn.Parameter(torch.zeros(6, 5))
    optimizer = cls([weight], sparsity=0.0, lr=0.1)
    advance(optimizer, [0])
    assert weight[0, 0] != 7.0
    advance(optimizer, [1])
    assert weight[0, 0] == 7.0
    advance(optimizer, [2])


def test_options_are_the_constructors_arguments() -> None:
    named = list(inspect.signature(MaskedOptimizer.__init__).parameters)[2:]
    assert list(MaskedOptions.__annotations__) == named
    required = {
        key for key, value in inspect.signature(MaskedOptimizer).parameters.items() if value.default is value.empty
    }
    assert MaskedOptions.__required_keys__ == required - {"params"}


def test_the_signature_of_a_method_names_every_argument() -> None:
    assert list(inspect.signature(Doubled).parameters)[:4] == ["params", "factor", "sparsity", "lr"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'factors'"):
        Doubled([], sparsity=0.5, lr=0.1, factors=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("rule", ["_masks", "_effective", "_score_grad"])
def test_a_method_with_a_rule_of_its_own_leaves_the_fast_forms(rule: str) -> None:
    """Also where its author does not think of ``_is_fast``."""
    optimizer = type("Own", (EdgePopup,), {rule: lambda self, *given: getattr(Rules, rule)(self, *given)})(
        [nn.Parameter(torch.zeros(6, 5))], sparsity=0.5, lr=0.1
    )
    assert not optimizer._is_fast(optimizer.param_groups[0])
