"""One trial: data, model, method, loop. The records it writes are the truth.

``python -m suite.train CONFIG.json`` runs one trial by itself.
"""

from typing import TYPE_CHECKING, Any

from suite.startup import without_garbage_collection

if TYPE_CHECKING:
    from suite.train.loop import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    """Import torch when ``train`` is first used: ``python -m suite.train --help`` needs none."""
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with without_garbage_collection():
        from suite.train import loop
    return loop.train
