"""Folders for what a process needs only while it lives. What a killed one left goes when the next one makes its own."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR
from typing import IO

_LOCK = ".lock"
_YOUNG_SECONDS = 60.0
_held: dict[Path, IO[str]] = {}


def make(prefix: str, *, at_most: int | None = None) -> Path:
    """A new folder that only this user may open, locked as long as this process lives.

    It lies in $TMPDIR, or in /tmp where the name of that has more than ``at_most`` characters.
    """
    place = tempfile.gettempdir()
    if at_most is not None and len(place) > at_most:
        place = "/tmp"  # noqa: S108 - mkdtemp makes a folder of ours alone there
    for left in Path(place).glob(f"{prefix}*"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    lock = (folder / f"{_LOCK}.new").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / f"{_LOCK}.new").rename(folder / _LOCK)  # whoever sees it, sees it locked
    _held[folder] = lock
    return folder


def remove(folder: Path) -> None:
    """Remove a folder that was made here."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder in _held:
        _held.pop(folder).close()


def remove_all() -> None:
    """Remove all folders that were made here, where the process ends without its usual end."""
    for folder in list(_held):
        remove(folder)


def _is_left(folder: Path) -> bool:
    """A folder of ours whose maker is dead."""
    with suppress(OSError):  # it is another user's, or goes this moment
        status = folder.lstat()
        if status.st_uid == os.geteuid() and S_ISDIR(status.st_mode):
            if not (folder / _LOCK).exists():  # a dying Ray made it anew, or it is about to have a lock
                return time.time() - status.st_mtime > _YOUNG_SECONDS
            with (folder / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
    return False
