"""A folder as a machine sees it that caches names: two FUSE mounts of it, or the same made with open files.

Where names are cached (NFS, Lustre, FUSE), a path leads to the folder that had this name a while ago, wherever that
folder is now. A rename is sent to the server by name, and fails where the name is gone.
"""

import builtins
import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_SOURCE = Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")  # of Debian's libfuse3-dev
_CACHE_SECONDS = 30


class StaleNames:
    """Makes this process see ``root`` with every name as it was when it was first looked up; its own renames count."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._open = os.open
        self._seen: dict[str, int] = {}

    def patch(self) -> None:
        """From now on, for good."""
        for module, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "stat")):
            setattr(module, name, self._following(getattr(module, name)))
        for name in ("listdir", "scandir", "mkdir"):
            setattr(os, name, self._by_name(getattr(os, name)))
        for name in ("rename", "replace", "unlink", "rmdir"):
            setattr(os, name, self._by_name(getattr(os, name), forget=True))

    def _following(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A call that follows the last name too, to the file that had it."""

        def wrapped(path: Any, *args: Any, **options: Any) -> Any:
            return call(self._cached(path) or self._server(path), *args, **options)

        return wrapped

    def _by_name(self, call: Callable[..., Any], *, forget: bool = False) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            result = call(*[self._server(arg) for arg in args], **options)
            for arg in args if forget else ():
                self._forget(arg)
            return result

        return wrapped

    def _inside(self, path: Any) -> str | None:
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
        return text if isinstance(text, str) and text.startswith(self._root + "/") else None

    def _server(self, path: Any) -> Any:
        """A path whose folder is the one that had this name."""
        text = self._inside(path)
        if text is None:
            return path
        folder, name = os.path.split(text)
        return f"{self._cached(folder) or self._server(folder)}/{name}"

    def _cached(self, path: Any) -> str | None:
        text = self._inside(path)
        if text is None:
            return None
        if text not in self._seen:
            try:
                self._seen[text] = self._open(self._server(text), os.O_PATH)
            except OSError:
                return None
        return f"/proc/self/fd/{self._seen[text]}"

    def _forget(self, path: Any) -> None:
        text = self._inside(path)
        for seen in [seen for seen in self._seen if text and (seen == text or seen.startswith(f"{text}/"))]:
            os.close(self._seen.pop(seen))


def build_passthrough(folder: Path) -> Path | None:
    """The FUSE file system that shows another folder and caches names; None where it cannot be built here."""
    if not (_SOURCE.exists() and os.path.exists("/dev/fuse") and shutil.which("gcc") and shutil.which("pkg-config")):
        return None
    flags = subprocess.run(["pkg-config", "fuse3", "--cflags", "--libs"], capture_output=True, text=True, check=False)
    program = folder / "passthrough_ll"
    command = ["gcc", "-O1", "-w", f"-I{_SOURCE.parent}", str(_SOURCE), *flags.stdout.split(), "-o", str(program)]
    return program if subprocess.run(command, capture_output=True, check=False).returncode == 0 else None


@contextlib.contextmanager
def mounted(program: Path, real: Path, mount: Path) -> Iterator[Path]:
    """``real`` as another machine sees it, at ``mount``."""
    mount.mkdir()
    subprocess.run([program, "-o", f"source={real},cache=always,timeout={_CACHE_SECONDS}", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["fusermount3", "-u", "-z", mount], check=True)
