"""Folders for what a process needs only while it lives. What a killed one left goes when the next one makes its own."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

_LOCK = ".lock"
_held: dict[Path, IO[str]] = {}


def make(prefix: str) -> Path:
    """A new folder that only this user may open, locked as long as this process lives."""
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
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


def _is_left(folder: Path) -> bool:
    """A folder of ours whose maker is dead."""
    with suppress(OSError):  # it has no lock, is another user's, or goes this moment
        if folder.lstat().st_uid == os.geteuid():
            with (folder / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
    return False
