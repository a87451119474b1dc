"""Files that are written whole or not at all, and renamed once however often the file system repeats the call."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file whole or not at all, into a folder that exists: temporary name, fsync, rename."""
    write_bytes_atomic(path, text.encode())


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """``write_text_atomic``, of bytes."""
    with writing(path) as file:
        file.write(content)


@contextmanager
def writing(path: Path) -> Iterator[BufferedWriter]:
    """A file to write to, which gets its name once all of it is safe on disk; it never does where that raises.

    Raises:
        OSError: the disk is full, say; ``filename`` is set. The former file is untouched.
    """
    temporary = path.with_name(temporary_name(path))
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        move(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> str:
    """A name beside a path that no other process draws: process ids are equal in two containers."""
    return f".{path.name}.{secrets.token_hex(8)}"


def move(source: Path, target: Path) -> None:
    """Rename a file; that a file system repeats the call after it was done (NFS) is no error.

    Raises:
        FileNotFoundError: there is no such file.
    """
    file = source.stat().st_ino
    try:
        source.replace(target)
    except FileNotFoundError:
        if not target.exists() or target.stat().st_ino != file:
            raise
