"""Run a trial in this process, which dies by SIGKILL at a point: ``dying_trial TRIAL FOLDER DEATHS``."""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.config import Trial
from suite.launch import inline


def die_after(module: str, name: str, count: int, ending: str) -> None:
    """Make the process die after ``count`` calls; instead of the first, where that is 0."""
    owner: Any = importlib.import_module(module)
    *outer, last = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original: Callable[..., Any] = getattr(owner, last)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += str(args[-1] if args else "").endswith(ending)
        value = original(*args, **kwargs) if count else None
        if calls >= count:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    setattr(owner, last, staticmethod(counted) if isinstance(vars(owner).get(last), classmethod) else counted)


if __name__ == "__main__":
    trial, folder, deaths = sys.argv[1:]
    for death in json.loads(deaths):
        die_after(*death)
    inline.run(Trial.model_validate_json(trial), Path(folder), data_dir=None)
