"""The data set ``arrays``: an ``.npz`` file with MedMNIST's keys. No torch."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from suite.config import ArrayFileSettings, InputError
from suite.data.own_split import MAX_SIZE, MIN_SIZE, SPLITS, assemble, divided, named
from suite.data.sources import Bytes, Ints, RawDataset
from suite.machine import free_memory

_WRITE = "numpy.savez(FILE, train_images=..., train_labels=..., test_images=..., test_labels=...)"
_COPIES = 2  # of the images, that a trial surely has in memory
_BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


class _Head(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class _Reader:
    """Reads the file, as a plugin's reader does."""

    def files(self, settings: ArrayFileSettings, folder: Path) -> list[Path]:
        file = settings.path(folder)
        if file.is_dir():
            raise InputError(f"{file}: is a folder: must be an .npz file: use dataset: folder for image files")
        return [file]

    def check(self, settings: ArrayFileSettings, folder: Path) -> None:
        """Raise the InputError that ``read`` would raise, but for what only the pixels say."""
        file = settings.path(folder)
        with _opened(file) as archive:
            labels, classes = _labelled(archive, file)
        names = [part for part, found in labels.items() for _ in found]
        divided(names, np.concatenate(list(labels.values())), classes, settings, file)

    def read(self, settings: ArrayFileSettings, folder: Path) -> RawDataset:
        file = settings.path(folder)
        with _opened(file) as archive:
            labels, classes = _labelled(archive, file)
            found = {part: (_images(archive, part), own) for part, own in labels.items()}
        return assemble(found, classes, settings, file)


READER = _Reader()


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except MemoryError:
        raise InputError(
            f"{file}: there is not enough memory for it: use a smaller file, or a larger machine"
        ) from None
    except _BROKEN as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise InputError(f"{file}: is no whole .npz file ({error}): copy it again, or write it with {_WRITE}") from None


def _labelled(archive: zipfile.ZipFile, file: Path) -> tuple[dict[str, Ints], list[str]]:
    """The labels of each part, and the names of the classes."""
    labels = {part: _labels(archive, part, file) for part in _parts(archive, file)}
    return labels, _checked_classes(labels, file)


def _parts(archive: zipfile.ZipFile, file: Path) -> list[str]:
    """The parts that the file has, with heads that are as they should be."""
    there = [name.removesuffix(".npy") for name in archive.namelist()]
    parts = [split for split in SPLITS if f"{split}_images" in there or f"{split}_labels" in there or split == "train"]
    wanted = [f"{part}_{what}" for part in parts for what in ("images", "labels")]
    if missing := [name for name in wanted if name not in there]:
        raise InputError(f"{file}: lacks {named(missing)}, it has {named(there)}: write it with {_WRITE}")
    heads = {name: _head(archive, name, file) for name in wanted}
    for part in parts:
        _check_images(heads[f"{part}_images"], f"{file}: {part}_images")
        _check_labels(heads[f"{part}_labels"], heads[f"{part}_images"].shape[0], f"{file}: {part}_labels")
    _check_alike({part: heads[f"{part}_images"] for part in parts}, file)
    return parts


def _head(archive: zipfile.ZipFile, name: str, file: Path) -> _Head:
    with archive.open(f"{name}.npy") as opened:
        version = npy.read_magic(opened)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(opened)
    if dtype.hasobject:
        raise InputError(
            f"{file}: {name}: an array of objects, as numpy makes of rows of different sizes: give all images one size "
            "and all labels one number, and write it again"
        )
    return _Head(shape, dtype)


