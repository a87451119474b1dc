"""Which image goes where: splits of a tree, batches of ranks, what decoders are given, and who is to blame."""

import logging
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.photos import BROKEN, ODD, encoded

from suite.config import ImageNetSettings, InputError
from suite.data.arrays import shard_range
from suite.data.imagenet import dali_sources, loader_base, loaders, shards, synthetic, tree
from suite.data.imagenet.broken_files import Encoded, diagnose_decode_error, summarize_error
from suite.data.imagenet.manifest import Row
from suite.data.imagenet.shards import Index, Member, Shard
from suite.stopping import Stopped

SETTINGS = ImageNetSettings(name="imagenet", shuffle_buffer=5)
WORLDS = (1, 2, 3, 4, 6)
SIZES: dict[shards.SplitName, tuple[int, ...]] = {"train": (5, 1, 8, 3, 6), "val": (4, 3), "test": (1, 1, 5, 2)}


@pytest.fixture
def shard_source(tmp_path: Path) -> dali_sources.ShardSource:
    """Shards of which there is only the index: image i of shard s begins at byte 1000 * (i + 1)."""
    splits: dict[shards.SplitName, list[Shard]] = {}
    for split, sizes in SIZES.items():
        splits[split] = []
        for number, num in enumerate(sizes):
            name = f"{split}-{number:05d}.tar"
            pairs = [
                (Member(f"{i:08d}.jpg", 1000 * (i + 1), 7), Member(f"{i:08d}.cls", 1000 * (i + 1) + 512, 8))
                for i in range(num)
            ]
            (tmp_path / shards.index_of(name)).write_text(text := shards.index_text(pairs))
            splits[split].append(Shard(file=name, num_images=num, size=1, sha256="", index_size=len(text)))
    index = Index(data_id="d", num_classes=4, val_share=0.1, seed=0, shard_mb=1, splits=splits)
    return dali_sources.ShardSource(tmp_path, index, SETTINGS)


@pytest.fixture
def tree_source(tmp_path: Path) -> dali_sources.TreeSource:
    return dali_sources.TreeSource(tree.files_of(made_up(30), tmp_path, 0.2), SETTINGS)


@pytest.fixture(params=["shard_source", "tree_source"])
def source(request: pytest.FixtureRequest) -> dali_sources.Source:
    found: dali_sources.Source = request.getfixturevalue(request.param)
    return found


def given(feed: dali_sources.Feed) -> list[tuple[str, int]]:
    """The images of a feed; what its reader is told must be the same ones."""
    found = [(str(image.path), image.offset) for image in feed.encoded()]
    kind, told = feed.reader()
    if kind == "file":
        lines = Path(told["file_list"]).read_text().splitlines()
        assert [os.path.join(told["file_root"], line.rpartition(" ")[0]) for line in lines] == [p for p, _ in found]
        assert all(int(line.rpartition(" ")[2]) == int(line.split("/")[1][1]) for line in lines)
    else:
        read = []
        for path, index in zip(told["paths"], told["index_paths"], strict=True):
            head, *lines = Path(index).read_text().splitlines()
            assert head == f"v1.2 {len(lines)}" and lines
            read += [(path, int(line.split()[1])) for line in lines]
        assert read == found
    assert told["dont_use_mmap"] is True
    feed.close()
    return found


def whole(source: dali_sources.Source, split: shards.SplitName) -> list[tuple[str, int]]:
    return given(source.evaluation(split, 0, source.sizes[split]))


