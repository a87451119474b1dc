"""Publishing by a process of its own: no store can delay a trial, and importing MLflow delays nobody."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from suite import own_code
from suite.config import InputError
from suite.config.sweep_file import Sweep
from suite.records.ledger import Ledger

EVERY_SECONDS = 60.0  # shorter sweeps are published at their end alone
_END_SECONDS = 10.0


class Publisher:
    """A process that publishes the final trials of a sweep each minute, and what it is asked to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self._started = process, time.monotonic()
        self._asked = 0

    def begin(self) -> None:
        """Let it publish all final trials, while the report is made."""
        self._ask([])

    def publish(self, report: Sequence[Path]) -> str | None:
        """Publish all final trials, and the files of the report.

        Returns:
            The id of the experiment; None where the process was killed: publish from another one.

        Raises:
            InputError: as ``suite.tracking.publish``, also where that of ``begin`` failed.
        """
        experiment = self._answer() if self._asked else ""
        if experiment is None:
            return None
        self._ask(report)
        return self._answer()

    def _ask(self, report: Sequence[Path]) -> None:
        assert self._process.stdin
        self._asked += 1
        with suppress(OSError):  # it was killed: it will not answer
            self._process.stdin.write(json.dumps([str(path.absolute()) for path in report]) + "\n")
            self._process.stdin.flush()

    def _answer(self) -> str | None:
        assert self._process.stdout
        try:
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            return None
        if "problems" in answer:
            raise InputError(*answer["problems"])
        return str(answer["experiment"])

    def end(self) -> None:
        """End the process: at once where it publishes nothing, or was interrupted at it."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()
        if not self._asked and time.monotonic() - self._started > EVERY_SECONDS:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
        self._process.kill()  # a run half made is made anew


@contextmanager
def publishing(sweep: Sweep, ledger: Ledger) -> Iterator[Publisher | None]:
    """A publisher, as long as this is entered; None where none can be started.

    It imports MLflow and makes the store at once; no trial waits for it. The store's URI comes from the environment.
    """
    try:
        process = _start(sweep, ledger)
    except OSError:  # no memory, say: trials need no store
        yield None
        return
    with process:
        publisher = Publisher(process)
        try:
            yield publisher
        finally:
            publisher.end()


def _start(sweep: Sweep, ledger: Ledger) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "suite.tracking", "publish", str(ledger.root), "--sweep", sweep.label]
    return subprocess.Popen(
        [*command, "--every", str(EVERY_SECONDS)],
        env={**os.environ, **own_code.environment()},
        stdin=subprocess.PIPE,  # ends with us, however that comes about
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what goes wrong is told at the end, when all is published once more
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for us
    )
