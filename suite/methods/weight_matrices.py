"""The weight matrices of a network: found by what their layers are, each with its fan-in, its layout and its owner."""

import warnings
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from suite.methods.refusals import check_not_parametrized, check_whole

_WARNED_SHARE = 0.01


class Weight(tuple[str, nn.Parameter]):
    """A pair (name, parameter), as torch's optimizers take it, which also knows its layer.

    ``fan_in`` counts the inputs of one output unit, ``layout`` names the axes, ``owner`` is the module that holds the
    parameter as its ``attribute``.
    """

    fan_in: int
    layout: str
    owner: nn.Module
    attribute: str

    def __new__(  # noqa: D102 # the class says it
        cls, name: str, param: nn.Parameter, fan_in: int, layout: str, owner: nn.Module, attribute: str
    ) -> "Weight":
        weight = super().__new__(cls, (name, param))
        weight.fan_in, weight.layout, weight.owner, weight.attribute = fan_in, layout, owner, attribute
        return weight

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (*self, self.fan_in, self.layout, self.owner, self.attribute)


class LeftOut(NamedTuple):
    """A parameter that gets no mask, and why."""

    name: str
    param: nn.Parameter
    reason: str


class Prunable(list[Weight]):
    """The weights that masked methods train, and beside them what is left out."""

    def __init__(self, weights: list[Weight], left_out: list[LeftOut]) -> None:
        super().__init__(weights)
        self.left_out = left_out

    @property
    def missed(self) -> list[LeftOut]:
        """What is left out although it is no bias and no norm."""
        return [each for each in self.left_out if each.reason not in _VECTORS]

    @property
    def share(self) -> float:
        """The share of the weights that is in the list, biases and norms not counted."""
        own = sum(param.numel() for _, param in self)
        return own / max(own + sum(each.param.numel() for each in self.missed), 1)


class _Found(NamedTuple):
    fan_in: int
    layout: str


class _Use(NamedTuple):
    """A place of a parameter in a network."""

    name: str
    owner: nn.Module
    attribute: str


_VECTORS = _BIAS, _NORM = ("bias or scale", "norm")
_EMBEDDING, _TIED, _UNKNOWN = ("embedding", "tied embedding", "its layer's layout is not known")


def prunable(model: nn.Module, *, embeddings: bool = False) -> Prunable:
    """The weights that masked methods train: every weight matrix of the model, once, with its name.

    Convolutions, linear layers and what has their form, attention's packed projections, recurrent layers. The answer
    is a list of pairs (name, parameter) for an optimizer; each knows its ``fan_in``, ``layout`` and ``owner``, and
    ``left_out`` holds all other parameters. A warning names those which are more than 1 % of the weights.

    Args:
        model: the network, before it is wrapped or after.
        embeddings: whether embeddings belong to the list, those tied to a linear layer too.

    Raises:
        ValueError: a weight is parametrized, not initialized yet, or a shard of a DTensor.
    """
    found = _find(model, embeddings)
    _warn(found)
    return found