def test_the_ranks_of_an_epoch_get_each_image_once(source: dali_sources.Source) -> None:
    everything = set(whole(source, "train"))
    assert len(everything) == source.sizes["train"]
    for world in WORLDS:
        for batch in (world, 2 * world, 12):
            shares = [given(source.training(3, 1, batch, rank, world)) for rank in range(world)]
            num = source.sizes["train"] // batch * batch
            assert [len(share) for share in shares] == [num // world] * world
            together = [image for share in shares for image in share]
            assert len(set(together)) == num and set(together) <= everything


def test_evaluation_gives_each_image_once_in_order(source: dali_sources.Source) -> None:
    for split, num in source.sizes.items():
        everything = whole(source, split)
        assert len(set(everything)) == num
        for world in (1, 2, 3, 5):
            spans = [shard_range(num, rank=rank, world_size=world) for rank in range(world)]
            assert [image for span in spans for image in given(source.evaluation(split, *span))] == everything


def test_epochs_and_seeds_differ_and_come_again(source: dali_sources.Source) -> None:
    orders = {(s, e): given(source.training(s, e, 4, 0, 2)) for s in (0, 1, 2) for e in (0, 1, 2)}
    assert len(set(map(tuple, orders.values()))) > 6  # there are few shards
    assert all(given(source.training(*key, 4, 0, 2)) == order for key, order in orders.items())


def test_what_makes_no_whole_batch_is_another_rest_in_each_epoch(source: dali_sources.Source) -> None:
    everything = set(whole(source, "train"))
    rests = [everything - set(given(source.training(0, epoch, 9, 0, 1))) for epoch in range(40)]
    assert {len(rest) for rest in rests} == {len(everything) % 9}
    assert len(set(map(frozenset, rests))) > 4 and not set.intersection(*rests)


def test_no_image_is_left_out_more_often_than_others(source: dali_sources.Source) -> None:
    everything, epochs = set(whole(source, "train")), 60
    taken = Counter(image for epoch in range(epochs) for image in given(source.training(0, epoch, 9, 0, 1)))
    mean = sum(taken.values()) / len(everything)
    assert set(taken) == everything and min(taken.values()) > mean / 2
    assert max(taken.values()) < epochs  # each one is left out too: the first images of a shard as its last ones


def test_what_only_the_reader_needs_goes(
    shard_source: dali_sources.ShardSource, tree_source: dali_sources.TreeSource
) -> None:
    feed = shard_source.training(0, 0, 9, 0, 3)
    _, told = feed.reader()
    made = [Path(path) for path in told["index_paths"] if "suite-index-" in path]
    assert made and told["random_shuffle"] and told["initial_fill"] == 5
    feed.close()
    assert not any(path.exists() for path in made)
    listed = tree_source.evaluation("val", 0, 2)
    _, told = listed.reader()
    listed.close()
    assert not Path(told["file_list"]).exists()


def test_labels(shard_source: dali_sources.ShardSource, tree_source: dali_sources.TreeSource) -> None:
    labels = [0, 7, 42, 999, 12345678]
    raw = torch.tensor([list(b"%08d" % label) for label in labels], dtype=torch.uint8)
    feed = shard_source.evaluation("val", 0, 1)
    assert feed.labels(raw).tolist() == labels and feed.labels(raw).dtype == torch.int64
    feed.close()
    feed = tree_source.evaluation("val", 0, 1)
    got = feed.labels(torch.tensor([[3], [999]], dtype=torch.int32))
    assert got.tolist() == [3, 999] and got.dtype == torch.int64
    assert feed.labels(torch.tensor([[3]], dtype=torch.int32)).shape == (1,)
    feed.close()


@pytest.mark.parametrize("batch_size", [6, 12, 18])
def test_a_batch_has_the_same_images_for_any_number_of_ranks(batch_size: int) -> None:
    images = np.arange(100, 177)
    for epoch in range(3):
        of = {w: [batches(images, epoch, batch_size, rank, w) for rank in range(w)] for w in (1, 2, 3, 6)}
        alone = of[1][0]
        assert alone.shape == (77 // batch_size, batch_size) and len(set(alone.ravel())) == alone.size
        assert set(alone.ravel()) <= set(images)
        for world, shares in of.items():
            assert {share.shape for share in shares} == {(77 // batch_size, batch_size // world)}
            assert (np.sort(np.concatenate(shares, axis=1)) == np.sort(alone)).all()


def batches(images: Any, epoch: int, batch_size: int, rank: int = 0, world_size: int = 1, seed: int = 5) -> Any:
    return loader_base.rank_batches(
        images, seed=seed, epoch=epoch, batch_size=batch_size, rank=rank, world_size=world_size
    )


def test_another_order_in_each_epoch() -> None:
    images = np.arange(77)
    orders = [batches(images, epoch, 7, seed=seed).ravel() for epoch in range(4) for seed in range(3)]
    assert all(sorted(order) == list(range(77)) for order in orders)
    assert len({tuple(order) for order in orders}) == 12
    assert batches(images, 0, 100).shape == (0, 100)


def photo(path: Path, seed: int) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path.write_bytes(encoded(Image.fromarray(small).resize((40, 30))))
    return path.read_bytes()


def test_the_broken_images_are_named(tmp_path: Path) -> None:
    changes: list[Callable[[bytes], bytes]] = [*BROKEN.values(), *ODD.values()]
    changes += [lambda content: content] * 8
    random.Random(0).shuffle(changes)
    files, members, content = [], [], b"junk" * 30
    for i, change in enumerate(changes):
        path = tmp_path / f"{i:02d}.JPEG"
        path.write_bytes(image := change(photo(path, i)))
        files.append(Encoded(str(path), path))
        members.append(Encoded(f"x.tar:{i:08d}.jpg", tmp_path / "x.tar", len(content), len(image)))
        content += image + bytes(-len(image) % 512)
    (tmp_path / "x.tar").write_bytes(content)
    files.append(Encoded("gone.JPEG", tmp_path / "gone.JPEG"))
    broken = [i for i, change in enumerate(changes) if change in BROKEN.values()]
    for images, more in ((files, ["gone.JPEG"]), (members, [])):
        error = diagnose_decode_error(RuntimeError("x"), iter(images), 3, lambda: False)
        assert isinstance(error, InputError) and "cannot be decoded any more" in str(error)
        assert [image.name for image in images if f"{image.name} (" in str(error)] == [
            *(images[i].name for i in broken),
            *more,
        ]


def test_no_broken_image_many_and_asked_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    photo(path := tmp_path / "a.JPEG", 0)
    error = diagnose_decode_error(ValueError("CUDA error: no"), [Encoded("a.JPEG", path)], 1, lambda: False)
    assert type(error) is RuntimeError and "no broken image was found among the 1 of this process" in str(error)
    assert "CUDA error: no" in str(error) and "CUDA error: no" in caplog.text
    path.write_bytes(b"")
    error = diagnose_decode_error(ValueError(), [Encoded(f"{i}.JPEG", path) for i in range(1100)], 2, lambda: False)
    assert "9.JPEG (zero bytes) and 1090 more: restore" in str(error) and "10.JPEG" not in str(error)
    asked: list[int] = []
    with pytest.raises(Stopped, match="the same command goes on"):
        diagnose_decode_error(
            ValueError(), [Encoded("a.JPEG", path)] * 3000, 2, lambda: asked.append(1) or len(asked) == 3
        )
    assert len(asked) == 3
    long = "Critical error in pipeline:\nError in operator\nencountered:\n\n Assert on x\nCurrent pipeline ..."
    assert [summarize_error(ValueError(said)) for said in ("", "a\nb", long)] == ["ValueError", "a", "Assert on x"]


@pytest.mark.parametrize("output", ["fp32", "fp16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_synthetic_images(output: str, channels_last: bool, tmp_path: Path) -> None:
    settings = ImageNetSettings(name="imagenet", loader="synthetic", num_images=1000, image_size=32, output=output)
    state = torch.get_rng_state()
    data = loaders.make(settings, tmp_path, device="cpu", channels_last=channels_last, should_stop=lambda: False)
    assert isinstance(data, synthetic.SyntheticData) and (data.num_classes, data.image_size) == (1000, 32)
    assert [data.num_images(split) for split in ("train", "val", "test")] == [990, 10, 10]
    assert data.num_epoch_images(64) == 960
    for world in (1, 2):
        train = list(data.train_batches(0, 0, 64, first=3, rank=world - 1, world_size=world))
        assert len(train) == 12
        for images, labels in train:
            assert images.shape == (64 // world, 3, 32, 32) and labels.shape == (64 // world,)
            assert images.dtype == (torch.float16 if output == "fp16" else torch.float32)
            layout = torch.channels_last if channels_last else torch.contiguous_format
            assert images.is_contiguous(memory_format=layout)
            assert labels.dtype == torch.int64 and 0 <= labels.min() <= labels.max() < 1000
    shares = [[len(labels) for _, labels in data.batches("val", 4, rank=rank, world_size=3)] for rank in range(3)]
    assert shares == [[3], [3], [4]]
    assert (data.state(), data.resume_conditions(0, 64, 1)) == (b"", {})
    assert torch.equal(state, torch.get_rng_state())


def test_synthetic_data_is_as_large_as_imagenet() -> None:
    settings = ImageNetSettings(name="imagenet", loader="synthetic")
    data = synthetic.SyntheticData(settings, device=torch.device("cpu"), channels_last=False)
    assert [data.num_images(split) for split in ("train", "val", "test")] == [1_281_167 - 12_812, 12_812, 50_000]


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert loader_base.num_threads(SETTINGS, None) == 12
    assert [loader_base.num_threads(SETTINGS, cpus) for cpus in (20.0, 4.0, 2.5, 0.5)] == [12, 4, 2, 1]
    for processes, threads in ((4, 3), (5, 2), (12, 1), (16, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert loader_base.num_threads(SETTINGS, None) == threads
    assert loader_base.num_threads(SETTINGS.model_copy(update={"loader_threads": 7}), 4.0) == 7


def of_split(files: tree.Files) -> dict[str, set[str]]:
    return {split: {files.name(i) for i in positions} for split, positions in files.splits.items()}


def made_up(num: int = 2000, changes: Callable[[Row], Row] = lambda row: row) -> list[Row]:
    rows = [Row(f"train/c{i % 4}/{i:05d}.JPEG", 10, 99, i % 4, i, True, "") for i in range(num)]
    rows += [Row(f"val/c{i % 4}/{i}.JPEG", 10, 99, i % 4, i, True, "") for i in range(8)]
    return [changes(row) for row in sorted(rows)]


def test_one_hundredth_of_each_class_is_held_out(tmp_path: Path) -> None:
    files = tree.files_of(made_up(), tmp_path, 0.01)
    assert {split: len(positions) for split, positions in files.splits.items()} == {"train": 1980, "val": 20, "test": 8}
    assert Counter(files.labels[files.splits["val"]].tolist()) == dict.fromkeys(range(4), 5)
    together = np.concatenate(list(files.splits.values()))
    assert sorted(together.tolist()) == list(range(2008))
    assert all((np.diff(positions) > 0).all() for positions in files.splits.values())
    again = tree.files_of(made_up(), tmp_path / "elsewhere", 0.01)
    assert of_split(again) == of_split(files) and again.data_id == files.data_id


def test_leaving_images_out_moves_no_other(tmp_path: Path) -> None:
    whole = of_split(tree.files_of(made_up(), tmp_path, 0.01))
    out = {*random.Random(0).sample(sorted(whole["train"]), 300), *sorted(whole["val"])[::2], min(whole["test"])}
    rows = made_up(changes=lambda row: row._replace(used=row.path not in out))
    files = tree.files_of(rows, tmp_path, 0.01)
    assert of_split(files) == {split: names - out for split, names in whole.items()}
    assert {files.name(i): int(label) for i, label in enumerate(files.labels)} == {
        row.path: row.label for row in rows if row.used
    }


def test_the_data_id(tmp_path: Path) -> None:
    name = "train/c1/00001.JPEG"
    only = {
        "content": lambda row: row._replace(crc32=row.crc32 + (row.path == name)),
        "label": lambda row: row._replace(label=2 if row.path == name else row.label),
        "used": lambda row: row._replace(used=row.path != name),
        "name": lambda row: row._replace(path="train/c1/00001.jpeg" if row.path == name else row.path),
    }
    base = tree.files_of(made_up(), tmp_path, 0.01).data_id
    ids = {kind: tree.files_of(made_up(changes=change), tmp_path, 0.01).data_id for kind, change in only.items()}
    ids["split"] = tree.files_of(made_up(), tmp_path, 0.02).data_id
    assert len({base, *ids.values()}) == len(ids) + 1
    dated = made_up(changes=lambda row: row._replace(mtime_ns=5, size=7, problem="CMYK"))
    assert tree.files_of(dated, tmp_path, 0.01).data_id == base


def test_too_few_to_hold_some_out(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"val_share: 0.001: is 2 of 2000 training images of 4 classes: must hold out one of each class",
    ):
        tree.files_of(made_up(), tmp_path, 0.001)
    with pytest.raises(InputError, match="has no image for test that can be used"):
        tree.files_of([row for row in made_up() if row.path.startswith("train/")], tmp_path, 0.01)


def test_few_left_out_are_logged_and_many_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    path = Path("/data/manifest.csv")
    tree.check_rows(made_up(), path, 0.0)
    assert not caplog.records
    out = [row.path for row in made_up()[::200]][:10]
    rows = made_up(changes=lambda row: row._replace(used=row.path not in out, problem="truncated"))
    which = "".join(rf".*{name} \(truncated\)" for name in out)
    with pytest.raises(InputError, match=rf"10 of 2,008 images cannot be used: {which}.*max_excluded_share \(0\.004\)"):
        tree.check_rows(rows, path, 0.004)
    tree.check_rows(rows, path, 10 / 2008)
    assert ["10 of 2,008 images cannot be used" in record.getMessage() for record in caplog.records] == [True]
    with pytest.raises(InputError, match=r" \(\) and 392 more: mend them"):
        tree.check_rows(made_up(changes=lambda row: row._replace(used=row.crc32 % 5 > 0)), path, 0.1)
    with pytest.raises(InputError, match="classes without a usable image in train: c0: mend or remove"):
        tree.check_rows(made_up(changes=lambda row: row._replace(used=row.label > 0)), path, 0.9)
