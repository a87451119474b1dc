"""The files of a run: at most 8 of 16 MiB in one folder, each row written when it is measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_FILES, MOST_BYTES = 8, 16 * 2**20
SUMMARY, LOG = "summary.md", "log.txt"  # beside a file for each part, and the records of part 5


class CappedFile:
    """A file that grows to a limit: what would not fit is left out, and one line says so."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._file = path.open("ab")
        self._notice = f'{{"kind": "cut", "what": "{path.name}", "why": "more than {most_bytes} bytes"}}\n'.encode()
        self._left = most_bytes - path.stat().st_size - len(self._notice)
        self._is_full = False

    def write(self, content: bytes) -> bool:
        """Append and flush, whole or not at all; returns whether it fitted."""
        if self._is_full:
            return False
        self._is_full = len(content) > self._left
        self._file.write(self._notice if self._is_full else content)
        self._file.flush()
        self._left -= len(content)
        return not self._is_full

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file; a last line that a kill has cut short is left out."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for line in filter(None, lines):
        try:
            yield json.loads(line)
        except ValueError:
            return
