"""What a part of the run sheet measures: rows in a file as they come, and what was not measured and why."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.gpu.files import CappedFile

T = TypeVar("T")


class NotMeasurable(Exception):
    """A case cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Options:
    """What the runner tells a part.

    ``rehearsal``: tiny sizes, on a CPU, with Triton's interpreter. ``smoke``: a case or a step of each kind.
    ``digits``: the file of digits, where one was given. ``select``: which tests, as pytest's ``-k``.
    """

    device: torch.device
    seconds: float
    smoke: bool
    out: Path
    digits: Path | None = None
    select: str | None = None

    @property
    def rehearsal(self) -> bool:
        """Whether nothing but the script is tried."""
        return self.device.type == "cpu"


class Sheet:
    """The results of one part, and its time."""

    def __init__(self, options: Options, path: Path) -> None:
        self.options, self.device = options, options.device
        self.num_failed = 0
        self._end = time.monotonic() + options.seconds
        self._file = CappedFile(path)

    def left(self) -> float:
        """Seconds until the part should have ended."""
        return self._end - time.monotonic()

    def row(self, what: str, values: Mapping[str, Any]) -> None:
        """Write a result down."""
        self._write("row", what=what, **values)

    def note(self, what: str, text: str) -> None:
        """Write something that a reader of the results must know."""
        self._write("note", what=what, why=text)

    def begins(self, what: str) -> None:
        """Name what is measured next, so that a part which is killed leaves the name."""
        self._write("begins", what=what)

    def not_measured(self, what: str, why: str) -> None:
        """Name what has no result, though nothing is wrong."""
        self._write("not measured", what=what, why=why)

    def failed(self, what: str, why: str) -> None:
        """Name what went wrong; the part's exit status says it too."""
        self.num_failed += 1
        self._write("failed", what=what, why=why)

    def measure(self, what: str, call: Callable[[], T], *, needs: float = 1.0) -> T | None:
        """What ``call`` returns; where it fails, or fewer than ``needs`` seconds are left, None and a line with why."""
        if (left := self.left()) < needs:
            self.not_measured(what, f"needs {needs:.0f} s, {max(left, 0):.0f} are left")
            return None
        self.begins(what)
        try:
            return call()
        except NotMeasurable as error:
            self.not_measured(what, str(error))
        except torch.OutOfMemoryError as error:
            self.not_measured(what, f"out of memory: {_first_line(error)}")
        except Exception as error:
            traceback.print_exc()
            self.failed(what, f"{type(error).__name__}: {_first_line(error)}")
        finally:
            if self.device.type == "cuda":
                with suppress(RuntimeError):  # after an error of the device every call raises
                    torch.cuda.empty_cache()
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, kind: str, **values: Any) -> None:
        line = json.dumps({"kind": kind, **values}, default=str)
        self._file.write(line.encode() + b"\n")
        if kind != "begins":
            print(line, flush=True)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:500]


def say(text: str) -> None:
    """A line for the log alone."""
    print(text, file=sys.stderr, flush=True)
