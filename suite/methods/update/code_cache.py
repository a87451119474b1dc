"""A folder of the user's that keeps machine code, so that one process compiles and the others load.

An entry is code that will run: the folder is used only where it and its files belong to this user, and nobody else may
enter or write them. Each entry begins with the hash of the rest, so a cut or garbled one is as good as none.
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from suite.records.atomic import write_bytes_atomic

MOST_BYTES = 32 << 20  # of all entries; one has some 100 KiB
_SUFFIX = ".o"
_HASH_BYTES = hashlib.sha256().digest_size


class NotOurs(OSError):
    """A folder or file that another user could have written."""


def default_folder() -> Path:
    """``random-pruning-suite/code`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``.

    Raises:
        RuntimeError: this user has no home.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "random-pruning-suite" / "code"


class CodeCache:
    """Machine code by key, in a folder that is made when first needed.

    Raises:
        OSError: the folder cannot be made, or is not ours alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_ours(folder.stat(), folder)

    @property
    def is_writable(self) -> bool:
        """Whether code can be kept; what is there is loaded in either case."""
        return os.access(self._folder, os.W_OK)

    def load(self, key: str) -> bytes | None:
        """The code kept under a key; None where there is none that is whole and ours."""
        try:
            with self._path(key).open("rb") as file:
                _check_ours(os.fstat(file.fileno()), self._path(key))
                kept = file.read(MOST_BYTES)
        except OSError:
            return None
        code = kept[_HASH_BYTES:]
        return code if hashlib.sha256(code).digest() == kept[:_HASH_BYTES] else None

    def save(self, key: str, code: bytes) -> None:
        """Keep code under a key, and remove the oldest entries where the folder has become too large.

        Raises:
            OSError: the disk is full, say.
        """
        write_bytes_atomic(self._path(key), hashlib.sha256(code).digest() + code)
        self._path(key).chmod(0o600)  # a umask of 002 would let a group write it
        self._remove_oldest()

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether nobody else on this machine, or on this home, compiles; held until the end of the block."""
        with (self._folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:  # a file system without locks: several may compile, and each saves the same
                pass
            yield True

    def _path(self, key: str) -> Path:
        return self._folder / (key + _SUFFIX)

    def _remove_oldest(self) -> None:
        kept = []
        for path in self._folder.iterdir():
            with suppress(OSError):
                found = path.stat()
                kept.append((found.st_mtime, found.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= MOST_BYTES:
                return
            if path.suffix == _SUFFIX or path.name.startswith("."):  # an entry, or what a killed process left
                path.unlink(missing_ok=True)
                total -= size


def _check_ours(found: os.stat_result, path: Path) -> None:
    if found.st_uid != os.geteuid():
        raise NotOurs(f"{path}: belongs to user {found.st_uid}: must be this user's ({os.geteuid()})")
    closed = 0o077 if stat.S_ISDIR(found.st_mode) else 0o022
    if found.st_mode & closed:
        raise NotOurs(f"{path}: mode {stat.S_IMODE(found.st_mode):o}: must be closed to others")
