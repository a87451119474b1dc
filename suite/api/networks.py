"""Save and load networks: tickets of your own training loop, and what trials leave."""

import os
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from suite import tickets
from suite.config import InputError
from suite.records import DENSE, TICKET, Stored
from suite.tickets import TicketError

__all__ = ["TicketError", "load_network", "load_ticket", "save_ticket"]


def save_ticket(model: nn.Module, optimizer: Optimizer, path: str | os.PathLike[str]) -> Stored:
    """Write the subnetwork that a masked optimizer trains to a file of about one bit per weight.

    Before anything is written, the content is decoded and compared with the network, bit for bit. The file is then
    written whole or not at all.

    Args:
        model: the network, as it is after ``optimizer.step()``.
        optimizer: ``EdgePopup``, ``IteRand`` or a subclass, over parameters of ``model``.
        path: file to write. Its folder must exist. An existing file is replaced.

    Returns:
        The size of the file in bytes, and of its parts.

    Raises:
        ValueError: the optimizer has no masks, they are not of ``model``, or a tensor fits into no ticket.
        OSError: the file cannot be written. An existing file is left unchanged.
    """
    return tickets.save(os.fspath(path), model, optimizer)


def load_ticket(
    path: str | os.PathLike[str], model: nn.Module | None = None, *, device: torch.device | str | None = None
) -> nn.Module:
    """Load the network of a ticket, bit for bit, or of a trial's ``network.safetensors``, in evaluation mode.

    A file from elsewhere is safe to load: nothing in it is executed.

    Args:
        path: file to read.
        model: module to load the weights into and return. Its shapes must match the saved network. Optional if the
            suite built the saved network, as it does in trials.
        device: where the network goes; by default the CPU, or where ``model`` is.

    Raises:
        TicketError: the file is missing, damaged, of another version, too large, or of another network.
    """
    return tickets.load(os.fspath(path), model=model, device=device)


def load_network(
    trial_id: str, results: str | os.PathLike[str] = "results", *, device: torch.device | str | None = None
) -> nn.Module:
    """Load the network that a trial trained, bit for bit, in evaluation mode.

    Args:
        trial_id: the id of the trial, or the first characters of it that no other trial has.
        results: folder of the records.
        device: where the network goes; by default the CPU.

    Raises:
        InputError: there is no such trial, more than one, or it has left no network.
        TicketError: the file is damaged.
    """
    folder = _trial_folder(trial_id, Path(results) / "trials")
    there = next((file for name in (TICKET, DENSE) if (file := folder / name).is_file()), None)
    if there is None:
        raise InputError(f"{folder}: has no network: it has not finished, or has keep_network: false")
    return tickets.load(there, device=device)


def _trial_folder(trial_id: str, trials: Path) -> Path:
    names = os.listdir(trials) if trials.is_dir() else []
    found = [name for name in names if trial_id and name.startswith(trial_id)]
    if len(found) == 1:
        return trials / found[0]
    what = f"begins the ids of {len(found)} trials" if found else f"is the id of none of the {len(names)} trials"
    raise InputError(f"{trial_id!r}: {what} in {trials}: suite.results(sweep) lists them")
