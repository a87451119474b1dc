"""The data sets as they come: files to numpy arrays, and the one fixed split of each.

Every reader either returns whole, checked arrays or raises `InputError` naming the file and the cure. torch is imported
only for CIFAR (through torchvision) and for downloads.
"""

import gzip
import hashlib
import importlib.util
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from suite.config import ArraySettings, InputError
from suite.records import file_errors
from suite.records.file_errors import retrying

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
T = TypeVar("T")

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
_SPLIT_SEED = 20_221_128  # any constant: the split is the same for every seed of every trial
_ELSEWHERE = "name another folder with --data-dir DIR or $SUITE_DATA"
_IDX_SIZE = (28, 28)


@dataclass(frozen=True)
class RawDataset:
    """A whole data set: images uint8 (N, C, H, W), labels int64 (N,) from 0, splits name -> ascending int64 indices."""

    images: Bytes
    labels: Ints
    splits: dict[str, Ints]
    num_classes: int


class _Kind(NamedTuple):
    """Where a data set comes from: its class in torchvision.datasets, and its number of classes."""

    torchvision_class: str
    num_classes: int = 10


_IDX = {"mnist": _Kind("MNIST"), "fashion_mnist": _Kind("FashionMNIST")}
_CIFAR = {"cifar10": _Kind("CIFAR10"), "cifar100": _Kind("CIFAR100", 100)}
NAMES = ("digits", *_IDX, *_CIFAR)
_DIGITS_SPLITS = "digits_splits.txt"  # a sign an image, as `hold_out` divides them


def read(name: str, folder: Path) -> RawDataset:
    """The data set `name` (one of `NAMES`) with its files in `folder`, laid out as torchvision does.

    Raises:
        InputError: an unknown name; files that are missing, cut short or corrupt.
    """
    return _reader(name)(name, folder)


def check(name: str, folder: Path) -> None:
    """Raise the `InputError` that `read` would raise for the files of `name`, without keeping what they hold."""
    if name in _CIFAR:
        _check_cifar(name, folder)
    elif name != "digits":
        _reader(name)(name, folder)


def unchecked_files(name: str, folder: Path) -> list[Path]:
    """The files that `read` takes as they are: none where it compares checksums, or they come with a package."""
    found = _idx_folder(name, folder) or _idx_folders(name, folder)[0] if name in _IDX else None
    return list(_idx_files(found)) if found else []


def download(name: str, folder: Path) -> None:
    """Fetch the files of `name` into `folder` through torchvision, unless they are there.

    Raises:
        InputError: the download failed.
    """
    if name == "digits" or (name in _IDX and _idx_folder(name, folder) is not None):
        return
    try:
        _torchvision_class(name)(str(folder), download=True)
    except Exception as error:  # torchvision lets through whatever the network, the disk or the archive raised
        cure = f"download it elsewhere and {_ELSEWHERE}"
        raise InputError(f"{name}: could not be downloaded to {folder} ({error}); {cure}") from error


class _Shipped:
    """The readers of this module, as a plugin's are."""

    def files(self, settings: ArraySettings, folder: Path) -> list[Path]:
        return unchecked_files(settings.name, folder)

    def read(self, settings: ArraySettings, folder: Path) -> RawDataset:
        return read(settings.name, folder)


SHIPPED = _Shipped()


def _reader(name: str) -> Callable[[str, Path], RawDataset]:
    if name not in NAMES:
        raise InputError(f"dataset: {name!r}: must be one of {', '.join(NAMES)}")
    return _read_digits if name == "digits" else _read_idx if name in _IDX else _read_cifar


def _torchvision_datasets() -> Any:
    from suite.torchvision_shim import torchvision

    return torchvision.datasets


def _torchvision_class(name: str) -> Any:
    return getattr(_torchvision_datasets(), (_IDX | _CIFAR)[name].torchvision_class)


def data_id(source: RawDataset) -> str:
    """The first 16 hex digits of SHA-256 over images, labels and split indices, with their names and shapes."""
    digest = hashlib.sha256()
    arrays: dict[str, NDArray[Any]] = {"images": source.images, "labels": source.labels, **source.splits}
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()[:16]


