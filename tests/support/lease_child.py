"""Another process does with leases as it is told: a line of standard input each (see lease_processes.py)."""

import sys
import time
from pathlib import Path

from suite.launch import lease

lease.HEARTBEAT_SECONDS = float(sys.argv[1])
held: lease.Lease


def take(folder: str, timeout: str, take_over: str = "no") -> int:
    global held
    held = lease.Lease.acquire(Path(folder), timeout=float(timeout), take_over=take_over == "yes")
    return held.number


def leave() -> None:
    held.__exit__(None, None, None)


def write(name: str, text: str) -> None:
    (held.folder / name).write_text(text)


def call(what: str, *words: str) -> object:
    return getattr(held, what)(*words)


def rename(hexadecimal: str) -> None:
    Path("/proc/self/comm").write_bytes(bytes.fromhex(hexadecimal))


def in_turn(folder: str, timeout: str, ready: str, go: str) -> int | str:
    """Take it, be alone in it, leave it: the number of the attempt, or that somebody was there too."""
    at_once(folder, timeout, ready, go)
    inside = Path(folder) / "inside"
    try:
        inside.touch(exist_ok=False)
    except FileExistsError:
        return "somebody is inside"
    time.sleep(0.01)
    inside.unlink()
    leave()
    return held.number


def at_once(folder: str, timeout: str, ready: str, go: str) -> int:
    Path(ready).touch()
    while not Path(go).exists():
        pass
    return take(folder, timeout)


def in_passing(folder: str, timeout: str, ready: str, go: str) -> None:
    at_once(folder, timeout, ready, go)
    leave()


COMMANDS = {run.__name__: run for run in (take, leave, write, call, rename, in_turn, at_once, in_passing)}
print("ready", flush=True)
for line in sys.stdin:
    name, *words = line.split()
    try:
        answer = COMMANDS[name](*words)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    print(answer, flush=True)
