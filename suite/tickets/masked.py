"""From a network and its masked optimizer to the parts of a ticket, and back to the network's state."""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from suite import methods
from suite.methods.param_groups import fan_in_by_shape, fan_in_of, theta_fan_in
from suite.methods.random import frozen_pattern, scaled_fan_in
from suite.records import Stored
from suite.tickets import entropy_coding, networks, theta
from suite.tickets.entropy_coding import CorruptData
from suite.tickets.file import TicketFile
from suite.tickets.header import (
    MOST_DIMENSIONS,
    MOST_DRAWS,
    STORED_DTYPES,
    Header,
    Layer,
    NetworkMetadata,
    Source,
    TensorEntry,
    ThetaDtype,
    TicketError,
)
from suite.tickets.theta import ValueSampler

ParamPosition = tuple[int, int]  # of a masked parameter: which group, and its position in the optimizer


def encode_network(model: nn.Module, optimizer: Optimizer, about: NetworkMetadata) -> tuple[Header, list[bytes]]:
    """The header and the sections that say a network bit for bit.

    Raises:
        ValueError: the optimizer has no masks, they are not of this network, or a tensor fits into no ticket.
    """
    plain, masked = networks.plain_names(model), _masked(optimizer)
    state = {plain[name]: tensor for name, tensor in model.state_dict(keep_vars=True).items()}
    if left := masked.keys() - {id(tensor) for tensor in state.values()}:
        raise ValueError(f"optimizer: {len(left)} of its masked parameters are not of this network")
    for name, tensor in state.items():
        _check_tensor(name, tensor)
    sources = [_source(group) for group in optimizer.param_groups]
    layers, sections = [], []
    for name, tensor in state.items():
        if id(tensor) in masked:
            number, position = masked[id(tensor)]
            source = _source_of(sources, number, tensor, optimizer.param_groups[number])
            entry, own = _layer(name, tensor, optimizer, (number, source, position), sources[source])
            layers.append(entry)
            sections += own
    rest = {name: tensor for name, tensor in state.items() if id(tensor) not in masked}
    raw = b"".join(networks.bytes_of(tensor) for tensor in rest.values())
    packed = min(raw, zlib.compress(raw, 9), key=len)
    header = Header(
        **dict(about),
        method=_method_of(optimizer),
        num_updates=max(group["num_updates"] for group in optimizer.param_groups),
        sources=[source or _NO_SOURCE for source in sources],
        layers=layers,
        tensors=[
            TensorEntry(name=name, shape=list(tensor.shape), dtype=networks.dtype_name(tensor.dtype))  # type: ignore[arg-type]
            for name, tensor in rest.items()
        ],
        tensors_coding="raw" if packed is raw else "zlib",
        tensors_bytes=len(packed),
        digest=networks.digest(state),
        versions={"torch": torch.__version__},
    )
    return header, [*sections, packed]


def decode_state(ticket: TicketFile) -> dict[str, Tensor]:
    """The state of a ticket's network, on the CPU; whoever asks has seen that its size is bearable.

    Raises:
        TicketError: its sections are not what the header says, or do not give the network that was saved.
    """
    header = ticket.header
    with _garbled():
        check_lengths(header)
        state = {}
        for layer, mask, weights in ticket.sections():
            state[layer.name] = _effective(layer, header.sources[layer.source], mask, weights)
        state |= _tensors(header, ticket.tensors())
    if networks.digest(state) != header.digest:
        raise TicketError(
            f"does not give the network that was saved: its checksum differs; it was made with torch "
            f"{header.versions.get('torch', '?')}, this is {torch.__version__}"
        )
    return state


def sizes(header: Header, num_bytes: int) -> Stored:
    """Where the bytes of a ticket go; ``header`` is all that is neither a section nor a tensor."""
    parts = {
        "header": num_bytes - header.section_bytes,
        "mask": sum(layer.mask[1] for layer in header.layers),
        "theta": sum(layer.theta[2] for layer in header.layers),
        "tensors": header.tensors_bytes,
    }
    return Stored(form="ticket", bytes=num_bytes, parts=parts, metrics=header.metrics)


def entropy_bytes(ticket: TicketFile) -> float:
    """What the masks and weights of a ticket need at least, each bit said without regard to the others."""
    found = 0.0
    with _garbled():
        check_lengths(ticket.header)
        for layer, _, weights in ticket.sections():
            found += entropy_coding.entropy_bytes(layer.mask_counts)
            found += theta.entropy_bytes(layer, ticket.header.sources[layer.source], weights)
    return found