def _check_images(head: _Head, where: str) -> None:
    shape = "x".join(map(str, head.shape))
    if head.dtype != np.uint8:
        raise InputError(
            f"{where}: {head.dtype}: must be uint8: scale the values to 0 to 255, without NaN, and use "
            '.round().astype("uint8")'
        )
    if len(head.shape) not in (3, 4) or not all(head.shape):
        raise InputError(f"{where}: {shape}: must be NxHxW or NxHxWxC, with at least one image")
    height, width = head.shape[1:3]
    if len(head.shape) == 4 and height < MIN_SIZE <= width == head.shape[3]:
        raise InputError(f"{where}: {shape}: must be NxHxWxC: use .transpose(0, 2, 3, 1)")
    if height != width:
        raise InputError(f"{where}: {shape}: must be square: crop or pad the images")
    if not MIN_SIZE <= height <= MAX_SIZE:
        raise InputError(f"{where}: {shape}: must have {MIN_SIZE} to {MAX_SIZE} pixels a side: resize the images")


def _check_labels(head: _Head, num: int, where: str) -> None:
    shape = "x".join(map(str, head.shape))
    if len(head.shape) == 2 and head.shape[1] > 1:
        raise InputError(
            f"{where}: {shape}: must be N or Nx1, one class for each image: use .argmax(1) if it is one-hot"
        )
    if head.shape not in ((num,), (num, 1)):
        raise InputError(f"{where}: {shape}: must be {num}, one label for each image")
    if head.dtype.kind not in "iu":
        raise InputError(f'{where}: {head.dtype}: must be whole numbers from 0, without NaN: use .astype("int64")')


def _check_alike(heads: dict[str, _Head], file: Path) -> None:
    shapes = {part: head.shape[1:] for part, head in heads.items()}
    if len({(*shape, 1) if len(shape) == 2 else shape for shape in shapes.values()}) > 1:
        said = ", ".join(f"{part} {'x'.join(map(str, shape))}" for part, shape in shapes.items())
        raise InputError(f"{file}: images differ in size or channels: {said}: give all splits the same")
    needed = _COPIES * sum(int(np.prod(head.shape)) for head in heads.values())
    free = free_memory()
    if free is not None and needed > free:
        raise InputError(
            f"{file}: a trial needs {needed / 2**30:,.1f} GiB for its images, {free / 2**30:,.1f} GiB of memory are "
            "free: use smaller or fewer images, or a larger machine"
        )


def _labels(archive: zipfile.ZipFile, part: str, file: Path) -> Ints:
    """The labels of a part, from 0 or more."""
    found = _loaded(archive, f"{part}_labels").reshape(-1)
    if int(found.min()) < 0:
        raise InputError(f"{file}: {part}_labels: {found.min()}: must be from 0: number the classes anew, from 0")
    return found.astype(np.int64)


def _checked_classes(labels: dict[str, Ints], file: Path) -> list[str]:
    """The names of the classes, which are numbers; all parts must have all of them."""
    used = {part: {*map(int, np.unique(found))} for part, found in labels.items()}
    every = sorted(set().union(*used.values()))
    if every[0] == 1 and every == list(range(1, len(every) + 1)):
        raise InputError(f"{file}: labels are 1 to {every[-1]}: must begin at 0: subtract 1 from all labels")
    if len(every) <= every[-1]:
        gap = next(label for label in count() if label not in every)
        rule = "number the classes from 0 without gaps"
        raise InputError(f"{file}: labels go up to {every[-1]}, and no image has {gap}: {rule}")
    if len(every) < 2:
        raise InputError(f"{file}: all labels are {every[0]}: must have at least 2 classes")
    for part, own in used.items():
        if lost := sorted({*every} - own):
            cure = "add images of it, or leave it out of all splits"
            raise InputError(f"{file}: {part}_labels: no image of class {named(lost)}, which other splits have: {cure}")
    return [str(label) for label in every]


def _images(archive: zipfile.ZipFile, part: str) -> Bytes:
    """The images of a part, uint8 (N, C, H, W)."""
    found: Bytes = _loaded(archive, f"{part}_images")
    return np.ascontiguousarray(found[:, None] if found.ndim == 3 else found.transpose(0, 3, 1, 2))


def _loaded(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    opened: IO[bytes]
    with archive.open(f"{name}.npy") as opened:
        found: NDArray[Any] = npy.read_array(opened, allow_pickle=False)
        opened.read()  # to its end, where the checksum is compared
    return found
