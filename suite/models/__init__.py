"""The networks, by name: plain `nn.Module`s that know nothing of masks, methods or datasets.

`build` makes one, `names` lists them, plugins included. The settings of a family name its builder, or a table of
builders by name, as their `IMPLEMENTATION`.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from suite.config import MODELS, REGISTRY, InputError, ModelSettings

_SETTINGS = "_built_with"  # of a network, where it keeps its arguments
_NARROWEST = 64  # channels of the narrowest scaled layer at width_mult=1, the same in every net


def names() -> tuple[str, ...]:
    """The names that `build` takes."""
    return tuple(MODELS)


def build(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    in_channels: int = 3,
    width_mult: float = 1.0,
    norm_affine: bool = True,
    **own: Any,
) -> nn.Module:
    """A new network, on the default device (`torch.device("meta")` included).

    Biases are 0. Weights are as torch leaves them: each method draws its own. `width_mult` scales channel counts,
    rounded down; the stem of ResNets, 64 channels, is not scaled. `norm_affine` says whether batch norms have a trained
    scale and shift; conv nets have no norm, so there it has no effect. ResNets have their ImageNet form for
    `image_size > 64`, else their CIFAR form. `own` are settings that this network alone has.

    Shapes: (batch, in_channels, image_size, image_size) -> logits (batch, num_classes).
    Errors: ValueError for an unknown name, for `width_mult < 1 / 64`, for an image that the net's pools would shrink to
    nothing, for counts below 1, and for `own` settings that the settings class refuses.
    Sources: Frankle & Carbin (2019) and Ramanujan et al. (2020) for conv nets, He et al. (2016) for ResNets,
    Dosovitskiy et al. (2021) for the vision transformer.
    """
    builder = _builder(name)
    _check_width(width_mult)
    _check_counts(num_classes=num_classes, image_size=image_size, in_channels=in_channels)
    settings: dict[str, Any] = dict(
        num_classes=num_classes,
        image_size=image_size,
        in_channels=in_channels,
        width_mult=width_mult,
        norm_affine=norm_affine,
        **_checked(name, own),
    )
    model = builder(**settings)
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model {name}: {REGISTRY.find('model', name).origin}: its builder must return a torch.nn.Module"
        )
    _zero_biases(model)
    vars(model)[_SETTINGS] = {"name": name, **settings}
    return model


def _builder(name: str) -> Any:
    if name not in MODELS:
        why = REGISTRY.problem("model", name) or f"the valid names are {', '.join(names())}"
        raise ValueError(f"unknown model {name!r}; {why}")
    found = REGISTRY.find("model", name).load()
    return found[name] if isinstance(found, Mapping) else found


def _checked(name: str, own: dict[str, Any]) -> dict[str, Any]:
    """The settings that this network alone has: a ticket may come from anywhere."""
    cls = MODELS[name]
    keys = cls.model_fields.keys() - ModelSettings.model_fields.keys() - {"name"}
    found = cls.model_validate({"name": name, **own})
    return {key: getattr(found, key) for key in cls.model_fields if key in keys}


def settings_of(model: nn.Module) -> dict[str, Any] | None:
    """The arguments with which `build` made a network; None where another one did."""
    settings: dict[str, Any] | None = vars(model).get(_SETTINGS)
    return settings


def _check_width(width_mult: float) -> None:
    if not (math.isfinite(width_mult) and width_mult * _NARROWEST >= 1):  # written so that nan is refused too
        raise ValueError(
            f"width_mult={width_mult}: it must be a finite number > 0 that leaves at least 1 of the {_NARROWEST} "
            f"channels of the narrowest layer; the smallest is 1/{_NARROWEST} = {1 / _NARROWEST}"
        )


def _check_counts(**counts: int) -> None:
    for key, value in counts.items():
        if value < 1:
            raise ValueError(f"{key}={value}: it must be an integer, at least 1")


def _zero_biases(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
