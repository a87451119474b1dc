"""Weights that no method can hold: refused by name, with the cure."""

from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize


def check_whole(name: str, param: Tensor) -> None:
    """Raise ValueError for a weight that is not there yet, or of which this process has a part alone."""
    if is_lazy(param):
        raise ValueError(f"parameter {name}: is not initialized yet: run a batch through the model first")
    if is_dtensor(param):
        raise ValueError(f"parameter {name}: {DTENSOR}")


def check_not_parametrized(prefix: str, module: nn.Module) -> None:
    """Raise ValueError for a module whose weight is computed from other parameters in each forward pass."""
    for attribute, cure in parametrized(module).items():
        name = f"{prefix}.{attribute}" if prefix else attribute
        raise ValueError(f"parameter {name}: {cure}")


def parametrized(module: nn.Module) -> dict[str, str]:
    """The weights of a module that are computed from others, each with what is wrong and the cure."""
    new = [name for name in getattr(module, "parametrizations", {}) if parametrize.is_parametrized(module, name)]
    found = {name: _cure(f"parametrize.remove_parametrizations(module, {name!r})") for name in new}
    for held in module._parameters:
        for ending in ("_orig", "_v"):
            name = held.removesuffix(ending)
            made = [f"{name}_g"] if ending == "_v" else [f"{name}_mask", f"{name}_u"]
            made = [one for one in made if one in module._parameters or one in module._buffers]
            is_made = name != held and made and name not in module._parameters
            if is_made and isinstance(getattr(module, name, None), Tensor):
                found[name] = _cure(_old_cure(module, name, ending))
    return {name: cure for name, cure in found.items() if _has_axes(module, name)}


def why_replaced(owner: nn.Module, attribute: str) -> str:
    """What has become of a parameter that its module does not hold any more."""
    now: Any = getattr(owner, "_parameters", {}).get(attribute)
    if now is not None and is_dtensor(now):
        return DTENSOR
    return parametrized(owner).get(attribute) or (
        "was replaced in its layer since the optimizer was made, which trains the old one: make a new optimizer"
    )


def is_dtensor(param: Tensor) -> bool:
    """Whether a process has a shard of it; torch.distributed need not be imported to know."""
    return any(cls.__name__ == "DTensor" for cls in type(param).__mro__)


DTENSOR = "is a DTensor: a mask needs the whole layer on each rank: use DistributedDataParallel (DDP) instead"


def _cure(call: str) -> str:
    return f"is parametrized: its layer computes it in each forward pass: call torch.nn.utils.{call} first"


def _old_cure(module: nn.Module, name: str, ending: str) -> str:
    if ending == "_v":
        return f"remove_weight_norm(module, {name!r})"
    is_pruned = f"{name}_mask" in module._buffers
    return f"prune.remove(module, {name!r})" if is_pruned else f"remove_spectral_norm(module, {name!r})"


def _has_axes(module: nn.Module, name: str) -> bool:
    held = module._parameters.get(f"{name}_orig", module._parameters.get(f"{name}_v"))
    if held is None:
        held = next(iter(module.parametrizations[name].parameters(recurse=False)), None)  # type: ignore[index, union-attr]
    return held is not None and held.ndim >= 2  # None: a parametrized buffer
