"""ImageNet through torchvision: against its own ImageFolder and transforms, on ranks, and with files that break."""

import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.failing_files import fail_to_open
from support.photos import BROKEN, CLASSES, ODD, encoded, write_tree
from support.trial_processes import ROOT
from torch import Tensor

from suite.config import ImageNetSettings, InputError
from suite.data.imagenet import loaders, manifest
from suite.data.imagenet import scan as scan_command
from suite.data.imagenet import tree as image_tree
from suite.data.imagenet.listing import Listing
from suite.data.imagenet.probe import Probe
from suite.data.imagenet.torchvision_loader import FolderData
from suite.torchvision_shim import torchvision

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Batches = list[tuple[Tensor, Tensor]]
BMP = encoded(Image.new("RGB", (40, 30)), "BMP")
GARBLED = {  # where Pillow raises no OSError
    "PPM": lambda content: encoded(Image.new("RGB", (40, 30)), "PPM").replace(b"255", b"C55"),
    "BMP": lambda content: BMP[:30] + b"\2" + BMP[31:],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with some odd images, and one that was broken when it was scanned."""
    folder = write_tree(tmp_path_factory.mktemp("tree"), {"train": 6, "val": 3}, 4, shrink=2)
    for i, change in enumerate(ODD.values()):
        for path in (folder / f"train/{CLASSES[i]}/{CLASSES[i][:3]}_1.JPEG", folder / f"val/{CLASSES[i]}/odd.JPEG"):
            path.write_bytes(change((folder / f"train/{CLASSES[i]}/{CLASSES[i][:3]}_2.JPEG").read_bytes()))
    (folder / "val" / CLASSES[0] / "tall.JPEG").write_bytes(encoded(Image.new("RGB", (33, 400), (9, 200, 3))))
    (folder / "train" / CLASSES[0] / "broken.JPEG").write_bytes(b"")
    scan(folder)
    return folder


def scan(root: Path) -> None:
    rows = []
    for tree in ("train", "val"):
        for path, label in torchvision.datasets.ImageFolder(root / tree).samples:
            rows.append(Probe().examine(root, os.path.relpath(path, root), label))
    manifest.write(root / "manifest.csv", rows)


def load(root: Path, workers: int = 0, **changes: Any) -> FolderData:
    settings = ImageNetSettings(
        name="imagenet",
        loader="torchvision",
        root=str(root),
        val_share=0.25,
        image_size=64,
        resize=80,
        max_excluded_share=0.2,
        loader_threads=workers,
        **changes,
    )
    data = loaders.make(settings, root, device="cpu", channels_last=False, should_stop=lambda: False)
    assert isinstance(data, FolderData)
    return data


def same(one: Iterable[tuple[Tensor, Tensor]], other: Iterable[tuple[Tensor, Tensor]]) -> bool:
    pairs = list(zip(list(one), list(other), strict=True))
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in pairs)


def by_hand(root: Path, split: str) -> Batches:
    """Images of a split as torchvision alone makes them."""
    v2 = torchvision.transforms.v2
    to_floats = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    pixels = v2.Compose([v2.Resize(80, antialias=True), v2.CenterCrop(64), *to_floats])
    files = image_tree.files_of(manifest.read(root / "manifest.csv", root), root, 0.25)
    found = []
    for tree, here in (("train", {"train", "val"}), ("val", {"test"})):
        wanted = {str(root / files.name(i)) for i in files.splits[split]} if split in here else set()  # type: ignore[index]
        folder = torchvision.datasets.ImageFolder(root / tree, loader=lambda path: path)
        found += [
            (pixels(Image.open(path).convert("RGB")), torch.tensor(label)) for path, label in folder if path in wanted
        ]
    return found


def test_order_classes_and_labels_are_those_of_imagefolder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "suite.data.imagenet.scan.ProcessPoolExecutor", lambda workers, context: ThreadPoolExecutor(workers)
    )
    names = ["b/x.JPEG", "b/X.jpg", "b/10.JPG", "b/9.jpeg", "B/sub/deep/z.JPEG", "B/sub/a.jpeg", "B/t.JPEG"]
    names += ["a b/1.Jpeg", "a-b/1.JPEG", "a/z/1.JPEG", "a/z.JPEG", "a/z-1/0.JPEG", "ä/ü.JPEG", "Z/q.jPg", "a.b/1.JPG"]
    names += [f"{name}/2.JPEG" for name in ("a b", "a-b", "ä", "Z", "a.b")]
    random.Random(1).shuffle(names)
    for name in [f"{tree}/{name}" for tree in ("train", "val") for name in names] + ["elsewhere/linked.JPEG"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(Image.new("RGB", (40, 30))))
    (tmp_path / "train" / "no class.JPEG").write_bytes(b"")
    (tmp_path / "train" / "a" / "link").symlink_to(tmp_path / "elsewhere")
    found = scan_command.scan(Listing(tmp_path), tmp_path / "manifest.csv", workers=2)
    for tree in ("train", "val"):
        theirs = torchvision.datasets.ImageFolder(tmp_path / tree).samples
        assert [(str(tmp_path / row.path), row.label) for row in found if row.path.startswith(f"{tree}/")] == theirs
    files = image_tree.files_of(found, tmp_path, 0.5)
    assert [(str(tmp_path / files.name(i)), int(label)) for i, label in enumerate(files.labels)] == [
        sample for tree in ("train", "val") for sample in torchvision.datasets.ImageFolder(tmp_path / tree).samples
    ]


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_is_that_of_torchvision_bit_for_bit(root: Path, split: Any) -> None:
    images, labels = (torch.cat(parts) for parts in zip(*load(root).batches(split, 7), strict=True))
    theirs = by_hand(root, split)
    assert torch.equal(labels, torch.stack([label for _, label in theirs]))
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert torch.equal(images, torch.stack([image for image, _ in theirs]))
    assert len(labels) == load(root).num_images(split)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing_nor_the_global_generator(root: Path) -> None:
    torch.manual_seed(3)
    state, found = torch.get_rng_state(), {}
    for workers in (0, 2):
        data = load(root, workers)
        for kind, batches in (("train", data.train_batches(4, 1, 4)), ("test", data.batches("test", 5))):
            found[kind, workers] = list(batches)
            assert torch.equal(torch.get_rng_state(), state), (kind, workers)
    assert same(found["train", 0], found["train", 2]) and same(found["test", 0], found["test", 2])


def test_an_epoch_goes_on_at_any_batch(root: Path) -> None:
    data = load(root)
    whole = list(data.train_batches(4, 2, 4))
    assert len(whole) == data.num_images("train") // 4 == data.num_epoch_images(4) // 4 > 2
    for first in range(len(whole) + 1):
        assert same(whole[first:], data.train_batches(4, 2, 4, first=first))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_batches(root: Path, world: int) -> None:
    data = load(root)
    shares = [list(data.train_batches(1, 0, 6, rank=rank, world_size=world)) for rank in range(world)]
    for batch, *parts in zip(data.train_batches(1, 0, 6), *shares, strict=True):
        images, labels = (torch.stack(part, 1).flatten(0, 1) for part in zip(*parts, strict=True))
        assert torch.equal(images, batch[0]) and torch.equal(labels, batch[1])
    shares = [list(data.batches("test", 4, rank=rank, world_size=world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    together = [batch for share in shares for batch in share]
    images, labels = (torch.cat(parts) for parts in zip(*together, strict=True))
    assert same([(images, labels)], data.batches("test", 100))


def test_ranks_without_an_image_get_empty_batches(root: Path) -> None:
    data = load(root)
    num = data.num_images("val")
    shares = [list(data.batches("val", 1, rank=rank, world_size=num - 1)) for rank in range(num - 1)]
    assert {len(share) for share in shares} == {2}
    assert sum(len(labels) for share in shares for _, labels in share) == num
    assert all(images.shape[1:] == (3, 64, 64) for share in shares for images, _ in share)


def test_random_numbers_of_others_are_not_used(root: Path) -> None:
    data = load(root)
    torch.manual_seed(0)
    one = list(data.train_batches(1, 0, 6))
    torch.manual_seed(1)
    assert same(one, data.train_batches(1, 0, 6))


def test_seeds_and_epochs_give_other_crops(root: Path) -> None:
    data = load(root)
    num = data.num_images("train")
    found = {key: next(iter(data.train_batches(*key, num))) for key in ((0, 0), (0, 1), (1, 0))}
    assert len({images.sort(0).values.sum().item() for images, _ in found.values()}) == 3
    assert len({tuple(labels.tolist()) for _, labels in found.values()}) == 3
    assert len({tuple(labels.sort().values.tolist()) for _, labels in found.values()}) == 1
    images = found[0, 0][0]
    assert len(torch.unique(images.flatten(1), dim=0)) == num  # no two images have one crop


@pytest.mark.parametrize(
    ("workers", "kind"),
    [
        *((0, kind) for kind in ("cut in half", "zero bytes", "text", "gone", *GARBLED)),
        pytest.param(2, "cut in half", marks=pytest.mark.slow),
    ],
)
def test_a_file_that_broke_since_the_scan_is_named(tmp_path: Path, workers: int, kind: str) -> None:
    root = write_tree(tmp_path / "tree", {"train": 4, "val": 1}, 2)
    scan(root)
    data = load(root, workers)
    path = root / data._files.name(int(data._files.splits["train"][3]))
    path.unlink() if kind == "gone" else path.write_bytes({**BROKEN, **GARBLED}[kind](path.read_bytes()))
    with pytest.raises(InputError, match=rf"{path}: cannot be decoded any more .*run python -m .*\.imagenet\.scan"):
        list(data.train_batches(0, 0, 2))
    if workers:  # they take seconds to start
        return
    path = root / data._files.name(int(data._files.splits["test"][1]))
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=f"{path}: cannot be decoded any more"):
        list(data.batches("test", 2))


def test_channels_last(root: Path) -> None:
    data = load(root)
    settings = data.settings
    last = loaders.make(settings, root, device="cpu", channels_last=True, should_stop=lambda: False)
    assert same(last.batches("val", 4), data.batches("val", 4))
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x, _ in last.train_batches(0, 0, 4))
    assert (data.state(), data.resume_conditions(0, 4, 1), data.in_channels, data.num_classes) == (b"", {}, 3, 4)


def test_images_that_are_read_at_the_second_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a scan nor an epoch leaves out an image whose disk failed once."""
    root = write_tree(tmp_path / "tree", {"train": 4, "val": 1}, 2)
    path = next((root / "train").rglob("*.JPEG"))
    with monkeypatch.context() as patch:
        fail_to_open(patch, path, times=2)
        assert Probe().examine(root, str(path.relative_to(root)), 0) == Probe().examine(
            root, str(path.relative_to(root)), 0
        )
        assert Probe().examine(root, str(path.relative_to(root)), 0).used
    scan(root)
    data, errors = load(root), [OSError(errno.EIO, os.strerror(errno.EIO)) for _ in range(2)]
    quiet = list(data.train_batches(0, 0, 2))

    def failing(path: Path, *args: Any) -> Any:
        if errors:
            raise errors.pop()
        return open(path, *args)

    monkeypatch.setattr(torchvision.datasets.folder, "open", failing, raising=False)
    assert same(data.train_batches(0, 0, 2), quiet) and not errors


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount another /dev/shm")
def test_too_little_shared_memory_has_its_cure(root: Path) -> None:
    code = (
        "from suite.config import ImageNetSettings; from suite.data.imagenet import loaders; from pathlib import Path\n"
        "if __name__ == '__main__':\n"
        f"    s = ImageNetSettings(name='imagenet', loader='torchvision', root={str(root)!r}, val_share=0.4,"
        " max_excluded_share=0.5, loader_threads=1)\n"
        "    d = loaders.make(s, Path('/'), device='cpu', channels_last=False, should_stop=lambda: False)\n"
        "    list(d.batches('test', 8))\n"
    )
    mounted = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"', "sh"]
    script = root.parent / "load.py"
    script.write_text(code)
    done = subprocess.run(
        [*mounted, sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert "InputError: /dev/shm: has 1 MiB, too little for the batches of 1 workers: make it larger" in done.stderr
