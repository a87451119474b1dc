"""What a tree has before anything is decoded: classes, links, hidden files; what cannot be listed is refused."""

import os
import shutil
from pathlib import Path

import pytest

from suite.config import InputError
from suite.data.imagenet import scan
from suite.data.imagenet.listing import Listing
from suite.data.imagenet.probe import Probe
from suite.torchvision_shim import torchvision

CLASSES = ("n01", "n02", "n10")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two files in each class of ``train`` and ``val``; nobody opens them."""
    folder = tmp_path / "photos"
    for tree in ("train", "val"):
        for name in CLASSES:
            for number in range(2):
                put(folder, f"{tree}/{name}/{number}.jpg")
    return folder


def put(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def files_of(root: Path) -> list[tuple[str, int]]:
    return list(Listing(root).labelled_files())


def refused(root: Path) -> str:
    with pytest.raises(InputError) as info:
        files_of(root)
    return str(info.value)


def test_files_and_labels_are_those_of_image_folder(root: Path, tmp_path: Path) -> None:
    put(root, "train/n02/deep/er/x.jpg")
    put(tmp_path, "elsewhere/linked.jpg")
    (root / "train/n02/a-link").symlink_to(tmp_path / "elsewhere")
    (root / "train/n05").symlink_to(tmp_path / "elsewhere")  # a class on another disk
    (root / "val/n05").symlink_to(tmp_path / "elsewhere")
    samples = [s for tree in ("train", "val") for s in torchvision.datasets.ImageFolder(root / tree).samples]
    assert [(str(root / name), label) for name, label in files_of(root)] == samples


def test_a_tree_may_lack_a_test_set(root: Path) -> None:
    shutil.rmtree(root / "val")
    assert len(files_of(root)) == 6


@pytest.mark.parametrize(
    ("tree", "other", "cure"),
    [("train", "val", "lacks classes that val has: n99"), ("val", "train", "lacks classes that train has: n99")],
)
def test_classes_differ(root: Path, tree: str, other: str, cure: str) -> None:
    put(root, f"{other}/n99/0.jpg")
    assert refused(root) == f"{root / tree}: {cure}: add their folders, or remove them from {other}"


def test_many_classes_differ(root: Path) -> None:
    for number in range(40):
        put(root, f"train/m{number:02d}/0.jpg")
    assert "m00, m01" in refused(root) and "m09 and 30 more: add" in refused(root)


def test_hidden_files_and_folders_are_left_out(root: Path) -> None:
    before = files_of(root)
    hidden = ["train/.ipynb_checkpoints/a.jpg", "train/n01/._0.jpg", "val/n02/.thumbs/0.jpg", "train/.DS_Store"]
    for name in hidden:
        put(root, name)
    listing = Listing(root)
    assert list(listing.labelled_files()) == before
    assert sorted(listing.hidden) == [
        "train/.DS_Store",
        "train/.ipynb_checkpoints",
        "train/n01/._0.jpg",
        "val/n02/.thumbs",
    ]
    assert scan.report([], listing.hidden).splitlines()[-1].startswith("  4 hidden files or folders left out: ")


@pytest.mark.parametrize("place", ["train", "train/n02", "train/n03", "val", "val/n02"])
def test_a_link_to_a_disk_that_is_not_mounted(root: Path, tmp_path: Path, place: str) -> None:
    if (root / place).exists():
        shutil.rmtree(root / place)
    (root / place).symlink_to(tmp_path / "disk")
    assert (
        refused(root)
        == f"{root / place}: links to {tmp_path / 'disk'}, which is missing: mount its disk, or remove the link"
    )


@pytest.mark.parametrize("place", ["train/n01/again", "train/n03", "train/n01/deep/again", "val/n01/again"])
@pytest.mark.parametrize("up", ["the root", "the tree", "itself", "everything"])
def test_a_circle_of_links(root: Path, place: str, up: str) -> None:
    link = root / place
    link.parent.mkdir(exist_ok=True)
    target = {"the root": root, "the tree": link.relative_to(root).parts[0], "itself": link.parent, "everything": "/"}
    link.symlink_to(root / target[up])
    assert refused(root).startswith(f"{link}: links to ") and refused(root).endswith(
        "contains the link: remove the link"
    )


def test_a_link_to_itself(root: Path) -> None:
    (root / "train/n05").symlink_to("n05")
    assert refused(root).startswith(f"{root / 'train/n05'}: links to n05, which is missing")


def test_two_links_to_one_folder_are_no_circle(root: Path) -> None:
    (root / "train/n01/b").symlink_to(root / "train/n02")
    assert ("train/n01/b/0.jpg", 0) in files_of(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read a folder")
@pytest.mark.parametrize("place", ["train", "val", "train/n02", "train/n02/deep"])
def test_a_folder_that_cannot_be_listed(root: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (root / "train/n02/deep").mkdir()
    (root / place).chmod(0o000)
    monkeypatch.chdir(root)  # the folders above are root's alone
    os.seteuid(65534)
    try:
        said = refused(Path())
    finally:
        os.seteuid(0)
    assert said == f"{place}: cannot be listed (Permission denied): make it readable, or remove it"


def test_a_named_pipe_among_the_images(root: Path) -> None:
    path = root / "train/n01/0.jpg"
    path.unlink()
    os.mkfifo(path)
    row = Probe().examine(root, "train/n01/0.jpg", 0)
    assert (row.used, row.problem) == (False, "not a regular file")
