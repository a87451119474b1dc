"""Standard output and error that keep working when their target goes away.

That is a terminal that closes, a reader that ends, or a full disk. What a command does is worth more than what it
prints.
"""

import codecs
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

STDOUT = "standard output"  # the file that errors of writing there name
_PLAIN = {"±": "+-", "…": "...", "•": "*"} | dict.fromkeys("─━═╸╺", "-") | dict.fromkeys("│┃║", "|")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What is printed for letters that an encoding lacks: plain ones that look like them, else their numbers."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(_plain(letter) for letter in text), error.end


def _plain(letter: str) -> str:
    drawn = "+" if "\u2500" <= letter <= "\u257f" else letter.encode("ascii", "backslashreplace").decode()  # a corner
    return _PLAIN.get(letter, drawn)


codecs.register_error("plainly", _plainly)


class Output(io.FileIO):
    """A stream on an open descriptor; each write writes everything.

    Args:
        descriptor: stays open.
        drops: what cannot be written is dropped; else that raises an ``OSError`` that names ``STDOUT``.
    """

    def __init__(self, descriptor: int, *, drops: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._drops = drops
        self.lost: OSError | None = None  # why something was not written

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """Write everything; if that fails, drop the rest or raise (see ``drops``)."""
        try:
            self._write_all(memoryview(data))
        except OSError as error:
            self.lost = error
            if not self._drops:
                raise OSError(error.errno, error.strerror, STDOUT) from None
        return len(data)

    def _write_all(self, rest: memoryview) -> None:
        while rest:
            written: int | None = super().write(rest)
            if written is None:  # another process has made it non-blocking, and its reader is slow
                select.select([], [self], [])
            rest = rest[written or 0 :]


@contextmanager
def tolerant(*, drops: bool = True) -> Iterator[None]:
    """While it is entered, no output fails: what cannot be written is dropped, letters without a code are replaced.

    Args:
        drops: False lets what cannot be written to standard output raise; standard error drops it all the same.
    """
    _fill_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _wrapped(sys.stdout, drops), _wrapped(sys.stderr, True)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # a command that ends with its reader has said so already
                stream.flush()
        sys.stdout, sys.stderr = before


def lost() -> OSError | None:
    """Why some of standard output was not written."""
    raw = getattr(sys.stdout, "buffer", None)
    return raw.lost if isinstance(raw, Output) else None


def _wrapped(stream: TextIO | None, drops: bool) -> TextIO:
    if stream is None:  # it was closed when Python started
        return open(os.devnull, "w", encoding="utf-8")
    try:
        raw = Output(stream.fileno(), drops=drops)
        stream.flush()
    except (OSError, ValueError):  # it leads to no file: a notebook, a test
        return stream
    return io.TextIOWrapper(
        raw,  # without a buffer, as python -u has it: that refuses a signal handler which prints
        encoding=stream.encoding,
        errors="plainly",
        line_buffering=bool(stream.line_buffering),
        write_through=getattr(stream, "write_through", False),
    )


def _fill_closed_descriptors() -> None:
    """Open descriptors 0, 1 and 2 if a caller closed them: else the next file receives what libraries print."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
