"""A watch over Ray's own servers: where one dies, the sweep ends at once, its trials saved, and says so.

Ray itself waits for a minute then, and ends the process in C++ with words of its own: no ``finally`` would be reached.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from suite import scratch
from suite.launch.sweep_job import RAY_ADDRESS

_LOOK_SECONDS = 0.5
_SAVE_SECONDS = 5.0  # for trials to save themselves: one that reports to a dead Ray hangs there
_SERVERS = ("gcs_server", "raylet")


class RayStartError(Exception):
    """Ray did not start."""


@contextlib.contextmanager
def exit_if_ray_dies(ray: Any, stop: Path, busy: Callable[[], bool], on_death: Callable[[], int]) -> Iterator[None]:
    """Watch the servers of a Ray that was started here, and end this process where one is dead.

    Args:
        ray: the module; a Ray that is not ours is its job's affair.
        stop: the file that asks trials to save themselves and stop.
        busy: some have not done so yet.
        on_death: says what happened, and returns the exit status.
    """
    node = ray._private.worker._global_node  # ray has no public name for its processes
    if RAY_ADDRESS in os.environ or node is None:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            if any(kind in _SERVERS for kind, _ in node.dead_processes()):
                break
        else:
            return
        until = time.monotonic() + _SAVE_SECONDS
        stop.touch()
        while busy() and time.monotonic() < until:
            time.sleep(0.1)
        if not ended.is_set():
            rest = _descendants(os.getpid())  # helpers of a dead raylet stay for a minute
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            for pid in rest:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            status = on_death()
            scratch.remove_all()
            os._exit(status)  # the main thread waits in C++ for an answer that never comes

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def children() -> set[int]:
    """The processes that this one has started and that live, where the system shows them."""
    return set(_below().get(os.getpid(), []))


def kill_children_but(kept: set[int]) -> None:
    """End all processes that this one has started, and those below them, but some."""
    for child in children() - kept:
        for pid in (child, *_descendants(child)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """All processes below one, where the system shows them."""
    below, found = _below(), [pid]
    for each in found:
        found += below.get(each, [])
    return found[1:]


def _below() -> dict[int, list[int]]:
    """For each process those that it has started."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = path.read_text(errors="replace").rpartition(")")[2].split()[1]
            below.setdefault(int(parent), []).append(int(path.parent.name))
    return below
