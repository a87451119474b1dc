"""The contract of ``suite.methods``, held against every registered method: settings, registry."""

import inspect
import re
from collections.abc import Iterable
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import Optimizer

from suite import config, methods
from suite.testing.method.cases import NAMES, build, each_method, full_state, settings_of


@each_method
def test_settings_are_the_constructors_keys_and_defaults(name: str) -> None:
    parameters = dict(inspect.signature(methods.get(name)).parameters)
    assert next(iter(parameters)) == "params"
    assert parameters.pop("seed").default == 0
    assert parameters.pop("first_parameter").default == 0  # of an optimizer, not of a trial
    assert "num_steps" not in parameters or parameters.pop("num_steps").default is None  # which a trial knows itself
    assert "steps_per_epoch" not in parameters or parameters.pop("steps_per_epoch").default == 1
    del parameters["params"]
    fields = {key: field for key, field in config.METHODS[name].model_fields.items() if key != "name"}
    assert set(parameters) == set(fields)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    assert defaults == {
        key: inspect.Parameter.empty if field.is_required() else field.default for key, field in fields.items()
    }


@each_method
def test_a_method_is_an_optimizer_that_says_its_kind(name: str) -> None:
    cls = methods.get(name)
    assert issubclass(cls, Optimizer)
    assert isinstance(cls.masked, bool)


def bad_values(name: str) -> Iterable[Any]:
    """Every setting with values outside the range that its settings class names."""
    for key, field in config.METHODS[name].model_fields.items():
        if key == "name":
            continue
        annotation, metadata = field.annotation, list(field.metadata)
        if get_origin(annotation) in (Union, UnionType):  # a value or None
            inner = get_args(annotation)[0]
            annotation, *metadata = get_args(inner) or (inner,)
            metadata = [part for info in metadata for part in getattr(info, "metadata", [info])]
        limits = {type(limit).__name__: limit for limit in metadata}
        bad: list[Any] = [limits["Ge"].ge - 1] if "Ge" in limits else []
        bad += [limits["Gt"].gt - 1] if "Gt" in limits else []
        bad += [limits["Le"].le + 1] if "Le" in limits else []
        bad += [limits["Lt"].lt, limits["Lt"].lt + 1] if "Lt" in limits else []
        bad += [float("nan")] if annotation is float else []
        bad += [limits["Ge"].ge + 0.5] if annotation is int else []
        bad += ["no_such_choice"] if get_origin(annotation) is Literal else []
        bad += [1] if annotation is bool else []
        yield from ((key, value) for value in bad)
    yield from (("seed", value) for value in (-1, 2**32, 0.5))


def refusals() -> list[Any]:
    """A case for each method, setting and bad value."""
    return [(name, key, value) for name in NAMES for key, value in bad_values(name)]


SGD_KEYS = {"lr", "momentum", "weight_decay"}


@pytest.mark.parametrize(("name", "key", "value"), refusals())
def test_a_setting_out_of_range_is_an_error(name: str, key: str, value: Any) -> None:
    """In the constructor and in a group; the settings class refuses it too."""
    text = re.escape(f"{key}: {value!r}: must be ")
    with pytest.raises(ValueError, match=f"^{text}"):
        build(name, [nn.Parameter(torch.zeros(3, 4))], **{key: value})
    with pytest.raises(ValueError, match=f"^{text}"):
        build(name, [{"params": [nn.Parameter(torch.zeros(3, 4))], key: value}])
    if key != "seed":
        with pytest.raises(ValidationError):
            config.METHODS[name](**{**settings_of(name), "name": name, key: value})


@each_method
@pytest.mark.parametrize("fan_in", [0, -3])
def test_fan_in_out_of_range_is_an_error(name: str, fan_in: int) -> None:
    with pytest.raises(ValueError, match=f"fan_in: {fan_in}: must be a whole number from 1"):
        build(name, [{"params": [nn.Parameter(torch.zeros(3, 4))], "fan_in": fan_in}])


@each_method
def test_a_refused_group_leaves_the_optimizer_as_it_was(name: str) -> None:
    optimizer = build(name, [nn.Parameter(torch.ones(3, 4))])
    before, weight = full_state(optimizer), nn.Parameter(torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"lr: -1\.0: must be "):
        optimizer.add_param_group({"params": [weight], "lr": -1.0})
    assert full_state(optimizer) == before
    assert torch.equal(weight, torch.ones(3, 4))
