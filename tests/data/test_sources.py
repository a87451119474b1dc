"""Reading the real file formats, the fixed splits, and what is said when files are missing or damaged."""

import errno
import hashlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn.datasets import load_digits
from support.data_files import idx_bytes, torchvision_class, write_cifar, write_idx
from support.failing_files import fail_to_open

from suite import data
from suite.config import Dataset, InputError
from suite.data import sources
from suite.data.sources import RawDataset

CURES = ("--data-dir", "$SUITE_DATA", "--download")


def settings(name: str) -> Dataset:
    value: Dataset = TypeAdapter(Dataset).validate_python(name)
    return value


def prepare(name: str, folder: Path) -> None:
    data.prepare(settings(name), data_dir=folder, download=False)


@pytest.fixture(autouse=True)
def no_debian_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("fashion_mnist") is None:
        monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "debian")


# Splits


def check_splits(source: RawDataset, sizes: tuple[int, int, int]) -> None:
    """Sizes; every image in one split; ascending; each class in each split as often as its share allows."""
    splits = [source.splits[name] for name in ("train", "val", "test")]
    assert tuple(map(len, splits)) == sizes
    assert np.array_equal(np.sort(np.concatenate(splits)), np.arange(len(source.labels)))
    for split in splits:
        assert (np.diff(split) > 0).all()
    pool = np.concatenate(splits[:2])
    expected = np.bincount(source.labels[pool]) * sizes[1] / len(pool)
    assert (np.abs(np.bincount(source.labels[splits[1]]) - expected) <= 1).all()


def test_digits_are_split_once_and_for_all() -> None:
    source = sources.read("digits", Path("nowhere"))
    check_splits(source, (1257, 180, 360))
    expected = np.bincount(source.labels) / 5
    assert (np.abs(np.bincount(source.labels[source.splits["test"]]) - expected) <= 1).all()
    digest = hashlib.sha256(np.concatenate([source.splits[name] for name in ("train", "val", "test")]).tobytes())
    assert digest.hexdigest()[:16] == "fbe6724802217b51"


def test_digits_are_those_of_scikit_learn() -> None:
    """Which reads the same file, and divided the images once."""
    source, theirs = sources.read("digits", Path("nowhere")), load_digits()
    images = theirs.images.astype(np.uint8)[:, None]
    assert np.array_equal(source.images, images) and np.array_equal(source.labels, theirs.target)
    assert source.images.dtype == np.uint8 and source.labels.dtype == np.int64
    assert source.images.strides == images.strides  # torch takes them for channels_last, or not
    rest, test = sources.hold_out(np.arange(1797), source.labels, 360)
    train, val = sources.hold_out(rest, source.labels, 180)
    for name, expected in (("train", train), ("val", val), ("test", test)):
        assert np.array_equal(source.splits[name], expected) and source.splits[name].dtype == np.int64


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="digits: scikit-learn is not installed"):
        sources.read("digits", Path("nowhere"))


# Readers


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("name", "sub_folder"), [("mnist", "MNIST/raw"), ("fashion_mnist", "FashionMNIST/raw")])
def test_idx_files_are_read(tmp_path: Path, name: str, sub_folder: str, zipped: bool) -> None:
    written = write_idx(tmp_path / sub_folder, zipped=zipped)
    source = sources.read(name, tmp_path)
    assert np.array_equal(source.images, written.images)
    assert np.array_equal(source.labels, written.labels)
    assert (source.images.dtype, source.labels.dtype, source.num_classes) == (np.uint8, np.int64, 10)
    check_splits(source, (180, 20, 50))
    assert source.splits["test"].tolist() == list(range(200, 250))


def test_idx_files_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    write_idx(tmp_path / "MNIST/raw")
    source, theirs = sources.read("mnist", tmp_path), torchvision_class("MNIST")(str(tmp_path), train=True)
    assert np.array_equal(source.images[:200, 0], theirs.data.numpy())
    assert np.array_equal(source.labels[:200], theirs.targets.numpy())


def test_fashion_mnist_is_found_where_debian_puts_it(tmp_path: Path) -> None:
    written = write_idx(tmp_path / "debian", zipped=True)
    assert np.array_equal(sources.read("fashion_mnist", tmp_path / "own").images, written.images)
    prepare("fashion_mnist", tmp_path / "own")
    with pytest.raises(InputError):
        prepare("mnist", tmp_path / "own")


@pytest.mark.fashion_mnist
def test_real_fashion_mnist() -> None:
    arrays = data.load(settings("fashion_mnist"), data_dir=Path("nowhere"), device="cpu")
    assert [len(split) for split in (arrays.train, arrays.val, arrays.test)] == [54_000, 6_000, 10_000]
    assert (arrays.num_classes, arrays.image_size, arrays.in_channels) == (10, 28, 1)
    assert arrays.val.labels.bincount().tolist() == [600] * 10
    assert arrays.test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert arrays.data_id == "78d8724fe19e41e4"


@pytest.mark.parametrize(
    ("name", "cls", "sizes"), [("cifar10", "CIFAR10", (4500, 500, 200)), ("cifar100", "CIFAR100", (900, 100, 200))]
)
def test_cifar_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cls: str, sizes: tuple[int, int, int]
) -> None:
    written = write_cifar(torchvision_class(cls), tmp_path, monkeypatch)
    prepare(name, tmp_path)
    source = sources.read(name, tmp_path)
    assert np.array_equal(source.images, written.images)
    assert np.array_equal(source.labels, written.labels)
    assert (source.images.dtype, source.labels.dtype) == (np.uint8, np.int64)
    assert source.num_classes == written.num_classes
    check_splits(source, sizes)
    arrays = data.load(settings(name), data_dir=tmp_path, device="cpu")
    assert (arrays.image_size, arrays.in_channels, arrays.train.images.is_contiguous()) == (32, 3, True)
    images, _ = next(arrays.train_batches(1, 0, 128))
    assert images.shape == (128, 3, 32, 32)


