"""Processes with a time limit, ended with all that they started."""

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux: orphans below this process become its children
_GRACE_SECONDS = 3.0  # between SIGTERM and SIGKILL
_POLL_SECONDS = 0.05


def adopt_orphans() -> None:
    """Let ``end_descendants`` find processes whose parent is gone, where the system can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)


def run_limited(
    command: Sequence[str],
    seconds: float,
    *,
    environment: Mapping[str, str],
    folder: Path,
    on_output: Callable[[bytes], object],
    should_stop: Callable[[], bool],
) -> str:
    """Run a command in a session of its own; returns how it ended: "ended", or why it did not end well.

    What it started has ended too when this returns.

    Args:
        command: program and arguments.
        seconds: after so many it is ended.
        environment: of the process.
        folder: that it runs in.
        on_output: takes what it writes to standard output and error, line by line.
        should_stop: asked all the time; a process that should stop is ended.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    reader = threading.Thread(target=_forward, args=(process.stdout, on_output), daemon=True)
    reader.start()
    ending = _wait(process, seconds, should_stop)
    end_descendants()
    with suppress(subprocess.TimeoutExpired):  # a process that hangs in a driver may outlive SIGKILL
        process.wait(_GRACE_SECONDS)
    reader.join(_GRACE_SECONDS)
    return ending or _describe(process.returncode)


def _forward(pipe: object, on_output: Callable[[bytes], object]) -> None:
    for line in pipe:  # type: ignore[attr-defined]
        on_output(line)


def _wait(process: subprocess.Popen[bytes], seconds: float, should_stop: Callable[[], bool]) -> str:
    """Wait for a process; returns why it was asked to end, "" where it ended by itself."""
    grace = min(_GRACE_SECONDS, seconds / 5)  # of its seconds, so that those of the next one stay
    end = time.monotonic() + seconds - grace
    while process.poll() is None:
        if (stops := should_stop()) or time.monotonic() > end:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace)
            return "stopped" if stops else f"killed after {seconds:.0f} s, its limit"
        time.sleep(_POLL_SECONDS)
    return ""


def _describe(status: int | None) -> str:
    if status is None:
        return "cannot be killed"
    if status < 0:
        return f"died of {signal.Signals(-status).name}"
    return "ended" if status == 0 else f"failed with exit status {status}"


def end_descendants() -> None:
    """Kill every process below this one; what is left of them goes with this process."""
    end = time.monotonic() + _GRACE_SECONDS
    while (found := _descendants(os.getpid())) and time.monotonic() < end:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def _descendants(root: int) -> list[int]:
    children = defaultdict(list)
    for pid, parent in _parents():
        children[parent].append(pid)
    found, waiting = [], [root]
    while waiting:
        below = children[waiting.pop()]
        found += below
        waiting += below
    return found


def _parents() -> list[tuple[int, int]]:
    pairs = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, _, rest = entry.read_text().partition(" (")
            state, parent = rest.rpartition(")")[2].split()[:2]
            if state != "Z":
                pairs.append((int(pid), int(parent)))
    return pairs
