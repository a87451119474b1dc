"""Data sets of plugins: an object with ``files`` and ``read``, which their settings name as ``IMPLEMENTATION``."""

from pathlib import Path
from typing import Protocol

from suite.config import REGISTRY, ArraySettings, InputError
from suite.data.sources import RawDataset, split_mistake


class ArrayReader(Protocol):
    """What reads a data set of a plugin."""

    def files(self, settings: ArraySettings, folder: Path) -> list[Path]:
        """The files that ``read`` reads, below the data folder."""

    def read(self, settings: ArraySettings, folder: Path) -> RawDataset:
        """The whole data set: images uint8 (N, C, H, W), labels from 0, and the fixed split. Its files are there."""


def reader_of(settings: ArraySettings) -> ArrayReader | None:
    """The reader of a plugin's data set; None for one of the suite.

    Raises:
        InputError: it cannot be loaded, or is no reader.
    """
    entry = REGISTRY.find("dataset", settings.name)
    if not entry.is_plugin:
        return None
    found: ArrayReader = entry.load()
    if not (callable(getattr(found, "files", None)) and callable(getattr(found, "read", None))):
        raise InputError(f"dataset {settings.name}: {entry.origin}: must have the functions files and read")
    return found


def files_of(settings: ArraySettings, reader: ArrayReader, folder: Path) -> list[Path]:
    """The files of a data set.

    Raises:
        InputError: one is missing.
    """
    files = reader.files(settings, folder)
    if missing := [file for file in files if not file.exists()]:
        raise InputError(
            f"{settings.name}: {missing[0]}: no such file; name another folder with --data-dir DIR or $SUITE_DATA"
        )
    return files


def read(settings: ArraySettings, reader: ArrayReader, folder: Path) -> RawDataset:
    """The data set, checked.

    Raises:
        InputError: a file is missing or cannot be read, or the arrays are not what a data set is.
    """
    files_of(settings, reader, folder)
    try:
        found = reader.read(settings, folder)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{settings.name}: cannot be read: {type(error).__name__}: {error}") from error
    if mistake := split_mistake(found):
        raise InputError(f"{settings.name}: {REGISTRY.find('dataset', settings.name).origin}: {mistake}")
    return found
