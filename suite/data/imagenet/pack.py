"""Write a scanned tree into tar shards: ``python -m suite.data.imagenet.pack SRC DST --shard-mb 256``.

Images of ``train`` are shuffled once, those held out for validation and the test set keep their order. Killed, or out
of space, it goes on at the shard where it was; at the end every image is read back and compared.
"""

import argparse
import csv
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from suite import cli
from suite.config import ImageNetSettings, InputError
from suite.data.imagenet import manifest, shards, tree
from suite.data.imagenet.manifest import Row
from suite.data.imagenet.shards import LABEL_DIGITS, Index, Member, Shard
from suite.data.interface import SplitName
from suite.machine import num_cpus
from suite.records import temporary_name, write_bytes_atomic, write_text_atomic

_DEFAULTS = ImageNetSettings.model_fields
_JOURNAL = ".packing.jsonl"
_READERS = 8  # threads: a network file system answers slowly, but many at once
_VERIFIERS = 4  # threads: each holds a shard in memory
_TAR_OVERHEAD = 3 * tarfile.BLOCKSIZE  # of a sample, at most but one block: two headers and the label
_MB = 10**6


@dataclass(frozen=True)
class _Part:
    """A shard to be: its split, its name, the images it gets."""

    split: SplitName
    file: str
    rows: list[Row]


def main(argv: Sequence[str] | None = None) -> int:
    """Pack a tree, showing how far it is."""
    args = parser().parse_args(argv)
    index = pack(args.src.absolute(), args.dst.absolute(), args)
    print(f"{args.dst}: {len(index.shards())} shards, {sum(s.num_images for s in index.shards()):,} images, verified")
    return 0


def pack(src: Path, dst: Path, choices: argparse.Namespace) -> Index:
    """Write the shards that are missing in ``dst``, verify all of them, and write the index.

    Args:
        src: a tree that was scanned.
        dst: gets the shards.
        choices: shard_mb, seed, val_share, manifest, max_excluded_share.

    Raises:
        InputError: the tree was not scanned or has changed since; ``dst`` holds another packing; a shard is not what
            was written.
    """
    from suite.terminal import track

    path = manifest.path_of(src, choices.manifest)
    rows = manifest.read(path, src)
    tree.check_rows(rows, path, choices.max_excluded_share)
    files = tree.files_of(rows, src, choices.val_share)
    used = [row for row in rows if row.is_image and row.used]
    parts = list(_parts(used, files, choices.seed, choices.shard_mb * _MB))
    what = {"data_id": files.data_id, "seed": choices.seed, "shard_mb": choices.shard_mb}
    dst.mkdir(parents=True, exist_ok=True)
    with _exclusive_lock(dst), _journal(dst, what) as (file, done):
        _remove_stale(dst)
        todo = [part for part in parts if part.file not in done or not shards.is_there(dst, done[part.file])]
        _check_space(dst, todo)
        for part in track(todo, "writing images", sum(len(part.rows) for part in todo), by=lambda part: len(part.rows)):
            done[part.file] = _write(src, dst, part)
            file.write(done[part.file].model_dump_json() + "\n")
            file.flush()
        with ThreadPoolExecutor(min(_VERIFIERS, num_cpus())) as pool:
            checks = pool.map(lambda part: _verify(dst, done[part.file], part.rows), parts)
            list(track(checks, "verifying shards", len(parts)))
        splits = {name: [done[part.file] for part in parts if part.split == name] for name in files.splits}
        index = Index(num_classes=files.num_classes, val_share=choices.val_share, splits=splits, **what)
        write_bytes_atomic(dst / shards.SAMPLES, _samples(parts).encode(errors=manifest.FILENAME_ERRORS))
        write_text_atomic(dst / shards.INDEX, index.model_dump_json(indent=1))
    (dst / _JOURNAL).unlink()
    return index


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite.data.imagenet.pack",
        "Write a scanned tree of images as tar shards, and check every image in them.",
        usage="SRC DST [options]",
        example="python -m suite.data.imagenet.pack /data/imagenet /data/imagenet-shards --shard-mb 256",
    )
    made.add_argument("src", type=Path, metavar="SRC", help="a tree that suite.data.imagenet.scan has scanned")
    made.add_argument("dst", type=Path, metavar="DST", help="folder for the shards")
    packing = made.add_argument_group("shards")
    packing.add_argument("--manifest", type=Path, metavar="FILE", help="default: SRC/manifest.csv")
    packing.add_argument(
        "--shard-mb", type=_positive, default=256, metavar="N", help="size in 10^6 bytes; default: %(default)s"
    )
    packing.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the order of training images; default: %(default)s"
    )
    packing.add_argument(
        "--val-share",
        type=float,
        default=_DEFAULTS["val_share"].default,
        metavar="X",
        help="share of train held out for validation, as dataset.val_share; default: %(default)s",
    )
    packing.add_argument(
        "--max-excluded-share",
        type=float,
        default=_DEFAULTS["max_excluded_share"].default,
        metavar="X",
        help="share of images that may be unusable; default: %(default)s",
    )
    return made


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return value


