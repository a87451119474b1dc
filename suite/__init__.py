"""Three ways to train a network, compared under one protocol: weights, edge-popup and IteRand.

    from suite import IteRand, prunable, save_ticket

The names in ``__all__`` are public: ``docs/reference/api.md`` says what that promises. Each is imported when it is
first used, so ``import suite`` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.api import TicketError, load_ticket, save_ticket
    from suite.methods import EdgePopup, IteRand, Weights, prunable, trainable

__version__ = "0.1.0"
__all__ = ["EdgePopup", "IteRand", "TicketError", "Weights", "load_ticket", "prunable", "save_ticket", "trainable"]
_IN_METHODS = ("EdgePopup", "IteRand", "Weights", "prunable", "trainable")  # the others are in suite.api


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'suite' has no attribute {name!r}: its public names are {', '.join(__all__)}")
    return getattr(importlib.import_module(f"suite.{'methods' if name in _IN_METHODS else 'api'}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