# Errors


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_missing_files_name_data_set_folder_and_cures(tmp_path: Path, name: str) -> None:
    for call in (lambda: prepare(name, tmp_path), lambda: sources.read(name, tmp_path)):
        with pytest.raises(InputError) as caught:
            call()
        for part in (name, str(tmp_path), *CURES):
            assert part in str(caught.value)
    assert ("apt-get install dataset-fashion-mnist" in str(caught.value)) == (name == "fashion_mnist")


def check_corrupt(name: str, folder: Path, file: Path, *parts: str) -> None:
    for call in (lambda: prepare(name, folder), lambda: sources.read(name, folder)):
        with pytest.raises(InputError) as caught:
            call()
        for part in (name, str(file), "delete it", *CURES, *parts):
            assert part in str(caught.value)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "its first bytes"),
    "only the magic number": (lambda content: content[:6], "unpack"),
    "cut short": (lambda content: content[:-1], "bytes of values instead of"),
    "too long": (lambda content: content + b"0", "bytes of values instead of"),
    "another kind": (lambda content: b"<html>" + content, "its first bytes"),
}


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_idx_files_are_named(tmp_path: Path, file: str, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    path = tmp_path / "MNIST/raw" / file
    write_idx(path.parent)
    path.write_bytes(damage(path.read_bytes()))
    check_corrupt("mnist", tmp_path, path, reason)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_cut_gzip_files_are_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "FashionMNIST/raw/train-images-idx3-ubyte.gz"
    write_idx(path.parent, zipped=True)
    path.write_bytes(path.read_bytes()[:keep])
    check_corrupt("fashion_mnist", tmp_path, path)


def test_a_flipped_bit_in_a_gzip_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "FashionMNIST/raw/train-images-idx3-ubyte.gz"
    write_idx(path.parent, zipped=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    check_corrupt("fashion_mnist", tmp_path, path)


def test_idx_files_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST/raw"
    write_idx(folder)
    labels, images = folder / "train-labels-idx1-ubyte", folder / "train-images-idx3-ubyte"
    whole = labels.read_bytes()
    labels.write_bytes(idx_bytes(np.arange(199) % 10))
    check_corrupt("mnist", tmp_path, labels, "199 labels for 200 images")
    labels.write_bytes(whole[:-1] + b"\x0a")
    check_corrupt("mnist", tmp_path, labels, "label 10 among 10 classes")
    labels.write_bytes(whole)
    images.write_bytes(idx_bytes(np.zeros((200, 28, 27))))
    check_corrupt("mnist", tmp_path, images, "(28, 27)")


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_cannot_be_read_are_not_called_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    folder = tmp_path / "MNIST/raw"
    write_idx(folder, zipped=zipped)
    whole = sources.read("mnist", tmp_path)
    file = next(folder.glob("train-labels*"))
    with monkeypatch.context() as patch:
        fail_to_open(patch, file, times=1)
        assert np.array_equal(sources.read("mnist", tmp_path).labels, whole.labels)
    fail_to_open(monkeypatch, file)
    with pytest.raises(InputError) as caught:
        sources.read("mnist", tmp_path)
    assert str(caught.value).startswith(f"mnist: {file}: {os.strerror(errno.EIO)}; see that it can be read")
    assert "corrupt" not in str(caught.value) and "delete" not in str(caught.value)


def test_a_set_too_small_to_split_is_an_input_error(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST/raw"
    write_idx(folder)
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((5, 28, 28))))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(5)))
    with pytest.raises(InputError, match="mnist: 5 training images cannot be split"):
        prepare("mnist", tmp_path)


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_cifar_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    cls = torchvision_class("CIFAR10")
    write_cifar(cls, tmp_path, monkeypatch)
    path = tmp_path / cls.base_folder / file
    path.write_bytes(path.read_bytes()[:-1])
    check_corrupt("cifar10", tmp_path, path, "MD5")
    path.unlink()
    with pytest.raises(InputError, match="its files are not in"):
        sources.read("cifar10", tmp_path)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InputError, match="'svhn': must be one of digits, mnist"):
        sources.read("svhn", Path())


# Folders and downloads


def test_the_folder_is_the_argument_else_the_variable_else_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, argument, expected in (
        (None, None, tmp_path / "data"),
        ("from_variable", None, tmp_path / "from_variable"),
        ("from_variable", tmp_path / "given", tmp_path / "given"),
    ):
        monkeypatch.delenv("SUITE_DATA", raising=False)
        if variable:
            monkeypatch.setenv("SUITE_DATA", variable)
        with pytest.raises(InputError, match=f"not in {expected}/MNIST"):
            data.prepare(settings("mnist"), data_dir=argument, download=False)


def test_download_goes_through_torchvision_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(self: Any) -> None:
        asked.append(self.root)
        write_idx(Path(self.raw_folder))

    monkeypatch.setattr(torchvision_class("MNIST"), "download", download)
    with pytest.raises(InputError):
        prepare("mnist", tmp_path)
    assert asked == []
    for _ in range(2):  # the second time the files are there
        data.prepare(settings("mnist"), data_dir=tmp_path, download=True)
    assert asked == [str(tmp_path)]


@pytest.mark.parametrize("name", ["mnist", "cifar100"])
def test_a_failed_download_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(self: Any) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(torchvision_class("MNIST" if name == "mnist" else "CIFAR100"), "download", fail)
    with pytest.raises(InputError, match=f"{name}: could not be downloaded.*no route to host.*--data-dir"):
        data.prepare(settings(name), data_dir=tmp_path, download=True)
