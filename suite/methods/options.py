"""The arguments that the constructors of all masked methods share."""

import inspect
from typing import Required, TypedDict

from torch import Tensor

from suite.config import Distribution, RankBy, Scope, ScoreInit, Update
from suite.methods.sparsity_schedule import SparsitySchedule


class MaskedOptions(TypedDict, total=False):
    """Those of ``MaskedOptimizer``, for the constructor of a method that adds its own: ``**options``."""

    sparsity: Required[float | None]
    lr: Required[float | Tensor]
    momentum: float
    weight_decay: float
    scope: Scope
    sparsity_schedule: SparsitySchedule | None
    distribution: Distribution | None
    rank_by: RankBy
    score_init: ScoreInit
    scale_fan: bool
    max_score_grad_norm: float | None
    pack_signs: bool
    plain_lr: float | None
    update: Update
    beta1: float
    beta2: float
    eps: float
    seed: int
    first_parameter: int


class SparseOptions(TypedDict, total=False):
    """Those of ``SparseSgd``, likewise."""

    sparsity: Required[float | None]
    lr: Required[float | Tensor]
    momentum: float
    weight_decay: float
    distribution: Distribution | None
    seed: int
    first_parameter: int


def whole_signature(cls: type) -> inspect.Signature:
    """The signature of a class with every argument by name: ``**options`` stands for those of its base."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        own = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        named = [parameter for parameter in own if parameter.kind is not parameter.VAR_KEYWORD]
        found = found | {parameter.name: parameter for parameter in named if parameter.name not in found}
        if len(named) == len(own):
            break
    return inspect.Signature(list(found.values()))