def check_lengths(header: Header) -> None:
    """Raise CorruptData where the sections cannot be so long: before any memory is taken for what they say."""
    for layer in header.layers:
        try:
            entropy_coding.check_length(*layer.mask, layer.mask_counts)
            theta.check_length(layer, header.sources[layer.source])
        except CorruptData as error:
            raise CorruptData(f"{layer.name}: {error}") from None


def _source_of(sources: list[Source | None], number: int, param: Tensor, group: dict[str, Any]) -> int:
    """Which source a layer of group ``number`` has: one beyond those of the groups where its fan-in is its own."""
    source, fan_in = sources[number], fan_in_of(param, group)
    if source is None or source.fan_in is not None or fan_in == fan_in_by_shape(param):
        return number
    own = source.model_copy(update={"fan_in": fan_in})
    if own not in sources[number:]:
        sources.append(own)
    return sources.index(own, number)


def _layer(
    name: str, param: Tensor, optimizer: Any, place: tuple[int, int, int], source: Source | None
) -> tuple[Layer, list[bytes]]:
    assert source is not None
    number, number_of_source, position = place
    mask, values = optimizer.mask(param).reshape(-1), optimizer.theta(param).reshape(-1)
    kept = mask.nonzero().squeeze(1)
    magnitude, frozen = _magnitude(optimizer, param), _frozen(optimizer, param)
    effective = torch.where(mask, _mapped(values, magnitude), 0.0)
    if not networks.same_bits(effective.to(param.dtype), param.detach().reshape(-1)):
        raise ValueError(f"{name}: does not hold theta * mask: it was changed since the optimizer's last step")
    symbols = mask[frozen == 0].cpu().numpy().astype(np.int32)
    num = int(symbols.sum())
    form, bits = entropy_coding.encode(symbols, (len(symbols) - num, num))
    draw = ValueSampler(source, theta_fan_in(param, optimizer.param_groups[number]), position, values.dtype)
    said = theta.encode_theta(kept, values[kept], draw)
    layer = Layer(
        name=name,
        shape=list(param.shape),
        dtype=networks.dtype_name(param.dtype),  # type: ignore[arg-type]
        source=number_of_source,
        position=position,
        kept=len(kept),
        mask=(form, len(bits)),
        theta=(said.kind, said.coding, len(said.data)),
        turned=said.turned,
        theta_dtype=_theta_dtype(name, values, param),
        frozen=(int((frozen < 0).sum()), int((frozen > 0).sum())),
        magnitude=magnitude,
    )
    return layer, [bits, said.data]


def _magnitude(optimizer: Any, param: Tensor) -> float | None:
    """The number that all survivors of a layer are, but for their signs; None where they keep their own."""
    magnitude = getattr(optimizer, "magnitude", None)  # of methods that have one
    return None if magnitude is None else float(magnitude(param))


def _frozen(optimizer: Any, param: Tensor) -> Tensor:
    """Which weights of a layer are removed for ever (-1), kept for ever (1), and free (0): (num,)."""
    frozen = getattr(optimizer, "frozen", None)
    return torch.zeros(param.numel(), device=param.device) if frozen is None else frozen(param).reshape(-1)


def _mapped(values: Tensor, magnitude: float | None) -> Tensor:
    """What survivors with these random weights are in the network, before they are rounded to its dtype."""
    return values if magnitude is None else values.sign() * magnitude


def _theta_dtype(name: str, values: Tensor, param: Tensor) -> ThetaDtype | None:
    """The dtype of the random weights, where it is not the usual one of such a parameter."""
    if values.dtype == torch.promote_types(param.dtype, torch.float32):
        return None
    found = networks.dtype_name(values.dtype)
    if found not in get_args(ThetaDtype):
        raise ValueError(f"{name}: theta is {found}: a ticket holds one of {', '.join(get_args(ThetaDtype))}")
    return found  # type: ignore[return-value] # as just checked


