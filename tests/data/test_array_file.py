"""The data set ``arrays``: what it reads, and what it says of each mistake in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.own_images import Arrays, arrays, write_arrays

from suite import data
from suite.config import ArrayFileSettings, InputError
from suite.data import array_file, plugin_reader, quick_checks
from suite.data.sources import RawDataset
from suite.records.data_content import Contents


def settings(file: Path, **more: Any) -> ArrayFileSettings:
    return ArrayFileSettings(name="arrays", file=str(file), **more)


def content(each: ArrayFileSettings, folder: Path) -> str:
    return Contents(folder)(each)


def read(file: Path, **more: Any) -> RawDataset:
    return plugin_reader.read(settings(file, **more), array_file.READER, Path())


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 5])
def test_any_number_of_channels_is_read(tmp_path: Path, channels: int | None) -> None:
    given = arrays(channels=channels)
    found = read(write_arrays(tmp_path / "x.npz", **given))
    assert found.images.shape == (45, channels or 1, 8, 8)
    first = given["test_images"][0].reshape(8, 8, -1)
    np.testing.assert_array_equal(found.images[found.splits["test"][0]].transpose(1, 2, 0), first)


def test_grey_images_with_and_without_a_last_axis_are_alike(tmp_path: Path) -> None:
    given = arrays()
    found = read(write_arrays(tmp_path / "x.npz", test_images=given["test_images"][..., None]))
    assert found.images.shape[1] == 1


@pytest.mark.parametrize("dtype", ["uint8", "int64", "int16"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_labels_are_integers_of_either_shape(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    given = {key: value for key, value in arrays().items() if key.endswith("labels")}
    found = read(write_arrays(tmp_path / "x.npz", **{k: v.astype(dtype).reshape(shape) for k, v in given.items()}))
    assert found.num_classes == 3 and found.labels.dtype == np.int64


def test_parts_of_the_file_are_its_splits(tmp_path: Path) -> None:
    found = read(write_arrays(tmp_path / "x.npz", **arrays(val=True)))
    assert {name: len(indices) for name, indices in found.splits.items()} == {"train": 30, "val": 15, "test": 15}


def test_without_val_each_class_gives_its_share(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "x.npz")
    found = read(file, val_share=0.2)
    assert np.bincount(found.labels[found.splits["val"]]).tolist() == [2, 2, 2]
    assert {*found.splits["train"]} | {*found.splits["val"]} == {*range(30)}
    np.testing.assert_array_equal(found.splits["val"], read(file, val_share=0.2).splits["val"])


def test_the_split_is_the_same_everywhere(tmp_path: Path) -> None:
    """Golden: it belongs to results on disks."""
    file = write_arrays(tmp_path / "x.npz", test_images=None, test_labels=None)
    found = read(file)
    assert found.splits["test"].tolist() == [15, 16, 17, 18, 19, 23]
    assert found.splits["val"].tolist() == [4, 5, 27]


def test_val_without_test_is_the_test_set(tmp_path: Path) -> None:
    given = arrays(val=True)
    found = read(write_arrays(tmp_path / "x.npz", **{**given, "test_images": None, "test_labels": None}))
    np.testing.assert_array_equal(found.images[found.splits["test"], 0], given["val_images"])
    assert len(found.splits["val"]) == 3


def without(given: Arrays, label: int, part: str) -> Arrays:
    keep = given[f"{part}_labels"] != label
    return {f"{part}_images": given[f"{part}_images"][keep], f"{part}_labels": given[f"{part}_labels"][keep]}


def shifted(given: Arrays, by: Callable[[Any], Any]) -> Arrays:
    return {key: by(value.astype(np.int64)) for key, value in given.items() if key.endswith("labels")}


def ragged() -> Any:
    found = np.empty(30, dtype=object)
    found[:] = [np.zeros((8, 8 + i % 2), np.uint8) for i in range(30)]
    return found


GIVEN = arrays()
TRAIN, LABELS = GIVEN["train_images"], GIVEN["train_labels"]
MISTAKES: dict[str, tuple[Arrays, str]] = {
    "labels that start at 1": (shifted(GIVEN, lambda x: x + 1), "labels are 1 to 3.*subtract 1"),
    "labels with a gap": (shifted(GIVEN, lambda x: x * 2), "labels go up to 4, and no image has 1"),
    "a huge label": (shifted(GIVEN, lambda x: np.where(x == 2, 2**62, x)), "no image has 2: number"),
    "negative labels": (shifted(GIVEN, lambda x: x - 1), "train_labels: -1: must be from 0"),
    "float labels": ({"train_labels": LABELS.astype(float)}, r"train_labels: float64.*\.astype"),
    "labels of NaN": ({"train_labels": LABELS + np.nan}, "without NaN"),
    "labels of texts": ({"train_labels": LABELS.astype(str)}, "must be whole numbers"),
    "one-hot labels": ({"train_labels": np.eye(3, dtype=int)[LABELS]}, r"30x3: must be N or Nx1.*argmax"),
    "one class": (shifted(GIVEN, np.zeros_like), "all labels are 0: must have at least 2"),
    "fewer labels": ({"train_labels": LABELS[:-1]}, "train_labels: 29: must be 30"),
    "a class missing in test": (without(GIVEN, 2, "test"), "test_labels: no image of class 2"),
    "a class missing in train": (without(GIVEN, 2, "train"), "train_labels: no image of class 2"),
    "one image in a class": (
        {"train_images": TRAIN[:4], "train_labels": np.array([0, 0, 1, 2])},
        r"too few images of some classes.*1 \(1\), 2 \(1\)",
    ),
    "images of floats": ({"train_images": TRAIN / 255}, r"train_images: float64: must be uint8.*NaN"),
    "images of int64": ({"train_images": TRAIN.astype(int)}, "int64: must be uint8"),
    "images of several sizes": ({"train_images": ragged()}, "train_images: an array of objects.*one size"),
    "splits of several sizes": (
        {"test_images": GIVEN["test_images"].repeat(2, 1).repeat(2, 2)},
        "differ in size or channels: train 8x8, test 16x16",
    ),
    "RGB beside grey": ({"test_images": GIVEN["test_images"][..., None].repeat(3, 3)}, "train 8x8, test 8x8x3"),
    "images of 1 pixel": ({"train_images": TRAIN[:, :1, :1]}, "1x1: must have 8 to 224 pixels"),
    "images that are large": ({"train_images": np.zeros((30, 225, 225), np.uint8)}, "must have 8 to 224"),
    "images that are not square": ({"train_images": TRAIN[:, :, :-1]}, "30x8x7: must be square"),
    "channels first": ({"train_images": TRAIN[:, None].repeat(3, 1)}, r"transpose\(0, 2, 3, 1\)"),
    "flat images": ({"train_images": TRAIN.reshape(30, 64)}, "30x64: must be NxHxW or"),
    "no image": ({"train_images": TRAIN[:0], "train_labels": LABELS[:0]}, "with at least one image"),
    "a missing key": ({"test_labels": None}, "lacks test_labels, it has train_images"),  # type: ignore[dict-item]
    "no training images": ({"train_images": None}, "lacks train_images"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_has_its_line_before_work_is_queued(tmp_path: Path, kind: str) -> None:
    changes, said = MISTAKES[kind]
    file = write_arrays(tmp_path / "x.npz", **changes)
    for find in (quick_checks.check, lambda each, folder: data.prepare(each, data_dir=folder, download=False)):
        with pytest.raises(InputError, match=said) as error:
            find(settings(file), tmp_path)
        assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", MISTAKES)
def test_heads_and_labels_say_it_without_the_pixels(tmp_path: Path, kind: str) -> None:
    """So a dry run of a large file does."""
    changes, said = MISTAKES[kind]
    with pytest.raises(InputError, match=said):
        array_file.READER.check(settings(write_arrays(tmp_path / "x.npz", **changes)), tmp_path)


@pytest.mark.parametrize("size", [0, 10, 300, 1000, -1])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, size: int) -> None:
    file = write_arrays(tmp_path / "x.npz")
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(InputError, match=r"x\.npz: is no whole \.npz file.*numpy\.savez"):
        read(file)


def test_damaged_pixels_are_found(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "x.npz")
    content = bytearray(file.read_bytes())
    content[500] ^= 1  # of train_images
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"is no whole \.npz file"):
        read(file)


def test_a_single_array_and_a_pickle_are_no_such_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", TRAIN)
    with pytest.raises(InputError, match=r"is no whole \.npz file"):
        read(tmp_path / "x.npy")


def test_a_folder_is_not_such_a_file(tmp_path: Path) -> None:
    """Its line names the data set that reads folders, and does not say to remove it."""
    (tmp_path / "x" / "cat").mkdir(parents=True)
    for find in (quick_checks.check, content):
        with pytest.raises(InputError, match=r"x: is a folder: must be an \.npz file: use dataset: folder") as error:
            find(settings(tmp_path / "x"), tmp_path)
        assert "remove" not in str(error.value)


def test_a_file_that_was_moved_may_be_moved_back(tmp_path: Path) -> None:
    """Another folder alone does not help where the name is another now, as for ``suite.tickets verify``."""
    with pytest.raises(
        InputError, match=r"x\.npz: no such file: move it back there, or name another folder with --data"
    ):
        read(tmp_path / "x.npz")


def test_too_little_memory_is_said_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_file, "free_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"a trial needs .* of memory are free"):
        array_file.READER.check(settings(write_arrays(tmp_path / "x.npz")), tmp_path)


def test_memory_that_runs_out_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(array_file, "_images", fail)
    with pytest.raises(InputError, match="not enough memory"):
        read(write_arrays(tmp_path / "x.npz"))