def split_mistake(source: RawDataset) -> str | None:
    """What is wrong with the arrays of a data set; None where they are as `RawDataset` says."""
    if source.images.dtype != np.uint8 or source.images.ndim != 4 or source.images.shape[2] != source.images.shape[3]:
        return f"images: {source.images.dtype} {source.images.shape}: must be uint8 (N, C, H, W), with H equal to W"
    if source.labels.dtype != np.int64 or source.labels.shape != source.images.shape[:1]:
        return f"labels: {source.labels.dtype} {source.labels.shape}: must be int64 (N,), one for each image"
    if not len(source.labels) or source.labels.min() < 0 or source.labels.max() >= source.num_classes:
        return f"labels: must be from 0 to {source.num_classes - 1}: there are {source.num_classes} classes"
    if source.splits.keys() != {"train", "val", "test"} or not all(map(len, source.splits.values())):
        return f"splits: {', '.join(source.splits)}: must be train, val and test, each with images"
    used = np.concatenate(list(source.splits.values()))
    if used.min() < 0 or used.max() >= len(source.labels) or len(np.unique(used)) != len(used):
        return f"splits: must be different indices of images, from 0 to {len(source.labels) - 1}"
    return None


# Splits


def hold_out(indices: Ints, labels: Ints, num: int) -> tuple[Ints, Ints]:
    """`indices` cut into the rest and `num` held out, each ascending, classes in proportion."""
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

    rest, held_out = train_test_split(indices, test_size=num, stratify=labels[indices], random_state=_SPLIT_SEED)
    return np.sort(rest), np.sort(held_out)


def subsample_train(source: RawDataset, num: int) -> RawDataset:
    """The source with `num` of its training images, the same for every seed, classes in proportion.

    Raises:
        InputError: there are fewer, or not one for each class.
    """
    train = source.splits["train"]
    if not source.num_classes <= num <= len(train):
        rule = f"must be from {source.num_classes}, one a class, to {len(train)}, all that are there"
        raise InputError(f"dataset.train_images: {num}: {rule}")
    if num < len(train):
        rest = len(train) - num
        train = hold_out(train, source.labels, num)[1] if rest >= source.num_classes else train[:num]
    return replace(source, splits={**source.splits, "train": train})


def _with_test_set(name: str, train: tuple[Bytes, Ints], test: tuple[Bytes, Ints]) -> RawDataset:
    """The source whose last images are the test set that came with it; a tenth of the others is for validation."""
    images, labels = np.concatenate((train[0], test[0])), np.concatenate((train[1], test[1]))
    num_train = len(train[1])
    try:
        rest, val = hold_out(np.arange(num_train), labels, math.ceil(num_train / 10))
    except ValueError as error:
        raise InputError(f"{name}: {num_train} training images cannot be split by class ({error})") from error
    splits = {"train": rest, "val": val, "test": np.arange(num_train, len(labels))}
    return RawDataset(images, labels, splits, (_IDX | _CIFAR)[name].num_classes)


# Digits: the file that scikit-learn ships. To import scikit-learn would take longer than a small trial.


def _read_digits(name: str, folder: Path) -> RawDataset:
    table = np.loadtxt(_digits_file(), dtype=np.uint8, delimiter=",")  # 1,797 rows: 64 values from 0 to 16, a class
    images = np.ascontiguousarray(table[:, :-1]).reshape(-1, 8, 8)[:, None]  # torch chooses kernels by strides, too
    labels = table[:, -1].astype(np.int64)
    text = resources.files("suite.data").joinpath(_DIGITS_SPLITS).read_text(encoding="utf-8")  # in a job: of a zip
    signs = np.array(list("".join(text.split())))
    splits = {name: np.flatnonzero(signs == sign) for name, sign in (("train", "."), ("val", "v"), ("test", "t"))}
    return RawDataset(images, labels, splits, 10)


def _digits_file() -> Path:
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise InputError("digits: scikit-learn is not installed, which ships them: pip install scikit-learn")
    return Path(package.origin).with_name("datasets") / "data" / "digits.csv.gz"


# MNIST and Fashion-MNIST: IDX files (http://yann.lecun.com/exdb/mnist), plain or gzip


def _idx_files(folder: Path) -> Iterator[Path]:
    """Train images, train labels, test images, test labels: the plain file where there is one, else NAME.gz."""
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        plain = folder / f"{stem}-ubyte"
        yield plain if plain.exists() else plain.with_name(f"{plain.name}.gz")


def _idx_folders(name: str, folder: Path) -> list[Path]:
    own = folder / _IDX[name].torchvision_class / "raw"
    return [own, DEBIAN_FASHION_MNIST] if name == "fashion_mnist" else [own]