def _check_tensor(name: str, tensor: Any) -> None:
    """Raise ValueError for a part of a network's state that a ticket cannot hold."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name}: {type(tensor).__name__} in the network's state: a ticket holds tensors only")
    if (dtype := networks.dtype_name(tensor.dtype)) not in STORED_DTYPES:
        raise ValueError(f"{name}: {dtype}: a ticket holds tensors of {', '.join(STORED_DTYPES)}")
    if tensor.ndim > MOST_DIMENSIONS:
        raise ValueError(f"{name}: has {tensor.ndim} dimensions: a ticket holds tensors of at most {MOST_DIMENSIONS}")


def _effective(layer: Layer, source: Source, mask: bytes, section: bytes) -> Tensor:
    dtype = getattr(torch, layer.dtype)
    fan_in = source.fan_in or max(math.prod(layer.shape[1:]), 1)
    drawn_with = scaled_fan_in(fan_in, source.sparsity) if source.scale_fan else fan_in
    draw = ValueSampler(source, drawn_with, layer.position, getattr(torch, layer.drawn_dtype))
    survivors, flat, start = theta.ThetaDecoder(layer, section, draw), torch.zeros(layer.num, dtype=dtype), 0
    for chunk in _mask_chunks(layer, source, mask):
        index = torch.from_numpy(np.flatnonzero(chunk) + start)
        if survivors.taken + len(index) > layer.kept:
            raise CorruptData(f"{layer.name}: its mask keeps more weights than it says")
        flat[index] = _mapped(survivors.take(index), layer.magnitude).to(dtype)
        start += len(chunk)
    return flat.view(layer.shape)


def _mask_chunks(layer: Layer, source: Source, section: bytes) -> Iterator[entropy_coding.Symbols]:
    """The mask of a layer in chunks: what its section says of the free weights, and what is frozen."""
    said = entropy_coding.decode(layer.mask[0], section, layer.mask_counts)
    if layer.frozen == (0, 0):
        yield from said
        return
    pattern = frozen_pattern(layer.num, *layer.frozen, seed=source.seed, parameter=layer.position).numpy()
    mask = (pattern > 0).astype(np.int32)
    mask[pattern == 0] = np.concatenate([*said, np.empty(0, np.int32)])
    yield mask


@contextmanager
def _garbled() -> Iterator[None]:
    try:
        yield
    except CorruptData as error:
        raise TicketError(f"is garbled: {error}") from None


def _tensors(header: Header, packed: bytes) -> dict[str, Tensor]:
    total = sum(tensor.num_bytes for tensor in header.tensors)
    raw = entropy_coding.inflated(packed, total) if header.tensors_coding == "zlib" else packed
    if len(raw) != total:
        raise CorruptData(f"its tensors have {len(raw)} bytes: they must have {total}")
    return dict(_cut(header.tensors, raw))


def _cut(tensors: list[TensorEntry], raw: bytes) -> Iterator[tuple[str, Tensor]]:
    start = 0
    for each in tensors:
        dtype, some = getattr(torch, each.dtype), bytearray(raw[start : start + each.num_bytes])
        flat = torch.frombuffer(some, dtype=dtype) if some else torch.empty(0, dtype=dtype)
        yield each.name, flat.view(each.shape)
        start += each.num_bytes


def _masked(optimizer: Optimizer) -> dict[int, ParamPosition]:
    """Where each masked parameter stands, by its id."""
    if not getattr(optimizer, "masked", False):
        raise ValueError(f"optimizer: {type(optimizer).__name__} has no masks: a ticket is of a masked network")
    if methods.trains_weights(optimizer):
        raise ValueError(
            f"optimizer: {type(optimizer).__name__} trains weights: a ticket is of random ones; "
            "suite.tickets.dense.pack(model.state_dict(), 'sparse-fp32', ...) makes a small file of these"
        )
    found: dict[int, ParamPosition] = {}
    for number, group in enumerate(optimizer.param_groups):
        for position, param in enumerate(group["params"], start=group["first_parameter"]):
            if group["sparsity"] is not None and optimizer.state.get(param):
                found[id(param)] = (number, position)
    return found


def _source(group: dict[str, Any]) -> Source | None:
    if group["sparsity"] is None:
        return None
    draws = group["num_updates"] // group["rerandomize_every"] if group.get("rerandomize_prob") else 0
    return Source(
        distribution=group["distribution"],
        seed=group["seed"],
        sparsity=float(group["sparsity"]),
        fan_in=None if isinstance(group["fan_in"], list) else group["fan_in"],
        scale_fan=group["scale_fan"],
        num_draws=min(draws, MOST_DRAWS),
    )


_NO_SOURCE = Source(distribution=None, seed=0, sparsity=0.0)  # of a group without masks, to keep places


def _method_of(optimizer: Optimizer) -> str:
    """The name in the registry, or the class's own where it has none."""
    known = {methods.get(name): name for name in methods.names()}
    return known.get(type(optimizer), type(optimizer).__qualname__)
