"""What the contract's tests share: settings, a small net and gradients for any registered method."""

import hashlib
import io
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from suite import config, methods
from suite.testing import subject

NAMES = subject.names("method")
OF_THE_PAPER = ("weights", "edge_popup", "iterand")
MASKED = [name for name in NAMES if methods.get(name).masked]
SELECTING = [name for name in MASKED if not methods.trains_weights(methods.get(name))]  # weights stay random
CONSTANT = [  # those whose masks always remove ``sparsity``
    name for name in MASKED if not {"end_epoch", "rounds"} & set(config.METHODS[name].model_fields)
]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]
STATES = {False: ("theta", "scores", "momentum_buffer"), True: ("mask", "momentum_buffer")}  # by trains_weights
REQUIRED = {"lr": 0.1, "sparsity": 0.5}  # values for settings without a default
BY_SUFFIX = {"_every": 2, "_prob": 0.5}  # so that periodic work happens within few steps
INTERRUPTIONS = [0, 1, 2, 3, 5]
NUM_STEPS = 7
NUM_EPOCHS = 3  # of methods with ``start_epoch``: each step is one


def cases_of(names: Iterable[str]) -> list[Any]:
    """Methods beyond the paper's three are for ``make test-all``."""
    return [pytest.param(name, marks=[] if name in OF_THE_PAPER else pytest.mark.slow) for name in names]


each_method = pytest.mark.parametrize("name", cases_of(NAMES))
each_masked = pytest.mark.parametrize("name", cases_of(MASKED))
each_constant = pytest.mark.parametrize("name", cases_of(CONSTANT))
each_selecting = pytest.mark.parametrize("name", cases_of(SELECTING))


def settings_of(name: str) -> dict[str, Any]:
    """Settings that any method can be built with, from its settings class alone."""
    out: dict[str, Any] = {"weight_decay": 0.01}
    for key, field in config.METHODS[name].model_fields.items():
        if key != "name" and field.is_required():
            out[key] = subject.value_of(field) if key not in REQUIRED else REQUIRED[key]
        out.update((key, value) for suffix, value in BY_SUFFIX.items() if key.endswith(suffix))
    return {**out, **subject.settings(name)}


def state_of(name: str) -> tuple[str, ...]:
    """What a masked method keeps of each masked parameter, at least."""
    adam = ("theta", "scores", "exp_avg", "exp_avg_sq")
    return adam if settings_of(name).get("update") == "adam" else STATES[methods.trains_weights(methods.get(name))]


def has_setting(name: str, key: str) -> bool:
    """The method has such a setting."""
    return key in config.METHODS[name].model_fields


def with_settings(name: str, **settings: Any) -> dict[str, Any]:
    """Those of the settings that the method has."""
    return {key: value for key, value in settings.items() if has_setting(name, key)}


def net(dtype: torch.dtype = torch.float32, *, seed: int = 0) -> nn.Sequential:
    """A convolution, a norm and a linear layer, with biases; 4x4 images of 2 channels."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]
    return nn.Sequential(*layers).to(dtype)


def groups(name: str, model: nn.Module) -> list[dict[str, Any]]:
    """All parameters with their names: those that cannot be masked in a dense group of their own."""
    if not methods.get(name).masked:
        return [{"params": list(model.named_parameters())}]
    prunable = methods.prunable(model)
    others = [(key, param) for key, param in model.named_parameters() if key not in dict(prunable)]
    return [{"params": prunable}, {"params": others, "sparsity": None}]


def build(name: str, params: Iterable[Any], **settings: Any) -> Any:
    return methods.get(name)(params, **{**settings_of(name), **settings})


def model_and_optimizer(name: str, dtype: torch.dtype = torch.float32, **settings: Any) -> tuple[nn.Sequential, Any]:
    model = net(dtype)
    return model, build(name, groups(name, model), **settings)


def params_of(optimizer: Optimizer) -> list[nn.Parameter]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def masked_params(optimizer: Any) -> list[tuple[nn.Parameter, dict[str, Any]]]:
    kept = [group for group in optimizer.param_groups if type(optimizer).masked and group["sparsity"] is not None]
    return [(param, group) for group in kept for param in group["params"]]


def give_grads(params: Iterable[nn.Parameter], step: int) -> None:
    """Gradients that belong to the step and depend on the parameters' values, as those of a loss do."""
    generator = torch.Generator().manual_seed(step)
    for param in params:
        noise = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        param.grad = torch.empty_like(param).copy_(noise + param.detach().double())


