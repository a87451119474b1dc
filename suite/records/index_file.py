"""The file of the index: lines with a checksum each, added by any number of processes."""

import contextlib
import os
import zlib
from pathlib import Path

from suite.records.atomic import write_bytes_atomic

_ABOUT = b"final trials, made from trials/*/result.json: a cache, which may be deleted at any time"


class IndexFile:
    """Lines ``checksum trial_id stamp text``: a text about a trial, which holds as long as its stamp does.

    A line that is cut short or garbled is as if it were not there. A file in which no checksum is right is not ours:
    it is neither believed nor written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_missing = self._is_ours = self._is_full = False

    def read(self) -> dict[bytes, bytes]:
        """The lines by ``trial_id stamp``, not checked yet; none where there is no index of ours."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except OSError as error:
            self._is_missing = isinstance(error, FileNotFoundError)
            return {}
        self._is_ours = any(text_of(line) is not None for line in lines)
        kept = {b" ".join(parts[1:3]): line for line in lines if len(parts := line.split(b" ", 3)) == 4}
        trials = {key.partition(b" ")[0] for key in kept}
        self._is_full = self._is_ours and len(lines) > 4 * len(trials) + 1000  # most are old, as where inodes change
        return kept if self._is_ours else {}

    def prepare(self) -> int:
        """Make ready to append, after ``read``.

        Returns:
            The present time by the clock of the file system, in ns since 1970; 0 where nothing can be appended.
        """
        try:
            if self._is_full:
                self._path.unlink()
            if self._is_full or self._is_missing:
                self._create()
                self._is_ours = True
            if not self._is_ours:
                return 0
            os.utime(self._path)
            return self._path.stat().st_ctime_ns
        except OSError:
            return 0

    def _create(self) -> None:
        """Whole or not at all; where another process was quicker, its file stays."""
        fresh = self._path.with_name(f".{self._path.name}.new-{os.getpid()}")
        write_bytes_atomic(fresh, line_of(b"index of", _ABOUT))
        try:
            os.link(fresh, self._path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            fresh.replace(self._path)
        finally:
            fresh.unlink(missing_ok=True)

    def append(self, lines: list[bytes]) -> None:
        """In one write, behind whatever was cut short. Where it fails, the next look reads those trials again."""
        if not (lines and self._is_ours):
            return
        with contextlib.suppress(OSError):
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(handle, b"\n" + b"".join(lines))
            finally:
                os.close(handle)


def line_of(key: bytes, text: bytes) -> bytes:
    """A line about ``key``, two words."""
    content = key + b" " + text
    return b"%08x %s\n" % (zlib.crc32(content), content)


def text_of(line: bytes) -> bytes | None:
    """The text of a line; None where its checksum is not right."""
    checksum, _, content = line.partition(b" ")
    return content.split(b" ", 2)[-1] if checksum == b"%08x" % zlib.crc32(content) else None