def _idx_folder(name: str, folder: Path) -> Path | None:
    """The first folder that holds all four files."""
    folders = _idx_folders(name, folder)
    return next((each for each in folders if all(file.exists() for file in _idx_files(each))), None)


def _read_idx(name: str, folder: Path) -> RawDataset:
    found = _idx_folder(name, folder)
    if found is None:
        raise missing(name, *_idx_folders(name, folder))
    files = list(_idx_files(found))
    return _with_test_set(name, _idx_pair(name, *files[:2]), _idx_pair(name, *files[2:]))


def _idx_pair(name: str, image_file: Path, label_file: Path) -> tuple[Bytes, Ints]:
    images, labels = _idx_array(name, image_file, 3), _idx_array(name, label_file, 1)
    if images.shape[1:] != _IDX_SIZE:
        raise _corrupt(name, image_file, f"images of {images.shape[1:]} instead of {_IDX_SIZE}")
    if len(labels) != len(images):
        raise _corrupt(name, label_file, f"{len(labels)} labels for {len(images)} images")
    if labels.size and labels.max() >= _IDX[name].num_classes:
        raise _corrupt(name, label_file, f"a label {labels.max()} among {_IDX[name].num_classes} classes")
    return images[:, None], labels.astype(np.int64)


def _idx_array(name: str, file: Path, ndim: int) -> Bytes:
    content = _readable(name, file, file.read_bytes)
    try:
        return _parse_idx(gzip.decompress(content) if file.suffix == ".gz" else content, ndim)
    except (OSError, EOFError, zlib.error, ValueError, struct.error) as error:
        raise _corrupt(name, file, str(error)) from error


def _parse_idx(data: bytes, ndim: int) -> Bytes:
    """IDX: bytes 0, 0, type (8 = uint8), number of dimensions; big-endian int32 sizes; the values."""
    if data[:4] != bytes((0, 0, 8, ndim)):
        raise ValueError(f"its first bytes are {data[:4]!r}")
    shape = struct.unpack_from(f">{ndim}I", data, 4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * ndim)
    if values.size != math.prod(shape):
        raise ValueError(f"{values.size} bytes of values instead of {math.prod(shape)}")
    return values.reshape(shape)


# CIFAR: torchvision's reader, which checks MD5 sums before it unpickles


def _read_cifar(name: str, folder: Path) -> RawDataset:
    cls = _torchvision_class(name)
    try:
        with warnings.catch_warnings():
            # The pickles date from Python 2 and hold dtype(align=0): numpy 2.4.0 to 2.4.4 warn of it.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align")
            parts = retrying(lambda: [cls(str(folder), train=train) for train in (True, False)], folder)
    except (RuntimeError, OSError):  # missing or corrupt: the check names the file
        _check_cifar(name, folder)
        raise
    train, test = ((part.data.transpose(0, 3, 1, 2), np.asarray(part.targets, dtype=np.int64)) for part in parts)
    return _with_test_set(name, train, test)


def _check_cifar(name: str, folder: Path) -> None:
    cls = _torchvision_class(name)
    base = folder / cls.base_folder
    sums = dict([*cls.train_list, *cls.test_list, (cls.meta["filename"], cls.meta["md5"])])
    if not all((base / file).is_file() for file in sums):
        raise missing(name, base)
    for file, md5 in sums.items():
        integrity = partial(_torchvision_datasets().utils.check_integrity, base / file, md5)
        if not _readable(name, base / file, integrity):
            raise _corrupt(name, base / file, f"its MD5 sum is not {md5}")


# Errors


def missing(name: str, *folders: Path) -> InputError:
    """What to raise where the files of a data set are in none of the folders."""
    looked = " nor ".join(map(str, folders))
    debian = ", or apt-get install dataset-fashion-mnist" if name == "fashion_mnist" else ""
    return InputError(f"{name}: its files are not in {looked}; {_ELSEWHERE}, or fetch them with --download{debian}")


def _corrupt(name: str, file: Path, reason: str) -> InputError:
    cure = f"delete it and run with --download, or {_ELSEWHERE}"
    return InputError(f"{name}: {file} is corrupt ({reason}); {cure}")


def _readable(name: str, file: Path, read: Callable[[], T]) -> T:
    """What ``read`` returns. A file that cannot be read is not called corrupt: nobody should delete it."""
    try:
        return retrying(read, file)
    except OSError as error:
        cure = f"see that it can be read and repeat the command, or {_ELSEWHERE}"
        raise InputError(f"{name}: {file_errors.describe(error)}; {cure}") from error
