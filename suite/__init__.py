"""Three ways to train a network, compared under one protocol: weights, edge-popup and IteRand.

    from suite import IteRand, prunable, save_ticket  # in a training loop of your own
    from suite import run, results, epochs  # sweeps, as in a notebook

The names in ``__all__`` are public: ``docs/reference/api.md`` says what that promises. Each is imported when it is
first used, so ``import suite`` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.api.frames import epochs, results
    from suite.api.networks import TicketError, load_network, load_ticket, save_ticket
    from suite.api.runs import run
    from suite.api.sweeps import load_sweep, use_plugins
    from suite.config import InputError
    from suite.methods import EdgePopup, IteRand, Weights, prunable, trainable

__version__ = "0.1.0"
__all__ = [
    "EdgePopup",
    "InputError",
    "IteRand",
    "TicketError",
    "Weights",
    "epochs",
    "load_network",
    "load_sweep",
    "load_ticket",
    "prunable",
    "results",
    "run",
    "save_ticket",
    "trainable",
    "use_plugins",
]
_HOMES = {
    "suite.api.frames": ("epochs", "results"),
    "suite.api.networks": ("TicketError", "load_network", "load_ticket", "save_ticket"),
    "suite.api.runs": ("run",),
    "suite.api.sweeps": ("load_sweep", "use_plugins"),
    "suite.config": ("InputError",),
    "suite.methods": ("EdgePopup", "IteRand", "Weights", "prunable", "trainable"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'suite' has no attribute {name!r}: its public names are {', '.join(__all__)}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