def _parts(used: list[Row], files: tree.Files, seed: int, most_bytes: int) -> Iterator[_Part]:
    for split, positions in files.splits.items():
        order = np.random.default_rng(seed).permutation(positions) if split == "train" else positions
        rows = [used[position] for position in order]
        ends = np.cumsum([row.size + _TAR_OVERHEAD for row in rows]) // most_bytes
        for number in range(int(ends[-1]) + 1):
            first, last = np.searchsorted(ends, (number, number + 1))
            if first < last:
                yield _Part(split, f"{split}-{number:05d}.tar", rows[first:last])


@contextmanager
def _exclusive_lock(dst: Path) -> Iterator[None]:
    with (dst / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{dst}: another process packs there: wait for it, or choose another folder") from None
        yield


@contextmanager
def _journal(dst: Path, what: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Shard]]]:
    """The shards that were written so far, and the file that gets the next ones."""
    path, index = dst / _JOURNAL, dst / shards.INDEX
    lines = path.read_text().splitlines() if path.exists() else []
    with suppress(FileNotFoundError, ValueError):  # ValueError: it is garbled, and made anew
        last = Index.model_validate_json(index.read_bytes())
        before = {key: getattr(last, key) for key in what}
        lines = lines or [json.dumps(before), *(shard.model_dump_json() for shard in last.shards())]
    if lines and lines[0] != json.dumps(what):
        raise InputError(f"{dst}: holds another packing: choose another folder, or delete that one first")
    done = {}
    for line in lines[1:]:
        if line.endswith("}"):  # else cut short when it was killed
            shard = Shard.model_validate_json(line)
            done[shard.file] = shard
    write_text_atomic(path, "\n".join([json.dumps(what), *(shard.model_dump_json() for shard in done.values())]) + "\n")
    index.unlink(missing_ok=True)
    with path.open("a") as file:
        yield file, done


def _remove_stale(dst: Path) -> None:
    for path in dst.iterdir():
        if re.fullmatch(r"\..*\.[0-9a-f]{16}", path.name) and path.is_file():  # its process was killed
            path.unlink()


def _check_space(dst: Path, todo: list[_Part]) -> None:
    needed = sum(row.size + 2 * _TAR_OVERHEAD for part in todo for row in part.rows)
    if (free := shutil.disk_usage(dst).free) < needed:
        raise InputError(f"{dst}: {needed // _MB:,} MB are to be written, {free // _MB:,} MB are free")


def _write(src: Path, dst: Path, part: _Part) -> Shard:
    """One shard and its index, whole or not at all."""
    temporary = dst / temporary_name(dst / part.file)
    try:
        with temporary.open("wb") as file, ThreadPoolExecutor(_READERS) as pool:
            hashing = _Hashing(file)
            members = _fill(hashing, pool.map(lambda row: (row, _content(src, row)), part.rows))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        text = shards.index_text(members)
        write_text_atomic(dst / shards.index_of(part.file), text)
        temporary.replace(dst / part.file)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(dst / part.file)) from None
    finally:
        temporary.unlink(missing_ok=True)
    digest = hashing.hash.hexdigest()
    return Shard(file=part.file, num_images=len(members), size=size, sha256=digest, index_size=len(text))


def _content(src: Path, row: Row) -> bytes:
    try:
        content = (src / row.path).read_bytes()
    except OSError as error:
        raise InputError(f"{src / row.path}: {error.strerror}: run {manifest.SCAN} {src} again") from None
    if zlib.crc32(content) != row.crc32:
        raise InputError(f"{src / row.path}: has changed since it was scanned: run {manifest.SCAN} {src} again")
    return content


def _fill(file: "_Hashing", images: Iterator[tuple[Row, bytes]]) -> list[tuple[Member, Member]]:
    members = []
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
        for number, (row, content) in enumerate(images):
            key, label = f"{number:08d}", f"{row.label:0{LABEL_DIGITS}d}".encode()
            members.append((_add(tar, f"{key}.jpg", content), _add(tar, f"{key}.cls", label)))
    return members


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    start: int = tar.offset
    tar.addfile(info, io.BytesIO(content))
    return Member(name, start + tarfile.BLOCKSIZE, len(content))


def _verify(dst: Path, shard: Shard, rows: list[Row]) -> None:
    """Raise InputError unless a shard and its index have, byte for byte, the images that they should have."""
    content = (dst / shard.file).read_bytes()
    if hashlib.sha256(content).hexdigest() == shard.sha256:
        members = _members(content)
        view = memoryview(content)
        sums = [zlib.crc32(view[member.offset : member.offset + member.size]) for member, _ in members]
        index = (dst / shards.index_of(shard.file)).read_bytes()
        if index == shards.index_text(members).encode() and sums == [row.crc32 for row in rows]:
            return
    (dst / shard.file).unlink()
    raise InputError(f"{dst / shard.file}: was not what was written, and is deleted: the same command makes it again")


def _members(content: bytes) -> list[tuple[Member, Member]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = [Member(info.name, info.offset_data, info.size) for info in tar]
    return list(zip(found[::2], found[1::2], strict=True))


def _samples(parts: list[_Part]) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(("shard", "name", "path", "label"))
    for part in parts:
        out.writerows((part.file, f"{i:08d}.jpg", row.path, row.label) for i, row in enumerate(part.rows))
    return text.getvalue()


class _Hashing:
    """A file that remembers the hash of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.hash = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self.hash.update(data)
        return self._file.write(data)


if __name__ == "__main__":
    sys.exit(cli.run(main))
