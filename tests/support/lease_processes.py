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

from support.trial_processes import ROOT, wait_for

from suite.launch.lease import Owner

OBEY = Path(__file__).with_name("lease_child.py")
BEAT = 0.05


class Process:
    """Another process, which does with leases as it is told."""

    def __init__(self, *, beat: float = BEAT, prefix: tuple[str, ...] = ()) -> None:
        self.popen = subprocess.Popen(
            [*prefix, sys.executable, OBEY, str(beat)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.popen.pid

    def begin(self, *words: object) -> None:
        """Tell it what to do."""
        assert self.popen.stdin
        print(*words, file=self.popen.stdin, flush=True)

    def answer(self) -> str:
        """What came of it."""
        assert self.popen.stdout
        return self.popen.stdout.readline().strip()

    def __call__(self, *words: object) -> str:
        self.begin(*words)
        return self.answer()

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self.popen.kill()
        self.popen.wait()

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
