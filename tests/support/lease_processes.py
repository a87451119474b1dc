"""Other processes that hold leases, and what is written about owners."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.forked import PYTHON_PATH, ROOT, ForkedProcess, fork_server
from support.trial_processes import wait_for

from suite.launch.lease import Owner

BEAT = 0.05


class Process:
    """Another process, which does with leases as it is told."""

    def __init__(self, *, beat: float = BEAT, prefix: tuple[str, ...] = ()) -> None:
        """``prefix``: a command that runs Python; without one the process is forked."""
        (their_input, our_output), (our_input, their_output) = os.pipe(), os.pipe()
        self._input, self._output = os.fdopen(our_input), os.fdopen(our_output, "w")
        arguments, environment = ["support.lease_child", str(beat)], {**os.environ, "PYTHONPATH": PYTHON_PATH}
        self.popen: subprocess.Popen[bytes] | ForkedProcess
        if prefix:
            command = [*prefix, sys.executable, "-m", *arguments]
            self.popen = subprocess.Popen(command, env=environment, stdin=their_input, stdout=their_output)
        else:
            self.popen = fork_server().start(arguments, environment, ROOT, [their_input, their_output, 2])
        os.close(their_input)
        os.close(their_output)
        self.pid = self.popen.pid

    def begin(self, *words: object) -> None:
        """Tell it what to do."""
        print(*words, file=self._output, flush=True)

    def answer(self) -> str:
        """What came of it; nothing from one that is dead."""
        return self._input.readline().strip()

    def __call__(self, *words: object) -> str:
        self.begin(*words)
        return self.answer()

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self.popen.kill()
        self.popen.wait()

    def close(self) -> None:
        """Kill it, and close what led to it."""
        self.kill()
        self._input.close()
        with contextlib.suppress(BrokenPipeError):
            self._output.close()

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_for(lambda: state_of(self.pid) == "T")


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def owner_in(attempt: Path) -> Owner:
    return Owner.model_validate_json((attempt / "owner.json").read_text())


def change_owner(attempt: Path, **changes: Any) -> None:
    owner = json.loads((attempt / "owner.json").read_text())
    (attempt / "owner.json").write_text(json.dumps({**owner, **changes}))


def seconds_of(call: Callable[[], Any]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


@contextlib.contextmanager
def fake_heartbeat(attempt: Path) -> Iterator[None]:
    """The heartbeat of somebody, as it is seen from afar."""
    over = threading.Event()

    def beat() -> None:
        with contextlib.suppress(FileNotFoundError):  # taken over
            for count in itertools.count():
                (attempt / "heartbeat").write_text(str(count))
                if over.wait(BEAT):
                    return

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
