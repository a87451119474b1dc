"""Packing into tar shards: what is in them, and that nothing that happens meanwhile makes them other ones."""

import csv
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.disks import fill, list_names
from support.trial_processes import ROOT

from suite.config import ImageNetSettings, InputError
from suite.data.imagenet import manifest, pack, shards
from suite.data.imagenet import tree as image_tree
from suite.data.imagenet.manifest import Row
from suite.data.imagenet.shards import Index

KILLED = """
import os, sys
left = [int(sys.argv.pop(1))]
def hook(event, arguments):
    if event == "os.rename":
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), 9)
sys.addaudithook(hook)
from suite import cli
from suite.data.imagenet import pack
pack._MB = 10**4
sys.exit(cli.run(pack.main))
"""
FLAGS = ("--shard-mb", "4", "--val-share", "0.1", "--max-excluded-share", "0.5")  # of 10^4 bytes: see `_small`


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "_MB", 10**4)


def scanned(root: Path, per_class: int = 30) -> Path:
    """A tree of random bytes, and a manifest that calls them images; some of them are not used."""
    rng, rows = np.random.default_rng(0), []
    for tree in ("train", "val"):
        for label, name in enumerate(("n01", "n02", "n10")):
            for i in range(per_class if tree == "train" else 8):
                path = root / tree / name / f"{name} {i:03d}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                content = rng.bytes(int(rng.integers(1, 4000)))
                path.write_bytes(content)
                rows.append(Row(str(path.relative_to(root)), len(content), 1, label, zlib.crc32(content), i != 3, ""))
    manifest.write(root / "manifest.csv", sorted(rows))
    return root


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scanned(tmp_path_factory.mktemp("tree"))


def packed(source: Path, target: Path, *flags: str) -> Index:
    assert pack.main([str(source), str(target), *FLAGS, *flags]) == 0
    return shards.read(target)


