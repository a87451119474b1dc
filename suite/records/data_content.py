"""The content of data sets of the user's own files: what a trial's id covers instead of their path. Loads no torch.

To hash files takes longer than to plan, so ``Contents`` caches what it finds beside the results, by the state of the
files. The cache also says what content a path had when its files are elsewhere, as for a figure on another machine. It
may be deleted at any time.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from suite.config import REGISTRY, InputError, OwnImageSettings
from suite.records import file_errors, json_cache
from suite.records.file_errors import retrying

CACHE = "data_contents.json"  # in the results folder


class _Reader(Protocol):
    def files(self, settings: OwnImageSettings, folder: Path) -> list[Path]:
        """The files of a data set."""


def content_of(files: Sequence[Path], place: Path) -> str:
    """The first 16 hex digits of SHA-256 over the names of files below ``place``, their sizes and their bytes.

    Raises:
        InputError: one cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for file in files:
            digest.update(os.fsencode(os.path.relpath(file, place)) + f"\0{file.stat().st_size}\n".encode())
            digest.update(retrying(lambda file=file: _hash_of(file), file))  # type: ignore[misc]
    except OSError as error:
        raise InputError(f"{file_errors.describe(error)}: make it readable, or remove it") from None
    return digest.hexdigest()[:16]


def check(settings: OwnImageSettings, files: Sequence[Path], place: Path) -> None:
    """Raise InputError where the files are not those of the settings, as when they changed after planning."""
    if settings.content is None or (now := content_of(files, place)) == settings.content:
        return
    raise InputError(
        f"dataset.content: {settings.content}: {place} has content {now}: restore the files that the results belong "
        "to, or plan a sweep of the new ones (leave content unset)"
    )


class Contents:
    """The content of the files of each data set, by its settings; it is that of now, or the last one there was.

    Args:
        folder: where data sets lie.
        cache: the file that keeps what was found; None: nothing is kept.
    """

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self._folder, self._cache = folder, cache
        self._known: dict[str, str] | None = None
        self._found: dict[str, str] = {}

    def __call__(self, settings: OwnImageSettings) -> str:
        """The content.

        Raises:
            InputError: the files are missing, and it is not known what they were; or they are not laid out as the data
                set demands.
        """
        written = f"{settings.name} {settings.place}"
        if written not in self._found:
            if self._known is None:
                self._known = json_cache.read(self._cache)
            place = settings.path(self._folder)
            if not os.path.lexists(place) and written in self._known:
                return self._known[written]
            self._found[written] = self._known[written] = self._content(settings, place, self._known)
            self.keep()
        return self._found[written]

    def keep(self) -> None:
        """Write the cache, if it has a folder by now."""
        if self._found and self._known != json_cache.read(self._cache):
            json_cache.write(self._cache, self._known)

    def _content(self, settings: OwnImageSettings, place: Path, known: dict[str, str]) -> str:
        reader: _Reader = REGISTRY.find("dataset", settings.name).load()
        files = reader.files(settings, self._folder)
        if missing := [file for file in files if not file.exists()]:
            named = f"dataset.{settings.PLACE}: {settings.place}: {missing[0]}: no such file"
            raise InputError(f"{named}: name another path, or another folder with --data-dir DIR or $SUITE_DATA")
        key = _state(files)
        if key not in known:
            known[key] = content_of(files, place)
        return known[key]


def _hash_of(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def _state(files: Sequence[Path]) -> str:
    """A text that differs after any change, even a replacement with the same size and date."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file) + repr(json_cache.file_state(file)).encode())
    return digest.hexdigest()[:32]
