"""One trial: data, model, method, loop. The records it writes are the truth.

``python -m suite.train CONFIG.json`` runs one trial by itself.
"""

import gc

_was_enabled = gc.isenabled()
gc.disable()  # torch makes hundred thousands of objects that all stay: to look through them takes a fifth of its import
try:
    from suite.train.loop import train
finally:
    if _was_enabled:
        gc.enable()

__all__ = ["train"]
