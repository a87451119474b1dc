"""Tickets for a training loop of one's own: no trial and no record is needed."""

import os

import torch
from torch import nn
from torch.optim import Optimizer

from suite import tickets
from suite.records import Stored
from suite.tickets import TicketError

__all__ = ["TicketError", "load_ticket", "save_ticket"]


def save_ticket(model: nn.Module, optimizer: Optimizer, path: str | os.PathLike[str]) -> Stored:
    """Write the subnetwork that a masked optimizer trains to a file of about a bit a weight.

    The file is written whole or not at all, and only after its content was read back and gave the network bit for bit.

    Args:
        model: the network, as it is after ``optimizer.step()``.
        optimizer: ``EdgePopup``, ``IteRand`` or a subclass, over parameters of ``model``.
        path: of the file. Its folder must exist; a file that is there is replaced.

    Returns:
        The size of the file in bytes, and of its parts.

    Raises:
        ValueError: the optimizer has no masks, they are not of ``model``, or a tensor fits into no ticket.
        OSError: the file cannot be written. A file that was there stays.
    """
    return tickets.save(os.fspath(path), model, optimizer)


def load_ticket(
    path: str | os.PathLike[str], model: nn.Module | None = None, *, device: torch.device | str | None = None
) -> nn.Module:
    """The network of a ticket, in evaluation mode, with the bits that were saved.

    A file from elsewhere is safe to load: nothing in it is executed.

    Args:
        path: of the file.
        model: the network that takes the weights, of the same shapes as the saved one. It is returned. It may be left
            out where the suite built the saved network, as it does in trials.
        device: where the network goes; by default the CPU, or where ``model`` is.

    Raises:
        TicketError: the file is missing, damaged, of a later version, or of another network.
    """
    return tickets.load(os.fspath(path), model=model, device=device)
