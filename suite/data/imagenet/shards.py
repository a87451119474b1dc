"""Tar shards of a tree of images: what ``python -m suite.data.imagenet.pack`` wrote, as training reads it. No torch.

A folder of WebDataset shards (``00000012.jpg``, ``00000012.cls``: the label as eight digits), beside each a DALI index
(``.idx``), ``samples.csv`` (which image became which sample) and ``index.json``: written last, it says what is there.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from suite.config import InputError, Settings
from suite.data.interface import SplitName

INDEX, SAMPLES = "index.json", "samples.csv"
PACK = "python -m suite.data.imagenet.pack"
LABEL_DIGITS = 8


class Shard(Settings):
    """One tar file: its name, how many images it has, its bytes, SHA-256 of all of them, and the bytes of its index."""

    file: str
    num_images: int
    size: int
    sha256: str
    index_size: int


class Index(Settings):
    """What ``index.json`` says: the shards of each split, and what they were made from and how."""

    format: Literal[1] = 1
    data_id: str
    num_classes: int
    val_share: float
    seed: int
    shard_mb: int
    splits: dict[SplitName, list[Shard]]

    def num_images(self, split: SplitName) -> int:
        """Images of a split."""
        return sum(shard.num_images for shard in self.splits[split])

    @property
    def packing(self) -> str:
        """8 hex digits that change with the images of any shard and with their order."""
        digests = [shard.sha256 for shard in self.shards()]
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:8]

    def shards(self) -> list[Shard]:
        """All of them."""
        return [shard for shards in self.splits.values() for shard in shards]


class Member(NamedTuple):
    """One image inside a tar file: its name there, where its bytes begin, and how many there are."""

    name: str
    offset: int
    size: int


def read(root: Path) -> Index:
    """The index of a folder of shards.

    Raises:
        InputError: there is none, or it is not whole; a shard is missing or has another size.
    """
    path = root / INDEX
    try:
        index = Index.model_validate(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file: {PACK} SRC {root} makes shards, and goes on where it was") from None
    except (ValueError, ValidationError) as error:
        raise InputError(f"{path}: is no index of shards ({str(error).splitlines()[0]}): pack them again") from None
    for shard in index.shards():
        if not is_there(root, shard):
            raise InputError(
                f"{root / shard.file}: it or its index is missing or not whole: {PACK} SRC {root} mends it"
            )
    return index


def is_there(root: Path, shard: Shard) -> bool:
    """Whether a shard and its index have the sizes that they should have."""
    sizes = {shard.file: shard.size, index_of(shard.file): shard.index_size}
    return all((root / name).is_file() and (root / name).stat().st_size == size for name, size in sizes.items())


def index_of(file: str) -> str:
    """The name of a shard's DALI index."""
    return file.removesuffix(".tar") + ".idx"


def index_text(members: Sequence[tuple[Member, Member]]) -> str:
    """A DALI index (version 1.2): for each sample its components, each with offset, size and name."""
    lines = [
        " ".join(f"{m.name.rpartition('.')[2]} {m.offset} {m.size} {m.name}" for m in sample) for sample in members
    ]
    return "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"


def part_of_index(text: str, inside: range) -> str:
    """A DALI index of some consecutive samples, from that of all."""
    lines = text.splitlines()[1:][inside.start : inside.stop]
    return "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"


def images_in(root: Path, file: str) -> Iterator[Member]:
    """The images of a shard, in order."""
    for line in (root / index_of(file)).read_text().splitlines()[1:]:
        _, offset, size, name = line.split(" ")[:4]
        yield Member(name, int(offset), int(size))
