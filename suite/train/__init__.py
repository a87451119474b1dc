"""One trial: data, model, method, loop. The records it writes are the truth.

``python -m suite.train CONFIG.json`` runs one trial by itself.
"""

from suite.startup import without_garbage_collection

with without_garbage_collection():
    from suite.train.loop import train

__all__ = ["train"]
