"""A process that has torch and the suite loaded, and forks others that run a module each (see forked.py)."""

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from typing import Any

from suite import methods
from suite.records import source_code

LOADED = (
    "pytest",
    "safetensors.torch",
    "suite.cli",
    "suite.data.known_ids",
    "suite.launch.local",
    "suite.tickets.store",
    "torch._dynamo",  # which compiled trials import
    *(f"suite.methods.{name}" for name in methods.names()),
)


def serve(connection: socket.socket) -> dict[str, Any]:
    """Fork once per request, until the client closes the connection. Return the request in the process that runs it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        text, fds, *_ = socket.recv_fds(connection, 1 << 20, 4)
        if not text:
            os._exit(0)
        if not os.fork():
            connection.close()
            return keep(json.loads(text), *fds)
        for fd in fds:
            os.close(fd)


def keep(request: dict[str, Any], status: int, *standard: int) -> dict[str, Any]:
    """Fork, and return the request in the new process. The parent writes its pid, waits, and writes its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        for fd in standard:
            os.close(fd)
        with contextlib.suppress(BrokenPipeError):  # the client has closed the pipe
            os.write(status, f"{pid}\n".encode())
            os.write(status, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
        os._exit(0)
    os.close(status)
    for number, fd in enumerate(standard):
        os.dup2(fd, number)
        os.close(fd)
    return request


def become(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Run a module as ``python -m`` does, with these arguments, environment and folder."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.modules["triton"] = None  # type: ignore[assignment]  # only GPUs need it; frozen, it complains when it ends
    for name in LOADED:
        importlib.import_module(name)
    del sys.modules["triton"]
    source_code.code_id()  # cached here: each process would take a third of a second
    gc.collect()
    gc.freeze()  # no child copies or collects what is loaded: this halves what it takes
    assert os.listdir("/proc/self/task") == [str(os.getpid())], "a process with threads must not fork"
    become(**serve(socket.socket(fileno=int(sys.argv[1]))))
