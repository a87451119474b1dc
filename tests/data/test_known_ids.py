"""What data is here, found without loading it: always what a trial would find, and soon when asked again."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from support.data_files import torchvision_class, write_cifar, write_idx
from support.photos import write_tree

from suite import data
from suite.config import Dataset
from suite.data import sources
from suite.data.imagenet import manifest, pack, scan, shards
from suite.data.known_ids import KnownIds

PHOTOS = {"name": "imagenet", "loader": "torchvision", "image_size": 32, "resize": 32, "val_share": 0.25}


def settings_of(name: str, **more: Any) -> Dataset:
    value: Dataset = TypeAdapter(Dataset).validate_python({"name": name, **more})
    return value


def photos(root: Path | str = "tree", **more: Any) -> Dataset:
    return settings_of(**{**PHOTOS, "root": str(root), **more})


def id_loaded(settings: Dataset, folder: Path) -> str:
    """As a trial finds it."""
    return data.load(settings, data_dir=folder, device="cpu").data_id


@pytest.fixture(autouse=True)
def _no_debian_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "debian")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets with a small tree of photos: one of them unusable, and one put aside by hand."""
    folder = tmp_path_factory.mktemp("data")
    root = write_tree(folder / "tree", {"train": 9, "val": 3}, 4)
    broken, aside = sorted(root.rglob("*.JPEG"))[:2]
    broken.write_bytes(b"")
    assert scan.main([str(root)]) == 0
    rows = manifest.read(root / manifest.NAME, root)
    name = aside.relative_to(root).as_posix()
    manifest.write(root / manifest.NAME, [row._replace(used=row.used and row.path != name) for row in rows])
    return folder


@pytest.fixture
def own(scanned: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(scanned, tmp_path / "data"))


# It is what a trial finds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num", [None, 100, 1257])
def test_digits(tmp_path: Path, num: int | None) -> None:
    settings = settings_of("digits", train_images=num)
    assert KnownIds(tmp_path)(settings) == id_loaded(settings, tmp_path)


