"""Tickets: a trained subnetwork of seeded random weights as a file of little more than a bit a weight.

``save`` writes one, ``load`` gives the network back bit for bit, with neither optimizer nor trainer, and ``info`` says
what is in it. ``docs/reference/file_formats.md`` has the format byte by byte. A network trained by weight optimization
has no such form: ``suite.tickets.dense`` writes it, and ``load`` and ``info`` read that too.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.tickets.header import Network, NetworkMetadata, TicketError
    from suite.tickets.networks import MAX_WEIGHTS
    from suite.tickets.store import Info, info, load, save

__all__ = ["MAX_WEIGHTS", "Info", "Network", "NetworkMetadata", "TicketError", "info", "load", "save"]
_IN_HEADER = ("Network", "NetworkMetadata", "TicketError")


def __getattr__(name: str) -> Any:
    """Import torch when a name is first used: ``python -m suite.tickets --help`` needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "header" if name in _IN_HEADER else "networks" if name == "MAX_WEIGHTS" else "store"
    return getattr(importlib.import_module(f"suite.tickets.{home}"), name)
