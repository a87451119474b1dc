"""What DALI's readers are given: which encoded images, in which order. Knows nothing of DALI but names of arguments.

Each rank gets exactly its own images, so DALI's sharding is not used: with one list per rank and epoch every image
comes once for any number of ranks, and an epoch can be begun anew from (seed, epoch) alone.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from suite.config import ImageNetSettings
from suite.data.arrays import batch_order
from suite.data.imagenet import shards
from suite.data.imagenet.broken_files import Encoded
from suite.data.imagenet.loader_base import rank_batches
from suite.data.imagenet.shards import LABEL_DIGITS, Index, Shard
from suite.data.imagenet.tree import Files
from suite.data.interface import SplitName
from suite.data.sources import Ints
from suite.methods.random import Stream, random_words


class Feed(Protocol):
    """The images of one pipeline."""

    def reader(self) -> tuple[str, dict[str, Any]]:
        """The name of DALI's reader, and its arguments."""

    def labels(self, raw: Tensor) -> Tensor:
        """int64 (B,), from what that reader gives."""

    def encoded(self) -> Iterator[Encoded]:
        """Where each image lies, for those who search for a broken one."""

    def close(self) -> None:
        """The reader has been built: what only it needed can go."""


class Source(Protocol):
    """All images of a data set, as feeds."""

    sizes: dict[SplitName, int]
    num_classes: int
    data_id: str
    train_id: str
    layout: str  # of the images on the disk, where their order depends on it

    def training(self, seed: int, epoch: int, batch_size: int, rank: int, world_size: int) -> Feed:
        """A rank's share of the whole batches of an epoch."""

    def evaluation(self, split: SplitName, start: int, end: int) -> Feed:
        """Images ``start`` to ``end`` - 1 of a split, in order."""


class TreeSource:
    """The files of a tree. Training is in the order of ``loader_base.rank_batches``."""

    def __init__(self, files: Files, settings: ImageNetSettings) -> None:
        self._files, self._settings = files, settings
        self.num_classes, self.layout = files.num_classes, "files"
        self.data_id, self.train_id = files.data_id, files.train_id
        self.sizes: dict[SplitName, int] = {split: len(positions) for split, positions in files.splits.items()}

    def training(self, seed: int, epoch: int, batch_size: int, rank: int, world_size: int) -> Feed:
        """See `Source`."""
        train = self._files.splits["train"]
        mine = rank_batches(train, seed=seed, epoch=epoch, batch_size=batch_size, rank=rank, world_size=world_size)
        return _ListedFiles(self._files, mine.flatten(), self._settings)

    def evaluation(self, split: SplitName, start: int, end: int) -> Feed:
        """See `Source`."""
        return _ListedFiles(self._files, self._files.splits[split][start:end], self._settings)


class _ListedFiles:
    """Files in a given order. DALI reads their names from a file in memory: 10 times faster than from arguments."""

    def __init__(self, files: Files, positions: Ints, settings: ImageNetSettings) -> None:
        self._files, self._positions, self._settings = files, positions, settings
        self._list = os.memfd_create("images")

    def reader(self) -> tuple[str, dict[str, Any]]:
        paths, labels = self._files.paths[self._positions].tolist(), self._files.labels[self._positions].tolist()
        with open(self._list, "wb", closefd=False) as file:
            file.writelines(b"%s %d\n" % line for line in zip(paths, labels, strict=True))
        return "file", {
            "file_list": f"/proc/self/fd/{self._list}",
            "file_root": str(self._files.root),
            "dont_use_mmap": not self._settings.mmap,
        }

    def labels(self, raw: Tensor) -> Tensor:
        """From int32 (B, 1)."""
        return raw.squeeze(-1).long()

    def encoded(self) -> Iterator[Encoded]:
        for position in self._positions:
            path = self._files.root / self._files.name(position)
            yield Encoded(str(path), path)

    def close(self) -> None:
        os.close(self._list)


class ShardSource:
    """Tar shards. In training their order is another one in each epoch, and a buffer mixes what is read from them."""

    def __init__(self, root: Path, index: Index, settings: ImageNetSettings) -> None:
        self._root, self._index, self._settings = root, index, settings
        self.num_classes, self.layout = index.num_classes, f"shards {index.packing}"
        self.data_id = self.train_id = index.data_id
        self.sizes = {split: index.num_images(split) for split in index.splits}

    def training(self, seed: int, epoch: int, batch_size: int, rank: int, world_size: int) -> Feed:
        """See `Source`; what makes no whole batch is another rest in each epoch, as the shards change places."""
        ours = self._index.splits["train"]
        order = [ours[i] for i in batch_order(len(ours), seed=seed, epoch=epoch).tolist()]
        whole = self.sizes["train"] // batch_size * batch_size
        drawn = random_words(1, seed=seed, stream=Stream.BATCH_ORDER, draw=epoch, parameter=1)
        first = int(drawn) % self.sizes["train"]  # else the ends of shards were left out most often
        start, end = (first + whole * share // world_size for share in (rank, rank + 1))
        shuffling = {"random_shuffle": True, "initial_fill": self._settings.shuffle_buffer}
        return self._feed([*order, *order], start, end, shuffling)  # around the end

    def evaluation(self, split: SplitName, start: int, end: int) -> Feed:
        """See `Source`."""
        return self._feed(self._index.splits[split], start, end, {})

    def _feed(self, order: Sequence[Shard], start: int, end: int, shuffling: dict[str, Any]) -> Feed:
        parts, first = [], 0
        for shard in order:
            inside = range(max(start - first, 0), min(end - first, shard.num_images))
            if inside:
                parts.append((shard, inside))
            first += shard.num_images
        return _PartsOfShards(self._root, parts, {"dont_use_mmap": not self._settings.mmap, **shuffling})


class _PartsOfShards:
    """Some consecutive samples of each of some shards. Where that is not all of one, it gets an index of its own."""

    def __init__(self, root: Path, parts: list[tuple[Shard, range]], arguments: dict[str, Any]) -> None:
        self._root, self._parts, self._arguments = root, parts, arguments
        self._scratch = tempfile.TemporaryDirectory(prefix="suite-index-")

    def reader(self) -> tuple[str, dict[str, Any]]:
        return "webdataset", {
            "paths": [str(self._root / shard.file) for shard, _ in self._parts],
            "index_paths": [str(self._index(number, *part)) for number, part in enumerate(self._parts)],
            "ext": ["jpg", "cls"],
            "missing_component_behavior": "error",
            **self._arguments,
        }

    def _index(self, number: int, shard: Shard, inside: range) -> Path:
        whole = self._root / shards.index_of(shard.file)
        if len(inside) == shard.num_images:
            return whole
        part = Path(self._scratch.name) / f"{number}-{whole.name}"
        part.write_text(shards.part_of_index(whole.read_text(), inside))
        return part

    def labels(self, raw: Tensor) -> Tensor:
        """From ASCII digits, uint8 (B, 8)."""
        powers = torch.tensor([10**i for i in reversed(range(LABEL_DIGITS))], device=raw.device)
        return ((raw.long() - ord("0")) * powers).sum(1)

    def encoded(self) -> Iterator[Encoded]:
        for shard, inside in self._parts:
            path = self._root / shard.file
            for member in list(shards.images_in(self._root, shard.file))[inside.start : inside.stop]:
                yield Encoded(f"{path}:{member.name}", path, member.offset, member.size)

    def close(self) -> None:
        self._scratch.cleanup()
