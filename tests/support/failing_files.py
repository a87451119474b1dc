"""File systems that fail now and then: a library that is loaded before all others errs in the place of the disk."""

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def build(folder: Path) -> Path:
    """The library, made anew."""
    library = folder / "failing_files.so"
    subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def environment(library: Path, call: str, part: str, number: int, times: int = 1_000_000) -> dict[str, str]:
    """What a process needs in which the first ``times`` such calls fail, on files with ``part`` in their name."""
    return {"LD_PRELOAD": str(library), "FAILING_FILES": f"{call}:{part}:{number}:{times}"}


def fail_to_open(patch: pytest.MonkeyPatch, file: Path, times: int = 1_000_000) -> None:
    """In this process: the disk fails the first few times that a file is opened by its ``Path``."""
    opened, errors = Path.open, iter(range(times))

    def failing(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == file and next(errors, None) is not None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(path, *args, **kwargs)

    patch.setattr(Path, "open", failing)
