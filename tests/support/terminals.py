"""Commands whose output goes where a user's may go: a terminal that closes, a pipe without a reader, a full disk."""

import fcntl
import os
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Terminal:
    """A command in a terminal of its own: the leader of its session, in the foreground."""

    process: subprocess.Popen[bytes]
    master: int

    def close(self) -> None:
        """What a window that is closed does, or a connection that is lost."""
        os.close(self.master)

    def hang_up(self) -> None:
        """Close while nobody is told: the output is gone."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of this process, with our code on the path."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **(extra or {})}


def start_in_terminal(command: list[str], cwd: Path, extra: Mapping[str, str] | None = None) -> Terminal:
    """Start a command in a new terminal, which takes what it prints until it is closed."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cwd,
        env=environment(extra),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    return Terminal(process, master)


def start_in_shell(line: str, cwd: Path, extra: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A line of bash, where ``python`` is this one; its exit status is that of the first command of a pipe."""
    program = f'python() {{ {sys.executable} "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'
    return subprocess.Popen(
        ["bash", "-c", program], cwd=cwd, env=environment(extra), start_new_session=True, stderr=subprocess.PIPE
    )