def advance(optimizer: Optimizer, steps: Iterable[int]) -> None:
    for step in steps:
        if start_epoch := getattr(optimizer, "start_epoch", None):
            start_epoch(step, NUM_EPOCHS)
        give_grads(params_of(optimizer), step)
        optimizer.step()


def fingerprint(value: Any) -> Any:
    """Nested state as plain Python, tensors as dtype, shape and a hash of the logical bytes."""
    if isinstance(value, Tensor):
        flat = value.detach().contiguous().view(-1)
        digest = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
        return str(value.dtype), tuple(value.shape), digest[:16]
    if isinstance(value, dict):
        return {key: fingerprint(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fingerprint(item) for item in value]
    return value


def full_state(optimizer: Optimizer) -> Any:
    """All that the optimizer knows, and the parameters. Empty states count as none."""
    known = fingerprint(optimizer.state_dict())
    known["state"] = {key: state for key, state in known["state"].items() if state}
    return known, fingerprint(params_of(optimizer))


def tensor_state(optimizer: Optimizer) -> Any:
    """``full_state`` but the settings: for optimizers that differ in how they were given."""
    known, params = full_state(optimizer)
    return known["state"], params


def kept_values(optimizer: Any, param: Tensor) -> Tensor:
    """What a masked parameter holds where its mask keeps: theta, its sign times a magnitude, or a trained weight."""
    theta: Tensor = optimizer.state[param].get("theta", param.detach())
    magnitude = getattr(optimizer, "magnitude", None)
    return theta if magnitude is None else theta.sign() * magnitude(param)


def check_effective(optimizer: Any) -> None:
    """Contract 2: theta where the mask keeps, +0.0 elsewhere; how many it keeps is the method's to say.

    Where weights are trained, the parameter holds them.
    """
    assert masked_params(optimizer)
    for param, _ in masked_params(optimizer):
        keep = optimizer.mask(param)
        assert keep.dtype == torch.bool
        assert keep.shape == param.shape
        assert fingerprint(param) == fingerprint(torch.where(keep, kept_values(optimizer, param), 0.0).to(param.dtype))
        assert not param[~keep].signbit().any()


def check_counts(optimizer: Any) -> None:
    """Each layer loses exactly the share that ``sparsity`` says, as in the suite's own methods."""
    check_effective(optimizer)
    for param, group in masked_params(optimizer):
        assert (~optimizer.mask(param)).sum() == round(group["sparsity"] * (param.numel() - 1))


def restored_by_state(optimizer: Any) -> list[nn.Parameter]:
    """The parameters that a loaded state writes: all masked ones, but where their weights are trained."""
    return [] if methods.trains_weights(optimizer) else [param for param, _ in masked_params(optimizer)]


def through_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def restore(name: str, optimizer: Any, state: dict[str, Any]) -> Any:
    """A new model and optimizer of another seed, which takes ``state`` over.

    Parameters that are not masked are the model's to restore, as weights that are trained are; masked ones of random
    weights come from the state alone.
    """
    model = net(seed=1)
    other = build(name, groups(name, model), seed=77)
    masked = {id(param) for param in restored_by_state(other)}
    with torch.no_grad():
        for param, saved in zip(params_of(other), params_of(optimizer), strict=True):
            param.copy_(float("nan") if id(param) in masked else saved)
    other.load_state_dict(state)
    return other
