"""Data sets of plugins and of the user's own files: objects with ``files`` and ``read``, their ``IMPLEMENTATION``."""

from pathlib import Path
from typing import Protocol

from suite.config import REGISTRY, ArraySettings, InputError, OwnImageSettings
from suite.data.sources import RawDataset, split_mistake
from suite.records import data_content


class ArrayReader(Protocol):
    """What reads such a data set."""

    def files(self, settings: ArraySettings, folder: Path) -> list[Path]:
        """The files that ``read`` reads, below the data folder."""

    def read(self, settings: ArraySettings, folder: Path) -> RawDataset:
        """The whole data set: images uint8 (N, C, H, W), labels from 0, and the fixed split. Its files are there."""


def reader_of(settings: ArraySettings) -> ArrayReader | None:
    """The reader of a data set of a plugin, or of the user's own files; None for the others.

    Raises:
        InputError: it cannot be loaded, or is no reader.
    """
    entry = REGISTRY.find("dataset", settings.name)
    if not (entry.is_plugin or isinstance(settings, OwnImageSettings)):
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
            f"{settings.name}: {missing[0]}: no such file: move it back there, or name another folder with "
            "--data-dir DIR or $SUITE_DATA"
        )
    return files


def read(settings: ArraySettings, reader: ArrayReader, folder: Path) -> RawDataset:
    """The data set, checked.

    Raises:
        InputError: a file is missing or cannot be read, or the arrays are not what a data set is.
    """
    files = files_of(settings, reader, folder)
    if isinstance(settings, OwnImageSettings):
        data_content.check(settings, files, settings.path(folder))
    try:
        found = reader.read(settings, folder)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{settings.name}: cannot be read: {type(error).__name__}: {error}") from error
    if mistake := split_mistake(found):
        raise InputError(f"{settings.name}: {REGISTRY.find('dataset', settings.name).origin}: {mistake}")
    return found
