"""The compiled loops for CPUs: loaded from the user's cache or compiled once, and used only where they equal ``plain``.

Nothing but speed hangs on them: without numba, on a processor that rounds otherwise, or while another process compiles,
a step takes the form that needs no compiler.
"""

import logging
import math
import time
from collections.abc import Callable, Hashable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from suite.methods.update.code_cache import CodeCache, default_folder

if TYPE_CHECKING:
    from suite.methods.update.machine_code import Function

_ARGUMENTS = {"update": ("int64",) * 5 + ("float64",) * 4, "redraw": ("int64",) * 10}
_REALS: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}
_WORTH_COMPILING = 1 << 18  # weights in a step; below, seconds of compiling that nobody can keep are not won back soon
_LOOK_AGAIN = 1.0  # seconds until a process looks whether another one has compiled

_SLOWER = "masked steps are slower, with equal results"

_log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """What loops differ in: the dtype of theta and scores, and whether theta is packed."""

    dtype: torch.dtype
    packed: bool


class Loop:
    """One compiled function, had when it is first asked for, and what is known of how it rounds."""

    def __init__(self, name: str, kind: Kind) -> None:
        self._name, self._kind = name, kind
        self._function: Function | None = None
        self._next_look = -math.inf
        self._equals: dict[Hashable, bool] = {}

    def get(self, num_weights: int, case: Hashable, equals: Callable[["Function"], bool]) -> "Function | None":
        """The function, where it can be had now for a step over so many weights, and equals the plain form in a case.

        ``equals`` says whether it does; it is asked once a case.
        """
        function = self._function or self._found(num_weights)
        if function is None:
            return None
        if case not in self._equals:
            self._equals[case] = equals(function)
            if not self._equals[case]:
                _log.warning("compiled code rounds otherwise than torch on this processor: %s", _SLOWER)
        return function if self._equals[case] else None

    def _found(self, num_weights: int) -> "Function | None":
        if time.monotonic() < self._next_look:
            return None
        self._next_look = time.monotonic() + _LOOK_AGAIN
        try:
            self._function = self._loaded(num_weights)
        except Exception as error:  # whatever a compiler may have to say: the other form needs none
            self._next_look = math.inf
            _log.warning("no compiled code (%s: %s): %s", type(error).__name__, error, _SLOWER)
        return self._function

    def _loaded(self, num_weights: int) -> "Function | None":
        from suite.methods.update.machine_code import Function, key_of

        cache = _cache()
        key = key_of(f"{self._name} {self._kind.dtype} packed={self._kind.packed}")
        code = cache.load(key) if cache else None
        if code is None and cache and cache.is_writable:
            with cache.lock() as is_mine:
                code = cache.load(key) or self._compiled_and_kept(cache, key) if is_mine else None
        elif code is None and num_weights >= _WORTH_COMPILING:
            code = self._compiled()
        return Function(code, _ARGUMENTS[self._name]) if code is not None else None

    def _compiled_and_kept(self, cache: CodeCache, key: str) -> bytes:
        code = self._compiled()
        try:
            cache.save(key, code)
        except OSError as error:
            _log.warning("compiled code is not kept, so that each process compiles its own: %s", error)
        return code

    def _compiled(self) -> bytes:
        from suite.methods.update.loops.redraw import redraw_loop
        from suite.methods.update.loops.update import update_loop
        from suite.methods.update.machine_code import compiled

        make = {"update": update_loop, "redraw": redraw_loop}[self._name]
        return compiled(make(_REALS[self._kind.dtype], packed=self._kind.packed), _ARGUMENTS[self._name])


@cache
def loop(name: str, kind: Kind) -> Loop:
    """The loop "update" or "redraw" for layers of a kind."""
    return Loop(name, kind)


@cache
def _cache() -> CodeCache | None:
    try:
        return CodeCache(default_folder())
    except (OSError, RuntimeError) as error:
        _log.info("compiled code is not kept: %s", error)
        return None
