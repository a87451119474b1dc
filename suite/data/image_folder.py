"""The data set ``folder``: image files in class folders, decoded into memory. No torch."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from suite.config import FolderSettings, InputError
from suite.data.class_folders import Labelled, listed
from suite.data.own_split import MIN_SIZE, divided, named
from suite.data.sources import Bytes, RawDataset
from suite.machine import free_memory, num_cpus
from suite.records.file_errors import retrying

_MOST_BYTES = 2**30  # of pixels: more take long to decode in each trial, and are for ``imagenet``
_GREY = ("1", "L", "LA")
_COLOUR = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_THREADS = 8
_COPIES = 2  # of the images, that a trial surely has in memory


class _Reader:
    """Reads the folder, as a plugin's reader does."""

    def files(self, settings: FolderSettings, folder: Path) -> list[Path]:
        root = settings.path(folder)
        if not root.exists():
            return [root]  # which is reported as missing
        return [image.file for image in _listed(settings, root)]

    def check(self, settings: FolderSettings, folder: Path) -> None:
        """Raise the InputError that ``read`` would raise, but for what only the pixels say."""
        root = settings.path(folder)
        _divided(settings, root, _listed(settings, root))

    def read(self, settings: FolderSettings, folder: Path) -> RawDataset:
        root = settings.path(folder)
        images = _listed(settings, root)
        splits, classes = _divided(settings, root, images)
        labels = np.array([image.label for image in images], dtype=np.int64)
        return RawDataset(_decoded(images, settings.image_size, root), labels, splits, len(classes))


READER = _Reader()


def _listed(settings: FolderSettings, root: Path) -> list[Labelled]:
    images = listed(root)
    size, num = settings.image_size, len(images)
    if (pixels := num * size * size * 3) > _MOST_BYTES:
        raise InputError(
            f"{root}: {num:,} images of {size}x{size} pixels take {pixels / 2**30:,.1f} GiB, more than "
            f"{_MOST_BYTES / 2**30:g} GiB: use dataset: imagenet, which reads them as they are needed, or a smaller "
            "image_size"
        )
    if (free := free_memory()) is not None and _COPIES * pixels > free:
        needs = f"a trial needs {_COPIES * pixels / 2**30:,.1f} GiB for its images, {free / 2**30:,.1f} GiB of memory"
        raise InputError(f"{root}: {needs} are free: use a smaller image_size, fewer images, or a larger machine")
    return images


def _divided(settings: FolderSettings, root: Path, images: list[Labelled]) -> tuple[dict[str, "np.ndarray"], list[str]]:
    classes = [name for _, name in sorted({(image.label, image.name) for image in images})]
    labels = np.array([image.label for image in images], dtype=np.int64)
    return divided([image.split for image in images], labels, classes, settings, root), classes


class _Problem(NamedTuple):
    file: Path
    text: str


def _decoded(images: list[Labelled], size: int, root: Path) -> Bytes:
    """The images, uint8 (N, C, size, size): one channel where all files are grey, else three.

    Raises:
        InputError: files cannot be decoded, or are too small.
    """
    with ThreadPoolExecutor(min(_THREADS, num_cpus())) as pool:
        found = list(pool.map(lambda image: _decode(image.file, size), images))
    if problems := [each for each in found if isinstance(each, _Problem)]:
        said = named(f"{each.file.relative_to(root)} ({each.text})" for each in problems)
        raise InputError(
            f"{root}: {len(problems):,} of {len(images):,} files cannot be used: {said}: mend or remove them"
        )
    arrays = [each for each in found if isinstance(each, np.ndarray)]
    channels = max(array.shape[0] for array in arrays)
    stacked = np.empty((len(arrays), channels, size, size), np.uint8)
    for row, array in zip(stacked, arrays, strict=True):
        row[:] = array  # grey beside colours: three equal channels
    return stacked


def _decode(file: Path, size: int) -> "Bytes | _Problem":
    """The middle square of an image, uint8 (1 or 3, size, size), turned as its EXIF data says; or what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which nobody reads here
            return _opened(file, retrying(file.read_bytes, file), size)
    except UnidentifiedImageError:
        return _Problem(file, "is no image")
    except Image.DecompressionBombError:
        return _Problem(file, "has far too many pixels")
    except Exception as error:  # Pillow's readers raise whatever they meet
        return _Problem(file, str(error) or type(error).__name__)


def _opened(file: Path, content: bytes, size: int) -> "Bytes | _Problem":
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in (*_GREY, *_COLOUR):
            return _Problem(file, f"has pixels of mode {image.mode}, not of 8 bits: convert it")
        if min(image.size) < MIN_SIZE:
            return _Problem(file, f"{image.size[0]}x{image.size[1]} pixels, must be at least {MIN_SIZE} a side")
        plain = ImageOps.exif_transpose(image).convert("L" if image.mode in _GREY else "RGB")
        array = np.asarray(ImageOps.fit(plain, (size, size), Image.Resampling.BILINEAR))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
