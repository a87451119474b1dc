"""Small data sets as users have them: an ``.npz`` file, and class folders."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Arrays = dict[str, NDArray[Any]]
CLASSES = ("cat", "dog", "owl")


def arrays(num: int = 30, size: int = 8, channels: int | None = None, *, val: bool = False) -> Arrays:
    """The arrays of a file: ``num`` images for training and half as many in the other parts, of three classes."""
    rng = np.random.default_rng(0)
    parts = {"train": num, **({"val": num // 2} if val else {}), "test": num // 2}
    shape = (size, size) if channels is None else (size, size, channels)
    found: Arrays = {}
    for part, each in parts.items():
        found[f"{part}_images"] = rng.integers(0, 256, (each, *shape), dtype=np.uint8)
        found[f"{part}_labels"] = (np.arange(each) % len(CLASSES)).astype(np.uint8)
    return found


def write_arrays(file: Path, **changes: Any) -> Path:
    """A file of ``arrays()``, with other arrays or without those that are None."""
    there = {key: value for key, value in {**arrays(), **changes}.items() if value is not None}
    np.savez(file, **there)
    return file


def write_image(file: Path, number: int, *, mode: str = "L", size: tuple[int, int] = (10, 12)) -> None:
    """An image that is like no other."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)


def write_classes(root: Path, *, num: int = 10, mode: str = "L") -> Path:
    """Class folders, each with ``num`` images."""
    for label, name in enumerate(CLASSES):
        for i in range(num):
            write_image(root / name / f"{i:02}.png", 1000 * label + i, mode=mode)
    return root