def trainable(model: nn.Module, *, embeddings: bool = False) -> list[dict[str, Any]]:
    """Groups of all that a masked optimizer trains: ``prunable(model)``, and what else requires a gradient.

    The rest keeps its present values and is trained by plain SGD, at ``plain_lr`` where the optimizer has one. Biases
    and norms have no weight decay, unless their groups are changed.

    Args:
        model: as ``prunable`` takes it.
        embeddings: as ``prunable`` takes them.
    """
    weights = _find(model, embeddings)
    _warn(weights)
    plain = [each for each in weights.left_out if each.param.requires_grad]
    matrices = [each[:2] for each in plain if each.reason not in _VECTORS]
    vectors = [each[:2] for each in plain if each.reason in _VECTORS]
    groups: list[dict[str, Any]] = [
        {"params": weights},
        {"params": matrices, "sparsity": None, "distribution": None},
        {"params": vectors, "sparsity": None, "distribution": None, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _find(model: nn.Module, embeddings: bool) -> Prunable:
    weights, left_out = [], []
    for param, uses in _uses(model):
        check_whole(uses[0].name, param)
        found, reason = _judge(param, uses, embeddings)
        if found is None:
            left_out.append(LeftOut(uses[0].name, param, reason))
        else:
            use = uses[0]
            weights.append(Weight(use.name, param, found.fan_in, found.layout, use.owner, use.attribute))
    return Prunable(weights, left_out)


def _uses(model: nn.Module) -> list[tuple[nn.Parameter, list[_Use]]]:
    """Each parameter once, with all its places, in the order of ``model.named_parameters()``."""
    uses: dict[int, tuple[nn.Parameter, list[_Use]]] = {}
    for prefix, module in model.named_modules():
        check_not_parametrized(prefix, module)
        for attribute, param in module._parameters.items():
            if param is not None:
                use = _Use(f"{prefix}.{attribute}" if prefix else attribute, module, attribute)
                uses.setdefault(id(param), (param, []))[1].append(use)
    return list(uses.values())


def _judge(param: nn.Parameter, uses: list[_Use], embeddings: bool) -> tuple[_Found | None, str]:
    """What is known of a weight matrix, or None and why the parameter is none."""
    is_norm = any("Norm" in type(use.owner).__name__ for use in uses)
    if param.ndim < 2 or any("bias" in use.attribute for use in uses):
        return None, _NORM if is_norm else _BIAS
    found = next((found for use in uses if (found := _matrix(param, use))), None)
    if found is None and is_norm:
        return None, _NORM
    if any(_is_embedding(param, use.owner) for use in uses):
        lookup = _Found(1, "row, out")  # of each column one row reaches the output
        return (found or lookup, "") if embeddings else (None, _TIED if len(uses) > 1 else _EMBEDDING)
    return found, _UNKNOWN


def _matrix(param: Tensor, use: _Use) -> _Found | None:
    if not param.is_floating_point():
        return None
    return next((found for rule in _RULES if (found := rule(param, use.owner, use.attribute))), None)


def _convolution(param: Tensor, owner: Any, attribute: str) -> _Found | None:
    sizes = [getattr(owner, name, None) for name in ("in_channels", "out_channels", "groups")]
    kernel = getattr(owner, "kernel_size", None)
    if attribute != "weight" or None in sizes or not isinstance(kernel, tuple):
        return None
    num_in, num_out, groups = cast(list[int], sizes)
    fan_in = num_in // groups * prod(kernel)
    if getattr(owner, "transposed", False):
        return _Found(fan_in, "in, out/groups, kernel") if param.shape[:2] == (num_in, num_out // groups) else None
    fits = tuple(param.shape) == (num_out, num_in // groups, *kernel)
    return _Found(fan_in, "out, in/groups, kernel") if fits else None


def _linear(param: Tensor, owner: Any, attribute: str) -> _Found | None:
    num_in, num_out = getattr(owner, "in_features", None), getattr(owner, "out_features", None)
    if attribute != "weight" or num_in is None or num_out is None:
        return None
    if tuple(param.shape) == (num_out, num_in):
        return _Found(num_in, "out, in")
    return _Found(num_in, "in, out") if tuple(param.shape) == (num_in, num_out) else None


def _bilinear(param: Tensor, owner: Any, attribute: str) -> _Found | None:
    is_one = isinstance(owner, nn.Bilinear) and attribute == "weight"
    return _Found(prod(param.shape[1:]), "out, in1, in2") if is_one else None


def _conv1d(param: Tensor, owner: Any, attribute: str) -> _Found | None:
    """Of transformers: a linear layer with its matrix the other way round."""
    is_one = attribute == "weight" and type(owner).__name__ == "Conv1D" and getattr(owner, "nf", None)
    return _Found(param.shape[0], "in, out") if is_one and tuple(param.shape[1:]) == (owner.nf,) else None


def _packed(param: Tensor, owner: Any, attribute: str) -> _Found | None:
    """Several matrices of the same inputs above each other: attention's projections, the gates of recurrent layers."""
    packed = {nn.MultiheadAttention: "_proj_weight", nn.RNNBase: "weight_", nn.RNNCellBase: "weight_"}
    is_one = any(isinstance(owner, cls) and part in attribute for cls, part in packed.items()) and param.ndim == 2
    return _Found(param.shape[1], "out, in") if is_one else None


_Rule = Callable[[Tensor, Any, str], _Found | None]
_RULES: tuple[_Rule, ...] = (_convolution, _linear, _bilinear, _conv1d, _packed)


def _is_embedding(param: Tensor, owner: Any) -> bool:
    sizes = getattr(owner, "num_embeddings", None), getattr(owner, "embedding_dim", None)
    return None not in sizes and tuple(param.shape) == sizes


def _warn(found: Prunable) -> None:
    """Warn, at the line that called our caller, of weights without masks."""
    if not found.missed or 1 - found.share <= _WARNED_SHARE:
        return
    largest = sorted(found.missed, key=lambda each: -each.param.numel())
    described = "; ".join(f"{each.name} {tuple(each.param.shape)}, {each.reason}" for each in largest[:3])
    more = f" and {len(largest) - 3} more" if len(largest) > 3 else ""
    warnings.warn(
        f"prunable: {1 - found.share:.1%} of the weights get no mask: {described}{more}. They train by plain SGD in a "
        "group with sparsity=None, as trainable(model) has it. embeddings=True takes embeddings in; any other matrix "
        "can be passed in a group with its fan_in",
        stacklevel=3,
    )
