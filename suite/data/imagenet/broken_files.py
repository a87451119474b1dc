"""Which images are to blame when a decoder fails: it mostly does not say. No torch."""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from suite.config import InputError
from suite.data.imagenet.manifest import SCAN
from suite.data.imagenet.probe import Probe
from suite.stopping import Stopped

_MOST_NAMED = 10
_AT_ONCE = 64  # images that a thread takes
log = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """An image as it lies on the disk: ``size`` bytes from ``offset`` of ``path`` on, or all of it."""

    name: str
    path: Path
    offset: int = 0
    size: int | None = None

    def problem(self, probe: Probe) -> str:
        """What keeps it from being decoded, "" if nothing does."""
        if self.path.exists() and not self.path.is_file():
            return "not a regular file"
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read(-1 if self.size is None else self.size)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        problem, usable = probe.check(content, Path(self.name).suffix.lower())
        return "" if usable else problem


def diagnose_decode_error(
    error: Exception, encoded: Iterable[Encoded], threads: int, should_stop: Callable[[], bool]
) -> Exception:
    """What to raise instead of a decoder's error, once every file it was given has been decoded here.

    Returns:
        An InputError that names the images that cannot be decoded; where there are none, a RuntimeError that says so.

    Raises:
        Stopped: as asked.
    """
    todo = list(encoded)
    log.warning("DALI: %s: decoding the %d images of this process to find the cause", summarize_error(error), len(todo))
    parts = [todo[start : start + _AT_ONCE] for start in range(0, len(todo), _AT_ONCE)]
    found: list[str] = []
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(parts), threads):
            if should_stop():
                raise Stopped("stopped while broken images were searched for; the same command goes on")
            found += chain.from_iterable(pool.map(_problems, parts[start : start + threads]))
    if not found:
        return RuntimeError(
            f"DALI: {summarize_error(error)}; no broken image was found among the {len(todo)} of this process"
        )
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    names = ", ".join(found[:_MOST_NAMED]) + more
    return InputError(f"images cannot be decoded any more: {names}: restore them, or run {SCAN} to leave them out")


def _problems(images: list[Encoded]) -> list[str]:
    probe = Probe("all")
    found = [(image.name, image.problem(probe)) for image in images]
    return [f"{name} ({problem})" for name, problem in found if problem]


def summarize_error(error: Exception) -> str:
    """The line of DALI's long words that says what happened."""
    lines = str(error).rpartition("encountered:")[2].splitlines()
    lines = [
        line.strip() for line in lines if line.strip() and not line.startswith(("Critical error", "Current pipeline"))
    ]
    return lines[0] if lines else type(error).__name__
