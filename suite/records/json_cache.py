"""Texts by key that a file beside the results keeps, to save time: it may be missing, broken or deleted at any time."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from suite.records.atomic import write_text_atomic


def read(cache: Path | None) -> dict[str, str]:
    """What the file keeps; nothing where there is none, or another one."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(cache.read_text(encoding="utf-8")) if cache else None
        if isinstance(found, dict) and all(isinstance(each, str) for each in found.values()):
            return found
    return {}


def write(cache: Path | None, known: Mapping[str, str] | None) -> None:
    """Keep what is known, if the file has a folder by now."""
    if cache and known and cache.parent.is_dir():
        with contextlib.suppress(OSError):  # a full or read-only disk costs time, no more
            write_text_atomic(cache, json.dumps(known, indent=1))


def file_state(file: Path) -> tuple[int, ...]:
    """A file's state; it differs after any change, even a replacement with the same size and date.

    Raises:
        OSError: there is no such file, say.
    """
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
