"""Networks and their states: made empty from what a header says, filled, and told apart by a digest."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from suite import models
from suite.config import InputError
from suite.config.registry import check_there
from suite.tickets.header import Network, NetworkMetadata, TicketError

MAX_WEIGHTS = 1 << 30  # of a network that is loaded, unless the caller allows more: 4 GiB in float32


_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


def plain_names(model: nn.Module) -> dict[str, str]:
    """The names in a network's state as they are without wrappers: those of ``torch.compile``, DDP and DataParallel."""
    return {name: _plain_name(model, name) for name in model.state_dict()}


def _plain_name(module: object, name: str) -> str:
    kept = []
    for part in name.split("."):
        if _WRAPPERS.get(type(module).__name__) != part:
            kept.append(part)
        module = getattr(module, part, None)
    return ".".join(kept)


def _unwrapped(model: nn.Module) -> nn.Module:
    while inner := _WRAPPERS.get(type(model).__name__):
        model = getattr(model, inner)
    return model


def with_build_arguments(model: nn.Module, about: NetworkMetadata) -> NetworkMetadata:
    """``about``, with how ``models.build`` made the network, where it did."""
    settings = models.settings_of(_unwrapped(model))
    if settings is None:
        return about
    own = {key: settings[key] for key in settings.keys() - Network.model_fields.keys()}
    network = Network.model_validate({**{key: settings[key] for key in settings.keys() - own.keys()}, "own": own})
    return about.model_copy(update={"network": network})


def build_on_meta(about: NetworkMetadata) -> nn.Module:
    """The network without memory for its numbers: on torch's meta device.

    Raises:
        TicketError: no such network can be built; it is of a plugin that is missing.
    """
    network = about.network
    if network is None:
        raise TicketError("does not say how its network is built: give that network to load (model)")
    try:
        check_there([each for each in about.plugins if each.get("kind") == "model"], "its network cannot be built")
        with torch.device("meta"):
            return models.build(**network.model_dump(exclude={"own"}), **network.own)
    except InputError as error:
        raise TicketError(*error.problems) from None
    except (ValueError, RuntimeError, OverflowError, TypeError) as error:
        raise TicketError(f"its network cannot be built: {error}".splitlines()[0]) from None


def check_shapes(model: nn.Module, shapes: Mapping[str, list[int]]) -> None:
    """Raise TicketError where a network has other tensors than those stored."""
    plain = plain_names(model)
    own = {plain[name]: list(tensor.shape) for name, tensor in model.state_dict().items()}
    if missing := sorted(own.keys() ^ shapes.keys()):
        raise TicketError(f"{missing[0]}: is in the {'network' if missing[0] in own else 'file'} alone")
    for name, shape in shapes.items():
        if own[name] != shape:
            raise TicketError(f"{name}: has shape {shape}: the network has {own[name]}")


def check_size(num_weights: int, max_weights: int) -> None:
    """Raise TicketError where a network is larger than the caller allows."""
    if num_weights > max_weights:
        raise TicketError(f"has {num_weights} weights: at most {max_weights} are loaded unless max_weights says more")


def load_state(model: nn.Module, state: Mapping[str, Tensor], device: torch.device | str | None) -> nn.Module:
    """Give a network its numbers: one on the meta device takes the tensors themselves, another one's are written.

    Raises:
        TicketError: it is of another dtype, or has tensors that no state holds.
    """
    plain = plain_names(model)
    own = {plain[name]: tensor for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        floating = own[name].is_floating_point() and tensor.is_floating_point()
        if own[name].dtype != tensor.dtype and not (own[name].is_meta and floating):
            raise TicketError(f"{name}: is {dtype_name(tensor.dtype)}: the network has {dtype_name(own[name].dtype)}")
    given = {name: state[plain[name]] for name in plain}
    model.load_state_dict(given, assign=any(tensor.is_meta for tensor in own.values()))
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise TicketError("its network has tensors that are in no state: give that network to load (model)")
    return (model if device is None else model.to(device)).eval()


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and numbers (little endian, in logical order) of a state, sorted by name."""
    found = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        found.update(f"{name} {dtype_name(tensor.dtype)} {list(tensor.shape)}\n".encode())
        found.update(memoryview(tensor.view(-1).view(torch.uint8).numpy()))  # type: ignore[arg-type] # numpy says less
    return found.hexdigest()


def bytes_of(tensor: Tensor) -> bytes:
    """The numbers of a tensor, in logical order, little endian."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal dtypes, shapes and bits: -0 is not 0."""
    if one.dtype != other.dtype:
        return False
    one, other = one.contiguous(), other.contiguous()
    return one.shape == other.shape and torch.equal(one.view(-1).view(torch.uint8), other.view(-1).view(torch.uint8))


def dtype_name(dtype: torch.dtype) -> str:
    """As in ``torch.float32``."""
    return str(dtype).removeprefix("torch.")
