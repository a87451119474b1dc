"""The data set ``folder``: what it reads, and what it says of each mistake in class folders."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.own_images import write_classes, write_image

from suite import data
from suite.config import FolderSettings, InputError
from suite.data import image_folder, plugin_reader, quick_checks
from suite.data.sources import RawDataset


def settings(root: Path, **more: Any) -> FolderSettings:
    return FolderSettings(name="folder", root=str(root), **{"image_size": 8, **more})


def read(root: Path, **more: Any) -> RawDataset:
    return plugin_reader.read(settings(root, **more), image_folder.READER, Path())


def test_one_folder_is_split_by_class(tmp_path: Path) -> None:
    found = read(write_classes(tmp_path))
    assert found.images.shape == (30, 1, 8, 8) and found.num_classes == 3
    counts = {name: np.bincount(found.labels[indices]).tolist() for name, indices in found.splits.items()}
    assert counts == {"train": [7, 7, 7], "val": [1, 1, 1], "test": [2, 2, 2]}


def test_a_part_for_each_split_is_taken_as_it_is(tmp_path: Path) -> None:
    for part, num in (("train", 4), ("val", 2), ("test", 3)):
        write_classes(tmp_path / part, num=num)
    assert {name: len(indices) for name, indices in read(tmp_path).splits.items()} == {"train": 12, "val": 6, "test": 9}


@pytest.mark.parametrize("part", ["val", "test"])
def test_the_one_part_beside_train_is_the_test_set(tmp_path: Path, part: str) -> None:
    write_classes(tmp_path / "train")
    write_classes(tmp_path / part, num=2)
    assert {name: len(indices) for name, indices in read(tmp_path).splits.items()} == {"train": 27, "val": 3, "test": 6}


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 1), ("1", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)])
def test_images_stay_grey_where_all_are(tmp_path: Path, mode: str, channels: int) -> None:
    assert read(write_classes(tmp_path, mode=mode)).images.shape[1] == channels


def test_grey_beside_colours_becomes_colours(tmp_path: Path) -> None:
    write_image(write_classes(tmp_path) / "cat" / "z.png", 7, mode="RGB")
    found = read(tmp_path)
    grey = found.images[np.delete(np.arange(31), 10)]
    assert found.images.shape[1] == 3 and (grey == grey[:, :1]).all()
    assert (found.images[10, 0] != found.images[10, 1]).any()


def test_the_middle_square_is_resized_and_turned_as_exif_says(tmp_path: Path) -> None:
    write_classes(tmp_path)
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8] = 200  # the upper half of the middle
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    Image.fromarray(pixels).save(tmp_path / "cat" / "00.png", exif=exif)
    found = read(tmp_path).images[0, 0]
    assert (found[:, 5:] > 190).all() and (found[:, :3] < 10).all()


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / "._00.png").write_bytes(b"x")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "README.md").write_text("about")
    assert len(read(tmp_path).labels) == 30


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def empty(folder: Path) -> None:
    for each in folder.iterdir():
        remove(each)


def into_train(root: Path) -> Path:
    classes = list(root.iterdir())
    (root / "train").mkdir()
    for each in classes:
        each.rename(root / "train" / each.name)
    return write_classes(root / "val", num=2)


def into_capitals(root: Path) -> None:
    classes = list(root.iterdir())
    (root / "Train").mkdir()
    for each in classes:
        each.rename(root / "Train" / each.name)
    write_classes(root / "Test", num=2)


def deep_in(root: Path) -> None:
    classes = list(root.iterdir())
    (root / "pets").mkdir()
    for each in classes:
        each.rename(root / "pets" / each.name)
    write_classes(root / "more")


MISTAKES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an empty folder": (empty, "is empty: must have a folder for each class"),
    "an empty class": (lambda root: empty(root / "dog"), "dog: is empty: add images of this class, or remove"),
    "one class": (
        lambda root: (remove(root / "dog"), remove(root / "owl")),
        "has one class, cat: must have at least 2",
    ),
    "a nested folder": (lambda root: (root / "cat" / "more").mkdir(), "cat/more: a folder in a class folder"),
    "a root that is too high": (deep_in, "a folder in a class folder.*one level too high"),
    "images outside of classes": (lambda root: write_image(root / "a.png", 0), "outside of class folders"),
    "a file that is no image": (lambda root: (root / "cat" / "a.png").write_text("x"), r"cat/a\.png \(is no image\)"),
    "a file of another kind": (
        lambda root: (root / "cat" / "a.txt").write_text("x"),
        r"cat/a\.txt: is no image by its",
    ),
    "an empty file": (lambda root: (root / "cat" / "a.png").write_text(""), r"cat/a\.png \(is no image\)"),
    "a truncated image": (
        lambda root: (root / "cat" / "00.png").write_bytes((root / "cat" / "00.png").read_bytes()[:90]),
        r"1 of 30 files cannot be used: cat/00\.png \(.*truncated",
    ),
    "an image of 1 pixel": (
        lambda root: write_image(root / "cat" / "a.png", 0, size=(1, 1)),
        r"cat/a\.png \(1x1 pixels, must be at least 8 a side\)",
    ),
    "16 bits": (
        lambda root: Image.fromarray(np.zeros((9, 9), np.uint16)).save(root / "cat" / "a.png"),
        r"cat/a\.png \(has pixels of mode I;16, not of 8 bits",
    ),
    "a named pipe": (lambda root: os.mkfifo(root / "cat" / "a.png"), r"cat/a\.png: is no regular file"),
    "a link that leads nowhere": (
        lambda root: (root / "cat" / "a.png").symlink_to("no"),
        "links to no, which is missing",
    ),
    "a class that is not mounted": (lambda root: (root / "fox").symlink_to("no"), "fox: links to no, which is missing"),
    "a circle of links": (lambda root: (root / "fox").symlink_to(root), "which contains the link"),
    "one image in a class": (
        lambda root: (empty(root / "dog"), write_image(root / "dog" / "0.png", 0)),
        r"too few images of some classes.*dog \(1\)",
    ),
    "two images in a class": (
        lambda root: (empty(root / "dog"), *(write_image(root / "dog" / f"{i}.png", i) for i in range(2))),
        r"dog \(1\)",
    ),
    "a class missing in val": (lambda root: remove(into_train(root) / "owl"), "val: lacks classes that train has: owl"),
    "a class missing in train": (
        lambda root: write_image(into_train(root) / "fox" / "0.png", 0),
        "train: lacks classes that val has: fox",
    ),
    "an empty class in val": (lambda root: empty(into_train(root) / "owl"), "val/owl: is empty"),
    "splits in capitals": (into_capitals, "Test/cat: a folder.*splits must be named train, val and test"),
    "a folder beside train": (lambda root: (into_train(root).parent / "valid").mkdir(), "valid: lies beside train"),
    "no train": (lambda root: (into_train(root), remove(root / "train")), "has val and no train"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_has_its_line_before_work_is_queued(tmp_path: Path, kind: str) -> None:
    root = write_classes(tmp_path / "images")
    mistake, said = MISTAKES[kind]
    mistake(root)
    for find in (quick_checks.check, lambda each, folder: data.prepare(each, data_dir=folder, download=False)):
        with pytest.raises(InputError, match=said) as error:
            find(settings(root), tmp_path)
        assert str(error.value).startswith(str(root)) and "\n" not in str(error.value)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match="x: must be a folder"):
        read(tmp_path / "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists all folders")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    (write_classes(tmp_path) / "cat").chmod(0)
    with pytest.raises(InputError, match="cat: cannot be listed"):
        read(tmp_path)


def test_many_images_are_for_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "_MOST_BYTES", 5000)
    with pytest.raises(InputError, match=r"30 images of 8x8 pixels take .*: use dataset: imagenet"):
        image_folder.READER.files(settings(write_classes(tmp_path)), tmp_path)


def test_too_little_memory_is_said_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "free_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"GiB of memory are free: use"):
        image_folder.READER.check(settings(write_classes(tmp_path)), tmp_path)
