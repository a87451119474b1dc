"""Files that break after the scan: the loader ends and names them, whatever is wrong and however they are stored."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.photos import BROKEN, ODD

from suite.config import InputError
from suite.data.imagenet import scan, shards
from suite.data.interface import Data

Load = Callable[..., Data]
each = pytest.mark.parametrize("how", BROKEN)
first, *rest = BROKEN
each_slowly = pytest.mark.parametrize("how", [first, *(pytest.param(how, marks=pytest.mark.slow) for how in rest)])


def spoil(path: Path, how: str) -> None:
    path.write_bytes({**BROKEN, **ODD}[how](path.read_bytes()))


def train(data: Data) -> None:
    for _ in data.train_batches(5, 0, 16):
        pass


@each_slowly
def test_in_training_the_files_are_named(loaded: Load, own_tree: Path, how: str) -> None:
    data = loaded(root=own_tree, val_share=0.03)
    broken = sorted(own_tree.glob("train/n03_coffee/*_1?.JPEG"))
    for path in broken:
        spoil(path, how)
    with pytest.raises(InputError, match="cannot be decoded any more") as caught:
        train(data)
    named = [path for path in broken if str(path) in str(caught.value)]
    assert 7 <= len(named) <= len(broken) == 10  # but for one or two held out for validation, or in the dropped rest
    assert "n02_cat" not in str(caught.value)
    assert "suite.data.imagenet.scan" in str(caught.value)


@each
def test_in_evaluation_the_file_is_named(loaded: Load, own_tree: Path, how: str) -> None:
    data = loaded(root=own_tree)
    path = own_tree / "val/n04_rocket/n04_3.JPEG"
    spoil(path, how)
    with pytest.raises(InputError, match="any more") as caught:
        list(data.batches("test", 10))
    assert str(caught.value).count(".JPEG") == 1 and str(path) in str(caught.value)


def test_a_file_that_is_gone(loaded: Load, own_tree: Path) -> None:
    data = loaded(root=own_tree)
    path = own_tree / "val/n04_rocket/n04_3.JPEG"
    path.unlink()
    with pytest.raises(InputError, match=r"n04_3\.JPEG \(cannot be read: No such file or directory\)"):
        list(data.batches("test", 10))


def test_in_a_shard_the_image_is_named(loaded: Load, packed: Path, tmp_path: Path) -> None:
    for file in packed.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = loaded("tar", root=tmp_path)
    third = list(shards.images_in(tmp_path, "test-00001.tar"))[2]
    with (tmp_path / "test-00001.tar").open("r+b") as tar:
        tar.seek(third.offset)
        tar.write(bytes(third.size))
    with pytest.raises(InputError, match=r"test-00001\.tar:00000002\.jpg \(not an image\)"):
        list(data.batches("test", 10))


def test_an_error_with_no_broken_file_says_so(loaded: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.data.imagenet import dali_loader  # not before it is known to be installed

    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("Critical error in pipeline:\nCUDA driver error: out of memory\nsee the log")

    monkeypatch.setattr(dali_loader, "DALIGenericIterator", fail)
    with pytest.raises(RuntimeError, match=r"CUDA driver error: out of memory; no broken image was found among"):
        train(loaded())


@pytest.mark.parametrize("how", [how if how == "png" else pytest.param(how, marks=pytest.mark.slow) for how in ODD])
def test_what_the_scan_keeps_dali_decodes(loaded: Load, own_tree: Path, how: str) -> None:
    for path in own_tree.glob("*/n0[12]*/*"):
        spoil(path, how)
    assert scan.main([str(own_tree)]) == 0
    data = loaded(root=own_tree)
    train(data)
    assert sum(len(labels) for _, labels in data.batches("test", 50)) == 72


@each_slowly
def test_what_the_scan_leaves_out_is_not_read(loaded: Load, own_tree: Path, how: str) -> None:
    for path in own_tree.glob("*/*/*_5.JPEG"):
        spoil(path, how)
    assert scan.main([str(own_tree)]) == 0
    with pytest.raises(InputError, match=r"12 of 312 images cannot be used: train/n01_astronaut/n01_5\.JPEG"):
        loaded(root=own_tree)
    data = loaded(root=own_tree, max_excluded_share=0.05)
    assert sum(map(data.num_images, ("train", "val", "test"))) == 300
    train(data)
    assert sum(len(labels) for _, labels in data.batches("test", 50)) == 66


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("\n", ",,,\n", r"line 3 of the rows"),
        (",1,\n", ",yes,\n", r"used 0 or 1"),
        (",1,\n", ",2,\n", r"used 0 or 1"),
        (
            "train/n01_astronaut/n01_0",
            "train/n01_astronaut/n01_1",
            r"more than one row: train/n01_astronaut/n01_1\.JPEG",
        ),
    ],
)
def test_a_manifest_edited_in_a_wrong_way(own_tree: Path, loaded: Load, old: str, new: str, told: str) -> None:
    manifest = own_tree / "manifest.csv"
    lines = manifest.read_text().splitlines(keepends=True)
    lines[4 if "n01" not in old else 2] = lines[4 if "n01" not in old else 2].replace(old, new)
    manifest.write_text("".join(lines))
    with pytest.raises(InputError, match=told):
        loaded(root=own_tree)


def test_a_manifest_from_another_editor(own_tree: Path, loaded: Load) -> None:
    base = loaded(root=own_tree).data_id
    manifest = own_tree / "manifest.csv"
    manifest.write_bytes(manifest.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert loaded(root=own_tree).data_id == base


def test_what_is_no_image_is_not_used_by_hand(own_tree: Path, loaded: Load) -> None:
    shutil.copy(own_tree / "val/n01_astronaut/n01_0.JPEG", own_tree / "val/n01_astronaut/x.bak")
    assert scan.main([str(own_tree)]) == 0
    manifest = own_tree / "manifest.csv"
    text = manifest.read_text()
    assert "0,wrong extension .bak" in text
    manifest.write_text(text.replace("0,wrong extension .bak", "1,wrong extension .bak"))
    with pytest.raises(InputError, match=r"of no class of train, or no image: val/n01_astronaut/x\.bak"):
        loaded(root=own_tree)


def test_a_tree_without_a_test_set_is_told_by_the_scan(
    own_tree: Path, loaded: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(own_tree / "val")
    assert scan.main([str(own_tree)]) == 0
    assert "no image in val/: there is no test set" in capsys.readouterr().out
    with pytest.raises(InputError, match="has no image for test that can be used"):
        loaded(root=own_tree)
