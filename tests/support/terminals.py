"""Commands whose output goes where a user's may go: to a terminal that closes, to nobody, to a full disk."""

import contextlib
import fcntl
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Terminal:
    """A command in a terminal of its own: the leader of its session, in the foreground.

    Args:
        arguments: of this Python.
        cwd: where it runs.
        ignores_hup: as ``nohup`` has it; but its output goes to the terminal.
        columns: of the terminal; None: it does not say.
        variables: of its environment.
    """

    def __init__(
        self, *arguments: str, cwd: Path, ignores_hup: bool = False, columns: int | None = None, **variables: str
    ) -> None:
        self._master, slave = os.openpty()
        if columns:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
            variables = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "50", **variables}
        trap = "trap '' HUP; " if ignores_hup else ""
        self.process = subprocess.Popen(
            ["sh", "-c", f'{trap}exec "$@"', "sh", sys.executable, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=_environment(variables),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def read_until(self, text: str) -> str:
        """What it prints, up to a text."""
        found = b""
        while text.encode() not in found:
            found += os.read(self._master, 4096)
        return found.decode()

    def read_all(self) -> str:
        """What it prints until it ends."""
        found = b""
        with contextlib.suppress(OSError):  # as it ends
            while more := os.read(self._master, 65536):
                found += more
        return found.decode()

    def press(self, keys: str) -> None:
        """Type something: ``\x03`` is Ctrl-C."""
        os.write(self._master, keys.encode())

    def close(self) -> None:
        """Close the terminal, as a window that closes does, or a lost connection: the kernel sends HUP."""
        os.close(self._master)


def start_in_shell(line: str, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """A line of bash in which ``python`` is this one; its exit status is that of its first command, its output ours."""
    program = f'python() {{ {sys.executable} "$@"; }}; {line}; exit "${{PIPESTATUS[0]}}"'
    return subprocess.Popen(
        ["bash", "-c", program],
        cwd=cwd,
        env=_environment(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_in_shell(line: str, cwd: Path, timeout: float = 240, **variables: str) -> tuple[int, str, str]:
    """Exit status, output and errors of such a line."""
    process = start_in_shell(line, cwd, **variables)
    try:
        said, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, said, errors


def _environment(variables: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **variables}
