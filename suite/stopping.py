"""Asking a trial to stop: signals set a flag, and the trial leaves at its next step, saved."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)
EXIT_TAKEN_OVER = 76  # exit status of a process whose trial another one has taken over: do not
EXIT_UNFINISHED = 75  # exit status of a process that left a trial unfinished: run it again (EX_TEMPFAIL of sysexits.h)


class Stopped(Exception):
    """A trial was asked to stop, saved itself and left; the same command goes on from there.

    ``signum`` is the signal that asked for it, where one did.
    """

    signum: int | None = None


def treat_as_ctrl_c() -> None:
    """From now on TERM and HUP do what Ctrl-C does at that moment; HUP does nothing under ``nohup``."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if not _is_kept_from_us(number):
            signal.signal(number, as_ctrl_c)


def as_ctrl_c(signum: int, frame: FrameType | None) -> None:
    """A signal handler that calls the one of Ctrl-C, once: `timeout` sends TERM twice, a terminal that closes HUP."""
    signal.signal(signum, _ignore)  # not SIG_IGN, which processes that start later would inherit
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(signum, frame)  # a shell's `&` may ignore Ctrl-C


def _ignore(signum: int, frame: FrameType | None) -> None:
    """A signal handler that does nothing."""


def _is_kept_from_us(number: int) -> bool:
    """``nohup`` has a process ignore HUP, so that it lives on when its terminal closes."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


class StopRequest:
    """While it is entered, signals ask to stop; so does ``should_stop``, where it returns True.

    Handlers can only be set in the main thread: elsewhere signals are left to those who own them. HUP asks nothing
    where the process ignores it, as under ``nohup``.
    """

    def __init__(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        self.signum: int | None = None
        self._also, self._also_said = should_stop, False
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Somebody wants the trial to stop, or did."""
        self._also_said = self._also_said or self._also()
        return self.signum is not None or self._also_said

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._note) for n in SIGNALS if not _is_kept_from_us(n)}
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, Stopped):
            error.signum = self.signum
        if isinstance(error, Stopped) and self.signum == signal.SIGINT:
            raise KeyboardInterrupt from error  # now that all is saved, Ctrl-C means what it always does

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
