"""Runs the chosen parts one after the other, and keeps what each has written, however it ended."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

from benchmarks.gpu import processes, summary
from benchmarks.gpu.files import LOG, MOST_BYTES, MOST_FILES, SUMMARY, CappedFile
from benchmarks.gpu.parts import Choice, Part

ROOT = Path(__file__).parents[2]
_TOLD = 0.9  # of its limit is what a part is told it has: it should end by itself


class Runner:
    """One run of the sheet into the folder ``out``, which is empty."""

    def __init__(
        self, choice: Choice, out: Path, command: Callable[[Part, float], list[str]], environment: Mapping[str, str]
    ) -> None:
        """``command`` gives that of a part, told how many seconds it has."""
        self._choice, self._out, self._command, self._environment = choice, out, command, environment
        self._log = CappedFile(out / LOG)
        self._endings: dict[Part, tuple[str, float]] = {}
        self._signal = 0

    def run(self, seconds: float) -> int:
        """Run the parts in so many seconds; returns the exit status, as ``__main__`` has it."""
        end = time.monotonic() + seconds
        processes.adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note_signal)
        for part in self._choice.parts:
            if self._signal:
                self._endings[part] = ("not begun", 0.0)
                continue
            self._run_part(part, self._choice.limit(part, end - time.monotonic()))
            self._write_summary()
        self._write_summary()
        if self._signal:
            return 128 + self._signal
        return int(any(ending != "ended" for ending, _ in self._endings.values()))

    def _run_part(self, part: Part, limit: float) -> None:
        begin = time.monotonic()
        self._take_line(f"--- part {part.number}, {part.name}: at most {limit:.0f} s\n".encode())
        ending = processes.run_limited(
            self._command(part, _TOLD * limit),
            limit,
            environment=self._environment,
            folder=ROOT,
            on_output=self._take_line,
            should_stop=lambda: bool(self._signal),
        )
        self._endings[part] = (ending, time.monotonic() - begin)
        self._take_line(f"--- part {part.number}, {part.name}: {ending}\n".encode())

    def _take_line(self, line: bytes) -> None:
        self._log.write(line)
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = number

    def _write_summary(self) -> None:
        content = summary.text(self._out, self._endings).encode()[:MOST_BYTES]
        unfinished = self._out / f".{SUMMARY}"
        unfinished.write_bytes(content)
        os.replace(unfinished, self._out / SUMMARY)


def oversized(out: Path) -> list[str]:
    """What breaks the limits on the files of a run, in words."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    problems = [
        f"{path}: {path.stat().st_size} bytes, more than {MOST_BYTES}"
        for path in files
        if path.stat().st_size > MOST_BYTES
    ]
    return problems + ([f"{out}: {len(files)} files, more than {MOST_FILES}"] if len(files) > MOST_FILES else [])
