"""``python -m`` in a tenth of a second: processes forked from one that has torch and the suite loaded.

They are real processes and shut down as any other. They are not children of this process. What Python reads at its
start, such as ``PYTHONPATH``, comes from the fork server.
"""

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from multiprocessing import connection
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
PYTHON_PATH = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
File = int | IO[bytes]


class ForkedProcess:
    """A running process with some methods of ``subprocess.Popen``."""

    def __init__(self, status: int) -> None:
        self._status = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        if (code := self._ended(timeout)) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and connection.wait([self._status.fileno()], timeout):
            with self._status:
                self.returncode = int(self._status.readline())
        return self.returncode


class ForkServer:
    """The process that forks the others; it ends with this one."""

    def __init__(self, **environment: str) -> None:
        self._connection, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.fork_server", str(there.fileno())],
                env={**os.environ, **environment, "PYTHONPATH": PYTHON_PATH, "OMP_NUM_THREADS": "1"},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
            )

    def start(
        self, arguments: list[str], environment: dict[str, str], folder: Path, files: list[File]
    ) -> ForkedProcess:
        """Start ``python -m`` with these arguments; ``files`` are its stdin, stdout and stderr."""
        request = {"arguments": arguments, "environment": environment, "folder": str(folder)}
        ours, theirs = os.pipe()
        socket.send_fds(self._connection, [json.dumps(request).encode()], [theirs, *map(fileno, files)])
        os.close(theirs)
        return ForkedProcess(ours)

    def close(self) -> None:
        self._connection.close()
        self._process.wait()


def fileno(file: File) -> int:
    return file if isinstance(file, int) else file.fileno()


@functools.cache
def fork_server() -> ForkServer:
    """Return the fork server of this process, and start it on first use."""
    server = ForkServer()
    atexit.register(server.close)
    return server