def samples(target: Path, index: Index, split: shards.SplitName) -> list[tuple[bytes, bytes]]:
    """Images and labels of a split, as Python's own reader of tar files finds them."""
    found = []
    for shard in index.splits[split]:
        with tarfile.open(target / shard.file) as tar:
            members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
        keys = [f"{i:08d}" for i in range(len(members) // 2)]
        assert [name for name, _ in members] == [name for key in keys for name in (f"{key}.jpg", f"{key}.cls")]
        found += [(image, label) for (_, image), (_, label) in zip(members[::2], members[1::2], strict=True)]
    return found


def tars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def wanted(source: Path, split: shards.SplitName) -> list[tuple[bytes, bytes]]:
    files = image_tree.files_of(manifest.read(source / "manifest.csv", source), source, 0.1)
    return [((source / files.name(i)).read_bytes(), b"%08d" % files.labels[i]) for i in files.splits[split]]


def test_shards_hold_the_images_of_each_split(source: Path, tmp_path: Path) -> None:
    index = packed(source, tmp_path)
    assert len(index.splits["train"]) > 2 and len(index.shards()) >= 5
    assert samples(tmp_path, index, "val") == wanted(source, "val")
    assert samples(tmp_path, index, "test") == wanted(source, "test")
    train = samples(tmp_path, index, "train")
    assert sorted(train) == sorted(wanted(source, "train")) and train != wanted(source, "train")
    for shard in index.shards():
        content = (tmp_path / shard.file).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard.size, shard.sha256)
        assert len(content) < 4 * 10**4 + 4000 + 20 * 512
    files = image_tree.files_of(manifest.read(source / "manifest.csv", source), source, 0.1)
    assert (index.data_id, index.num_classes) == (files.data_id, 3)
    assert {split: index.num_images(split) for split in index.splits} == {k: len(v) for k, v in files.splits.items()}


def test_the_table_says_which_image_is_where(source: Path, tmp_path: Path) -> None:
    index = packed(source, tmp_path)
    with (tmp_path / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(shard.num_images for shard in index.shards())
    for row in rows:
        with tarfile.open(tmp_path / row["shard"]) as tar:
            file = tar.extractfile(row["name"])
            assert file and file.read() == (source / row["path"]).read_bytes()
            label = tar.extractfile(row["name"].replace("jpg", "cls"))
            assert label and int(label.read()) == int(row["label"])


def test_the_index_says_where_images_lie(source: Path, tmp_path: Path) -> None:
    index = packed(source, tmp_path)
    for split in index.splits:
        images = [image for image, _ in samples(tmp_path, index, split)]
        found = []
        for shard in index.splits[split]:
            content = (tmp_path / shard.file).read_bytes()
            found += [content[m.offset : m.offset + m.size] for m in shards.images_in(tmp_path, shard.file)]
        assert found == images


@pytest.mark.slow
@pytest.mark.dali
def test_the_index_is_that_of_dalis_own_tool(source: Path, tmp_path: Path) -> None:
    index = packed(source, tmp_path)
    tool = Path(sys.executable).with_name("wds2idx")
    for shard in index.shards()[:3]:
        theirs = tmp_path / "theirs.idx"
        subprocess.run([tool, tmp_path / shard.file, theirs], check=True, capture_output=True)
        assert (tmp_path / shards.index_of(shard.file)).read_text() == theirs.read_text()


def test_part_of_an_index(source: Path, tmp_path: Path) -> None:
    text = (tmp_path / shards.index_of(packed(source, tmp_path).splits["train"][0].file)).read_text()
    head, *lines = text.splitlines()
    assert head == f"v1.2 {len(lines)}" and shards.part_of_index(text, range(len(lines))) == text
    assert shards.part_of_index(text, range(2, 5)).splitlines() == ["v1.2 3", *lines[2:5]]


def test_the_seed_alone_says_the_order(source: Path, tmp_path: Path) -> None:
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    one, two, three = packed(source, a), packed(source, b), packed(source, c, "--seed", "1")
    assert tars(a) == tars(b) and one == two
    assert (a / "index.json").read_bytes() == (b / "index.json").read_bytes()
    assert sorted(samples(a, one, "train")) == sorted(samples(c, three, "train"))
    assert samples(a, one, "train") != samples(c, three, "train")
    for split in ("val", "test"):
        assert samples(a, one, split) == samples(c, three, split)
    assert one.data_id == three.data_id


def temporaries(folder: Path) -> list[str]:
    return [name for name in list_names(folder) if re.fullmatch(r"\..*\.[0-9a-f]{16}", name)]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def killed(source: Path, target: Path, at: int) -> int:
    """The exit status of a packing that dies just before its ``at``-th file gets its name."""
    command = [sys.executable, "-c", KILLED, str(at), str(source), str(target), *FLAGS]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=env, check=False, capture_output=True).returncode


@pytest.mark.slow
def test_killed_at_any_file_it_goes_on(source: Path, tmp_path: Path) -> None:
    quiet = packed(source, tmp_path / "quiet")
    last = 2 * len(quiet.shards()) + 3  # the journal, each shard and its index, the table, the index
    for at in (1, 4, 7, last):
        target = tmp_path / str(at)
        assert killed(source, target, at) == -9
        before = {path.name: path.stat().st_mtime_ns for path in target.glob("*.tar")}
        assert len(before) == min(max(0, (at - 2) // 2), len(quiet.shards()))
        assert temporaries(target)
        assert not (target / "index.json").exists()
        journal = target / ".packing.jsonl"
        known = journal.read_text().count("sha256") if journal.exists() else 0
        assert packed(source, target) == quiet
        assert tars(target) == tars(tmp_path / "quiet")
        assert list_names(target) == list_names(tmp_path / "quiet") and not temporaries(target)
        kept = [name for name, mtime in before.items() if (target / name).stat().st_mtime_ns == mtime]
        assert len(kept) == known >= len(before) - 1


@pytest.mark.slow
def test_a_journal_cut_short(source: Path, tmp_path: Path) -> None:
    quiet, target = packed(source, tmp_path / "quiet"), tmp_path / "cut"
    assert killed(source, target, 8) == -9
    journal = target / ".packing.jsonl"
    whole = journal.read_bytes()
    for end in (len(whole) - 40,):
        journal.write_bytes(whole[:end])
        assert killed(source, target, 4) == -9  # and once more
        journal.write_bytes(journal.read_bytes()[:-3])
    assert packed(source, target) == quiet and tars(target) == tars(tmp_path / "quiet")


@pytest.mark.slow
def test_other_settings_in_the_same_folder(source: Path, tmp_path: Path) -> None:
    quiet = packed(source, tmp_path / "quiet")
    target = tmp_path / "target"
    killed(source, target, 4)
    before = tars(target)
    for flags in (("--seed", "1"), ("--shard-mb", "3"), ("--val-share", "0.2")):
        with pytest.raises(InputError, match=f"{target}: holds another packing: choose another folder"):
            packed(source, target, *flags)
    assert tars(target) == before
    assert packed(source, target) == quiet
    with pytest.raises(InputError, match="holds another packing"):
        packed(source, target, "--seed", "1")


def test_only_one_packs(source: Path, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process packs there"):
            packed(source, tmp_path)
        assert list_names(tmp_path) == [".lock"]
    packed(source, tmp_path)


def test_an_image_that_changed_since_the_scan(tmp_path: Path) -> None:
    source = scanned(tmp_path / "tree", 10)
    path = source / "train/n02/n02 004.JPEG"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        InputError, match=rf"{path}: has changed since it was scanned: run python -m .*\.imagenet\.scan"
    ):
        packed(source, tmp_path / "shards")
    path.unlink()
    with pytest.raises(InputError, match=rf"{path}: No such file or directory: run python"):
        packed(source, tmp_path / "shards")
    assert not list((tmp_path / "shards").glob(".train*"))
    path.write_bytes(content)
    assert packed(source, tmp_path / "shards").num_images("test") == 21


def test_a_full_disk(
    source: Path, tmp_path: Path, disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = disk(900) / "shards"
    target.mkdir()
    filler = fill(target.parent, leave=120)
    with pytest.raises(InputError, match=rf"{target}: \d+ MB are to be written, \d+ MB are free"):
        packed(source, target)
    assert not tars(target)
    monkeypatch.setattr(pack, "_check_space", lambda dst, todo: None)  # as where somebody else fills it meanwhile
    with pytest.raises(OSError, match="No space left on device") as caught:
        packed(source, target)
    assert str(caught.value.filename).startswith(str(target))
    before = {path: path.stat().st_mtime_ns for path in target.glob("*.tar")}
    assert before and not [name for name in list_names(target) if name.startswith(".train")]
    filler.unlink()
    quiet = packed(source, tmp_path / "quiet")
    assert packed(source, target) == quiet and tars(target) == tars(tmp_path / "quiet")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_finished_packing_again(source: Path, tmp_path: Path) -> None:
    quiet, index = packed(source, tmp_path), (tmp_path / "index.json").read_bytes()
    content, before = tars(tmp_path), stamps(tmp_path)
    for file, short in (("tar", 0), ("idx", 0), ("tar", 1), ("idx", 1), ("", 0)):
        if file:  # last, nothing is missing
            path = tmp_path / f"train-00001.{file}"
            os.truncate(path, path.stat().st_size - short) if short else path.unlink()
            with pytest.raises(InputError, match=r"train-00001\.tar: it or its index is missing or not whole: .*pack"):
                shards.read(tmp_path)
        with pytest.raises(InputError, match="holds another packing"):
            packed(source, tmp_path, "--seed", "1")
        assert packed(source, tmp_path) == quiet and tars(tmp_path) == content
        after = stamps(tmp_path)
        changed = {name for name in after if name[-4:] in (".tar", ".idx") and after[name] != before[name]}
        assert changed == ({"train-00001.tar", "train-00001.idx"} if file else set())
        assert (tmp_path / "index.json").read_bytes() == index and after.keys() == before.keys()
        before = after


@pytest.mark.slow
@pytest.mark.parametrize("place", [130, pytest.param(1000, marks=pytest.mark.slow)])  # in the first header, in an image
def test_a_damaged_shard_is_found_before_the_index_is_written(source: Path, tmp_path: Path, place: int) -> None:
    quiet, target = packed(source, tmp_path / "quiet"), tmp_path / "target"
    killed(source, target, 2 * len(quiet.shards()) + 2)
    path = target / "train-00001.tar"
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path}: was not what was written, and is deleted"):
        packed(source, target)
    assert not path.exists() and not (target / "index.json").exists()
    assert packed(source, target) == quiet and tars(target) == tars(tmp_path / "quiet")


def test_shards_that_are_not_whole(source: Path, tmp_path: Path) -> None:
    packed(source, tmp_path)
    index, tar, idx = tmp_path / "index.json", tmp_path / "train-00001.tar", tmp_path / "train-00001.idx"
    for path in (tar, idx):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(InputError, match=f"{tar}: it or its index is missing"):
            shards.read(tmp_path)
        path.write_bytes(content[:-1])
        with pytest.raises(InputError, match=f"{tar}: .*not whole"):
            shards.read(tmp_path)
        path.write_bytes(content)
    for garbled in (b"", b"{}", b"[1]", b"\xff", index.read_bytes()[:-20]):
        index.write_bytes(garbled)
        with pytest.raises(InputError, match=r"index\.json: is no index of shards .*pack them again"):
            shards.read(tmp_path)
    quiet = packed(source, tmp_path)  # what is garbled is made anew
    assert shards.read(tmp_path) == quiet
    idx.write_bytes(b"\xff" + idx.read_bytes()[1:])
    with pytest.raises(InputError, match="was not what was written"):
        packed(source, tmp_path)
    assert packed(source, tmp_path) == quiet
    index.unlink()
    for root in (tmp_path, tmp_path / "none", tar):
        with pytest.raises(InputError, match=rf"{root}/index.json: no such file: python -m .*\.imagenet\.pack SRC"):
            shards.read(root)


def test_the_share_held_out_must_be_that_of_the_shards(source: Path, tmp_path: Path) -> None:
    index = packed(source, tmp_path)
    settings = ImageNetSettings(name="imagenet", storage="tar", root=str(tmp_path), val_share=0.1)
    assert image_tree.read_shards(settings, tmp_path.parent) == index
    with pytest.raises(InputError, match=rf"val_share: 0\.01: must be 0\.1, with which {tmp_path} was packed"):
        image_tree.read_shards(settings.model_copy(update={"val_share": 0.01}), tmp_path.parent)


def test_too_many_unusable_images_are_not_packed(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images cannot be used"):
        packed(source, tmp_path, "--max-excluded-share", "0.001")
    with pytest.raises(SystemExit):
        packed(source, tmp_path, "--shard-mb", "0")
