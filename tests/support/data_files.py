"""Small data sets in the exact formats of the files that MNIST and CIFAR come in."""

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from suite.data.sources import RawDataset

Array = NDArray[Any]


def random_set(num: int, shape: tuple[int, ...], num_classes: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, *shape), dtype=np.uint8), rng.permutation(np.arange(num) % num_classes)


def idx_bytes(array: Array) -> bytes:
    array = array.astype(np.uint8)
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, *, zipped: bool = False, seed: int = 0) -> RawDataset:
    """200 training and 50 test images as the four files of MNIST; what a reader should find."""
    folder.mkdir(parents=True)
    parts = [random_set(200, (28, 28), 10, seed=seed), random_set(50, (28, 28), 10, seed=1)]
    for stem, (images, labels) in zip(("train", "t10k"), parts, strict=True):
        for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
            content = idx_bytes(array)
            path = folder / (f"{name}.gz" if zipped else name)
            path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return RawDataset(images[:, None], labels, {}, 10)


def text(string: bytes) -> bytes:
    return b"T" + struct.pack("<I", len(string)) + string


def number(integer: int) -> bytes:
    return b"J" + struct.pack("<i", integer)


def opcodes(item: object) -> bytes:
    """Pickle protocol 2 as Python 2 and its numpy wrote the CIFAR files: byte strings, and dtype(align=0)."""
    if isinstance(item, str):
        return text(item.encode())
    if isinstance(item, int):
        return number(item)
    if isinstance(item, list):
        return b"](" + b"".join(map(opcodes, item)) + b"e"
    if isinstance(item, dict):
        return b"}(" + b"".join(opcodes(key) + opcodes(each) for key, each in item.items()) + b"u"
    assert isinstance(item, np.ndarray)
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR"
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) * 2 + number(0) + b"tb"
    shape = b"(" + b"".join(map(number, item.shape)) + b"t"
    return empty + b"(" + number(1) + shape + dtype + b"\x89" + text(item.tobytes()) + b"tb"


def write_cifar(cls: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RawDataset:
    """Training batches of 1,000 images and a test batch of 200; torchvision's list of MD5 sums is made to fit."""
    is_ten = cls.__name__ == "CIFAR10"
    num_classes, key = (10, "labels") if is_ten else (100, "fine_labels")
    base = folder / cls.base_folder
    base.mkdir(parents=True)
    parts: list[tuple[Array, Array]] = []

    def write(name: str, content: dict[str, object]) -> list[str]:
        (base / name).write_bytes(b"\x80\x02" + opcodes(content) + b".")
        return [name, hashlib.md5((base / name).read_bytes()).hexdigest()]

    def batch(name: str, num: int) -> list[str]:
        parts.append(random_set(num, (3, 32, 32), num_classes, seed=len(parts)))
        images, labels = parts[-1]
        coarse = {} if is_ten else {"coarse_labels": (labels // 5).tolist()}
        files = [f"{i}.png" for i in range(num)]
        fields = {"batch_label": name, key: labels.tolist(), "data": images.reshape(num, -1), "filenames": files}
        return write(name, fields | coarse)

    monkeypatch.setattr(cls, "train_list", [batch(name, 1000) for name, _ in cls.train_list])
    monkeypatch.setattr(cls, "test_list", [batch(name, 200) for name, _ in cls.test_list])
    meta = write(cls.meta["filename"], {cls.meta["key"]: [f"class {i}" for i in range(num_classes)]})
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": meta[1]})
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return RawDataset(images, labels, {}, num_classes)


def torchvision_class(name: str) -> Any:
    from suite.torchvision_shim import torchvision

    return getattr(torchvision.datasets, name)
