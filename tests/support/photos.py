"""A small tree of real photos, as ImageNet has them: cut out of pictures that scikit-image and scikit-learn carry."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import sklearn.datasets  # type: ignore[import-untyped]
from PIL import Image, ImageEnhance

from suite.data.imagenet import pack

CLASSES = ("n01_astronaut", "n02_cat", "n03_coffee", "n04_rocket", "n05_temple", "n06_flower")
PER_CLASS = {"train": 40, "val": 12}


def pictures() -> list[Image.Image]:
    """One photo for each class."""
    found = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()]
    return [Image.fromarray(array) for array in [*found, *sklearn.datasets.load_sample_images().images]]


def cut(picture: Image.Image, rng: np.random.Generator, shrink: int = 1) -> Image.Image:
    """A piece of a photo, around 500 x 375 pixels / ``shrink``, lighter or darker than it was."""
    width, height = (int(rng.integers(side * 2 // 3, side + 1)) for side in picture.size)
    left, top = int(rng.integers(picture.width - width + 1)), int(rng.integers(picture.height - height + 1))
    piece = picture.crop((left, top, left + width, top + height))
    size = (int(rng.integers(440, 560)) // shrink, int(rng.integers(330, 420)) // shrink)
    piece = piece.resize(size, Image.Resampling.BICUBIC)
    return ImageEnhance.Brightness(piece).enhance(float(rng.uniform(0.7, 1.3)))


def encoded(image: Image.Image, kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.convert(mode).save(file, kind, **options)
    return file.getvalue()


def write_tree(
    root: Path, per_class: dict[str, int] = PER_CLASS, classes: int = len(CLASSES), *, shrink: int = 1
) -> Path:
    """Write ``root/train/CLASS/*.JPEG`` and ``root/val/CLASS/*.JPEG``: the same bytes each time."""
    rng = np.random.default_rng(0)
    for tree, num in per_class.items():
        for name, picture in list(zip(CLASSES, pictures(), strict=True))[:classes]:
            folder = root / tree / name
            folder.mkdir(parents=True)
            for number in range(num):
                (folder / f"{name[:3]}_{number}.JPEG").write_bytes(encoded(cut(picture, rng, shrink), quality=90))
    return root


@contextmanager
def small_shards() -> Iterator[None]:
    """``--shard-mb`` counts in quarters: several shards of photos that are half as large as others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "_MB", pack._MB // 4)
        yield


NUM_NOISE_CLASSES = 61  # classes


def write_noise_tree(root: Path) -> Path:
    """Small noisy images, three of each of many classes to train and hold out, and one to test."""
    rng = np.random.default_rng(1)
    for number in range(NUM_NOISE_CLASSES):
        for place in ("train/{}/a", "train/{}/b", "train/{}/c", "val/{}/d"):
            path = root / f"{place.format(f'c{number:03d}')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(256, size=(80, 80, 3), dtype=np.uint8)).save(path)
    return root


Break = Callable[[bytes], bytes]
BROKEN: dict[str, Break] = {  # what can happen to a file
    "cut in half": lambda content: content[: len(content) // 2],
    "two bytes short": lambda content: content[:-2],
    "head only": lambda content: content[:100],
    "zero bytes": lambda content: b"",
    "text": lambda content: b"404 not found\n" * 40,
    "gif": lambda content: encoded(Image.open(io.BytesIO(content)), "GIF", "P"),
    "png cut short": lambda content: encoded(Image.open(io.BytesIO(content)), "PNG")[:-6],
}
ODD: dict[str, Break] = {  # what is strange, and decoded all the same
    "cmyk": lambda content: encoded(Image.open(io.BytesIO(content)), "JPEG", "CMYK"),
    "png": lambda content: encoded(Image.open(io.BytesIO(content)), "PNG"),
    "grey": lambda content: encoded(Image.open(io.BytesIO(content)), "JPEG", "L"),
    "trailing zeros": lambda content: content + bytes(300),
}
