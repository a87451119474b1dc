"""``save``, ``load`` and ``info``: tickets and dense networks as files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from suite.records import Stored
from suite.records.file_errors import TRANSIENT
from suite.tickets import dense, file, masked, networks
from suite.tickets.dense import DenseFile, DenseMetadata
from suite.tickets.file import TicketFile
from suite.tickets.header import MAGIC, Header, NetworkMetadata, TicketError
from suite.tickets.networks import MAX_WEIGHTS


@dataclass(frozen=True)
class Info:
    """What a file says of itself: its header, and where its bytes go."""

    header: Header | DenseMetadata
    stored: Stored
    num_weights: int
    entropy_bytes: float | None  # of masks and weights, each bit said without regard to the others


def save(path: Path | str, model: nn.Module, optimizer: Optimizer, *, about: NetworkMetadata | None = None) -> Stored:
    """Write the network that a masked optimizer trains, whole or not at all; returns where its bytes went.

    What is written was read back before, and gave the network bit for bit.

    Args:
        path: of the file; its folder must exist.
        model: the network. One that ``models.build`` made is named in the file; any other is to be given to ``load``.
        optimizer: EdgePopup, IteRand or a variant, over parameters of this network.
        about: whose network it is and how good.

    Raises:
        ValueError: the optimizer has no masks, they are not of this network, or a ticket cannot hold the network.
        OSError: the disk is full, say. In both cases a file that was there stays.
    """
    header, sections = masked.encode_network(
        model, optimizer, networks.with_build_arguments(model, about or NetworkMetadata())
    )
    content = file.pack(header, sections)
    try:
        masked.decode_state(file.read(content))
    except TicketError as error:
        raise ValueError(f"{path}: is not written: read back, the ticket {error}") from None
    return masked.sizes(header, file.write(Path(path), content))


def load(
    path: Path | str,
    *,
    model: nn.Module | None = None,
    device: torch.device | str | None = None,
    max_weights: int = MAX_WEIGHTS,
) -> nn.Module:
    """The network of a ticket, or of a dense file, with its effective weights, in evaluation mode.

    A file from elsewhere is safe to load: nothing in it is executed, and memory is bounded by the network's size.

    Args:
        path: of the file.
        model: filled in place and returned; unset, the network that the file names is built.
        device: where the network is wanted; unset, the CPU, or where ``model`` is.
        max_weights: a larger network is refused.

    Raises:
        TicketError: the file is no ticket, not whole, of a later version, too large, or of another network.
    """
    with _named(path):
        found = _opened(Path(path))
        networks.check_size(found.num_weights, max_weights)
        network = model if model is not None else networks.build_on_meta(found.header)
        networks.check_shapes(network, found.shapes)
        state = masked.decode_state(found) if isinstance(found, TicketFile) else found.state()
        return networks.load_state(network, state, device)


def info(path: Path | str) -> Info:
    """What a ticket or a dense file says of itself; the network is not made.

    Raises:
        TicketError: the file is neither, or not whole.
    """
    with _named(path):
        found = _opened(Path(path))
        if isinstance(found, DenseFile):
            return Info(found.header, dense.sizes_of(found), found.num_weights, None)
        stored = masked.sizes(found.header, found.num_bytes)
        return Info(found.header, stored, found.num_weights, masked.entropy_bytes(found))


def _opened(path: Path) -> TicketFile | DenseFile:
    try:
        if not path.is_file():  # nothing is there, or something that may never end
            raise TicketError("is no file: must be a ticket, or a dense network as safetensors")
        with path.open("rb") as start:
            head = start.read(9)
    except OSError as error:
        if error.errno in TRANSIENT:
            raise
        raise TicketError(f"{error.strerror}: must be a ticket, or a dense network as safetensors") from None
    if head[8:] == b"{" and not head.startswith(MAGIC):
        return dense.read(path)
    return file.read(path)


@contextmanager
def _named(path: Path | str) -> Iterator[None]:
    try:
        yield
    except TicketError as error:
        raise TicketError(*(f"{path}: {problem}" for problem in error.problems)) from None
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