def test_digits_are_known_without_torch(tmp_path: Path) -> None:
    """A sweep asks for them at the end of each trial."""
    code = (
        "import sys; from pydantic import TypeAdapter; from suite.config import Dataset; "
        "from suite.data.known_ids import KnownIds; "
        "assert KnownIds(None)(TypeAdapter(Dataset).validate_python({'name': 'digits'})); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("name", "place"), [("mnist", "MNIST/raw"), ("fashion_mnist", "debian")])
def test_idx_files(tmp_path: Path, name: str, place: str, zipped: bool) -> None:
    write_idx(tmp_path / place, zipped=zipped)
    for settings in (settings_of(name), settings_of(name, train_images=50)):
        assert KnownIds(tmp_path)(settings) == id_loaded(settings, tmp_path)


def test_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(torchvision_class("CIFAR10"), tmp_path, monkeypatch)
    settings = settings_of("cifar10")
    assert KnownIds(tmp_path)(settings) == id_loaded(settings, tmp_path)


@pytest.mark.parametrize("val_share", [0.25, 0.5])
def test_a_tree(scanned: Path, val_share: float) -> None:
    settings = photos(val_share=val_share, max_excluded_share=0.5)
    assert KnownIds(scanned)(settings) == id_loaded(settings, scanned)


@pytest.mark.dali
def test_shards(own: Path) -> None:
    assert pack.main([str(own / "tree"), str(own / "tar"), "--val-share", "0.25", "--max-excluded-share", "0.5"]) == 0
    settings = photos("tar", loader="dali", storage="tar")
    assert KnownIds(own)(settings) == id_loaded(settings, own) == KnownIds(own)(photos())
    (own / "tar" / shards.INDEX).write_text("{}")
    known = KnownIds(own)
    assert known(settings) is None and "is no index of shards" in known.problems["imagenet"]


def test_synthetic_images_are_no_data() -> None:
    known = KnownIds(None)
    assert known(photos("nowhere", loader="synthetic")) is None and not known.problems


def test_what_cannot_change_the_images_changes_nothing(own: Path) -> None:
    known = KnownIds(own)
    first = known(photos())
    (own / "list.csv").write_bytes((own / "tree" / manifest.NAME).read_bytes())
    shutil.copytree(own / "tree", own / "moved")
    os.utime(own / "tree" / manifest.NAME, (1, 1))
    for same in ({"loader_threads": 3}, {"max_excluded_share": 0.5}, {"manifest": "list.csv"}, {"root": "moved"}):
        assert known(photos(**same)) == first, same
    assert KnownIds(own / "elsewhere")(photos(own / "tree")) == first


# What is not here ----------------------------------------------------------------------------------------------------


ABSENT: dict[str, tuple[Dataset, str]] = {
    "a tree": (photos("none"), "no such file: run python -m suite.data.imagenet.scan"),
    "shards": (photos("none", loader="dali", storage="tar"), "index.json: no such file"),
    "idx files": (settings_of("mnist"), "its files are not in"),
    "cifar": (settings_of("cifar100"), "its files are not in"),
    "so many images": (settings_of("digits", train_images=5000), "dataset.train_images: 5000: must be from 10"),
}


@pytest.mark.parametrize("what", ABSENT)
def test_what_cannot_be_read_is_said_until_it_can(tmp_path: Path, what: str) -> None:
    settings, why = ABSENT[what]
    known = KnownIds(tmp_path, tmp_path / "ids.json")
    assert [known(settings), known(settings)] == [None, None]
    assert list(known.problems) == [settings.name] and why in known.problems[settings.name]
    assert not (tmp_path / "ids.json").exists()


def test_data_that_comes_later_is_found(tmp_path: Path) -> None:
    known = KnownIds(tmp_path)
    assert known(settings_of("mnist")) is None and known.problems
    write_idx(tmp_path / "MNIST/raw")
    assert known(settings_of("mnist")) == id_loaded(settings_of("mnist"), tmp_path)
    assert not known.problems


def test_a_list_that_is_garbled(own: Path) -> None:
    (own / "tree" / manifest.NAME).write_text("not a manifest\n")
    known = KnownIds(own)
    assert known(photos()) is None and "its first lines are not those of a manifest" in known.problems["imagenet"]


# What is kept --------------------------------------------------------------------------------------------------------


def refuse(*args: Any, **options: Any) -> Any:
    raise AssertionError("it was read again")


def test_what_was_found_is_not_read_again(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(own / "MNIST/raw")
    asked = [photos(), settings_of("mnist"), settings_of("mnist", train_images=50), settings_of("digits")]
    first = [KnownIds(own, own / "ids.json")(settings) for settings in asked]
    assert None not in first and len(set(first)) == 4
    monkeypatch.setattr(manifest, "read", refuse)
    monkeypatch.setattr(sources, "read", refuse)
    again = KnownIds(own, own / "ids.json")
    assert [again(settings) for settings in asked] == first
    assert again(photos(loader_threads=0)) == first[0]
    with pytest.raises(AssertionError, match="read again"):
        again(photos(val_share=0.5))
    with pytest.raises(AssertionError, match="read again"):
        KnownIds(own)(photos())


def replace_idx(folder: Path) -> None:
    """Other images in files of the same sizes and dates."""
    raw = folder / "MNIST/raw"
    dates = {path.name: path.stat().st_mtime_ns for path in raw.iterdir()}
    shutil.rmtree(raw)
    write_idx(raw, seed=7)
    for path in raw.iterdir():
        os.utime(path, ns=(dates[path.name], dates[path.name]))


def edit_manifest(folder: Path) -> None:
    path = folder / "tree" / manifest.NAME
    rows = manifest.read(path, folder / "tree")
    manifest.write(path, [row._replace(used=row.used and index != 20) for index, row in enumerate(rows)])


CHANGES: dict[str, tuple[Callable[[Path], None], Dataset]] = {
    "images of the same size and date": (replace_idx, settings_of("mnist")),
    "an edited manifest": (edit_manifest, photos(max_excluded_share=0.5)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_data_that_changes_is_read_again(own: Path, what: str) -> None:
    change, settings = CHANGES[what]
    write_idx(own / "MNIST/raw")
    known = KnownIds(own, own / "ids.json")
    first = known(settings)
    change(own)
    assert known(settings) == KnownIds(own, own / "ids.json")(settings) == id_loaded(settings, own) != first


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', '{"a": "b"', "\0"])
def test_a_cache_of_no_use(tmp_path: Path, content: str) -> None:
    (tmp_path / "ids.json").write_text(content)
    assert KnownIds(None, tmp_path / "ids.json")(settings_of("digits")) == id_loaded(settings_of("digits"), tmp_path)


def test_a_cache_that_cannot_be_kept(tmp_path: Path) -> None:
    for cache in (tmp_path / "none" / "ids.json", tmp_path):  # no such folder; a folder
        assert KnownIds(None, cache)(settings_of("digits")) == id_loaded(settings_of("digits"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_code_finds_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    KnownIds(None, tmp_path / "ids.json")(settings_of("digits"))
    monkeypatch.setattr("suite.records.source_code.source_id", lambda: "other")
    monkeypatch.setattr(sources, "data_id", lambda source: "anew")
    assert KnownIds(None, tmp_path / "ids.json")(settings_of("digits")) == "anew"
