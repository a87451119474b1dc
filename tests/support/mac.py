"""A process that lacks what only Linux has: imported first, before anything of the suite.

It hides names of the standard library that Python has on Linux alone, and all that lies in ``/proc``.
"""

import builtins
import errno
import importlib
import io
import os
import sys
import sysconfig
from collections.abc import Callable
from typing import Any

LINUX_ONLY = {
    os: ("sched_getaffinity", "sched_setaffinity", "memfd_create", "posix_fadvise", "copy_file_range", "eventfd"),
    errno: ("EREMOTEIO", "EUCLEAN", "ERESTART", "ENOKEY", "EMEDIUMTYPE", "ECHRNG", "EISNAM"),
}
_OF_THIS_PYTHON = ("urllib.request", "torch", "sklearn.datasets", "matplotlib.pyplot")  # compiled for the real system
_FILE_FUNCTIONS = ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access")


def _without_proc(function: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if name == "/proc" or name.startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return function(path, *args, **kwargs)

    return guarded


def become() -> None:
    """From now on this process is on a Mac, as far as Python can tell."""
    sysconfig.get_config_vars()
    for name in _OF_THIS_PYTHON:
        importlib.import_module(name)
    for module, names in LINUX_ONLY.items():
        for name in names:
            delattr(module, name)
    for name in _FILE_FUNCTIONS:
        setattr(os, name, _without_proc(getattr(os, name)))
    builtins.open = io.open = _without_proc(io.open)
    sys.platform = "darwin"
