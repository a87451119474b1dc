"""Errors of a file system: which pass by themselves, which are no fault of a trial, and what a user does about them."""

import errno
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from suite.config import InputError

T = TypeVar("T")
_EREMOTEIO = getattr(errno, "EREMOTEIO", errno.EIO)  # Linux alone has it
TRANSIENT = frozenset(
    (errno.EIO, errno.ESTALE, errno.EINTR, errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.ENOTCONN, _EREMOTEIO)
)
_NO_SPACE, _NO_RIGHT = (errno.ENOSPC, errno.EDQUOT), (errno.EROFS, errno.EACCES, errno.EPERM)
_TOO_MANY = (errno.EMFILE, errno.ENFILE)
_OF_FILES = {*TRANSIENT, *_NO_SPACE, *_NO_RIGHT, *_TOO_MANY, errno.EFBIG, errno.ENXIO, errno.ENODEV, errno.ENOLCK}
_WAITS = (0.1, 0.5, 2.0)  # seconds before the second try, the third, and the last
log = logging.getLogger(__name__)


def retrying(action: Callable[[], T], path: Path, waits: Sequence[float] = _WAITS) -> T:
    """Call ``action``, and again where an error may pass; it must be harmless to repeat.

    Raises:
        OSError: the last one; its ``filename`` is ``path`` where the system names none.
    """
    try:
        return action()
    except OSError as error:
        error.filename = error.filename or str(path)
        if not waits or error.errno not in TRANSIENT:
            raise
        log.warning("%s: %s: trying again", error.filename, error.strerror)
    time.sleep(waits[0])
    return retrying(action, path, waits[1:])


def is_of_files(error: OSError, folder: Path | None = None) -> bool:
    """Whether the error is one of storage: its errno says so, or its file is under ``folder``."""
    own = folder is not None and isinstance(error.filename, str) and folder in Path(error.filename).parents
    return own or error.errno in _OF_FILES


def describe(error: OSError) -> str:
    """The file and what is wrong with it, in a line."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def unfinished(error: OSError) -> InputError:
    """The message for a user when such an error ends a trial, which is not marked as failed."""
    return InputError(f"{describe(error)}: the trial is unfinished: {_remedy(error)}, and the same command resumes it")


def _remedy(error: OSError) -> str:
    if error.errno in _NO_SPACE:
        return "make room"
    if error.errno in _NO_RIGHT:
        return "see that it can be read and written"
    if error.errno in _TOO_MANY:
        return "allow more open files (ulimit -n)"
    if error.errno == errno.EFBIG:
        return "allow larger files (ulimit -f)"
    return "wait until its file system works, or move away a file that stays unreadable"
