"""Checkpoints of a trial: written whole or not at all, recognized when garbled, the one before kept.

One taken inside an epoch may belong to a ``stream`` of images that only goes on under the same conditions; for that
case the newest one of the border between two epochs is kept as well.

A file is a line that says what it is, a line of JSON (whose it is), torch's own format, and 32 bytes of SHA-256 over
all of that. Read with ``weights_only=True``: nothing in it is executed.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from suite.config import InputError
from suite.records import listed
from suite.records.atomic import writing
from suite.records.file_errors import retrying

_MAGIC = b"suite checkpoint 1\n"
_DIGEST_BYTES = 32
_NUM_KEPT = 2  # the newest, and one to fall back on
_BORDER = ".border"  # in the names of those between two epochs, where that matters
log = logging.getLogger(__name__)


class _Unusable(Exception):
    """A file is not what was written, or not of this trial."""


class _Hashing(io.RawIOBase):
    """A file that remembers the hash of what was written to it."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hash.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def digest(self) -> bytes:
        """SHA-256 of all bytes so far."""
        return self._hash.digest()


def save(
    folder: Path,
    state: Mapping[str, Any],
    *,
    step: int,
    identity: Mapping[str, str],
    stream: Mapping[str, str] | None = None,
    epoch_boundary: bool = False,
) -> int:
    """Write ``state`` as the checkpoint of ``step``, into a folder that exists; returns its bytes.

    Args:
        state: tensors, numbers, texts, and lists and dictionaries of them.
        step: of the optimizer; a later checkpoint of the same step takes the place of this one.
        identity: what a trial must have in common with it to go on from it.
        stream: what else it must have in common, where images go on inside an epoch.
        epoch_boundary: it stands between two epochs, and is kept until the next one that does.

    Raises:
        OSError: the disk is full, say. Earlier checkpoints are untouched.
    """
    path = folder / f"checkpoint-{step:010d}{_BORDER if epoch_boundary else ''}.pt"
    with writing(path) as file:
        _write(file, state, {**identity, "stream": dict(stream or {})})
        size = file.tell()
    _fsync_dir(folder)
    for old in _superfluous(_newest_first(folder)):
        old.unlink(missing_ok=True)
    return size


def newest_step(folder: Path | None) -> int:
    """The step of the newest checkpoint in a folder, whole or not; -1 where there is none."""
    found = _newest_first(folder) if folder else []
    return _step(found[0]) if found else -1


def read(
    folder: Path,
    identity: Mapping[str, str],
    *,
    stream: Mapping[str, str] | None = None,
    fall_back_to_boundary: bool = False,
) -> bytes | None:
    """The state of the newest checkpoint that is whole and of this identity, for ``unpack``; None without one.

    Others are named in the log and renamed, so that they are not taken for progress. Only what a file holds makes it
    one of those.

    Args:
        folder: where they are.
        identity: as in ``save``.
        stream: that of the images now.
        fall_back_to_boundary: whether to go back to the border of an epoch where only the stream is another.

    Raises:
        InputError: only the stream is another, and nobody asked to go back.
        OSError: a file could not be read, try after try; it stays as it is.
    """
    for stale in folder.glob(".checkpoint-*"):
        stale.unlink(missing_ok=True)  # of a process that was killed while it saved
    rejected = False
    for path in _newest_first(folder):
        try:
            state = _checked(path, identity, stream or {}, fall_back_to_boundary)
        except _Unusable as error:
            log.warning("%s: %s: not used", path, error)
            path.replace(path.with_suffix(".unusable"))
            rejected = True
            continue
        (log.warning if rejected else log.info)("going on from step %d: %s", _step(path), path)
        return state
    if rejected:
        log.warning("no checkpoint is left that can be used: starting at the first epoch")
    return None


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest state in a folder that is whole, whoever made it, its tensors on the CPU; nothing is changed.

    Raises:
        OSError: a file could not be read, try after try.
    """
    for path in _newest_first(folder):
        try:
            return unpack(_checked(path, {}, None, False))
        except (_Unusable, FileNotFoundError) as error:  # a trial that runs makes room for newer ones
            log.warning("%s: %s: not used", path, error)
    return None


def unpack(state: bytes) -> dict[str, Any]:
    """The state that ``read`` found: its tensors on the CPU."""
    unpacked: dict[str, Any] = torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
    return unpacked


def _write(file: io.BufferedWriter, state: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    hashing = _Hashing(file)
    hashing.write(_MAGIC)
    hashing.write(json.dumps(dict(header)).encode() + b"\n")
    try:
        torch.save(dict(state), hashing)  # type: ignore[arg-type] # it asks for no more than write()
    except RuntimeError:
        if hashing.error:  # torch says something else where it could not write
            raise hashing.error from None
        raise
    file.write(hashing.digest())


def _checked(
    path: Path, identity: Mapping[str, str], stream: Mapping[str, str] | None, fall_back_to_boundary: bool
) -> bytes:
    data = retrying(path.read_bytes, path)
    if not data.startswith(_MAGIC):
        raise _Unusable("is no checkpoint")
    if hashlib.sha256(memoryview(data)[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
        raise _Unusable("is garbled or cut short: its checksum differs")
    end = data.index(b"\n", len(_MAGIC))
    theirs = json.loads(data[len(_MAGIC) : end])
    if other := _differences(theirs, identity):
        raise _Unusable(f"was made under other conditions ({other})")
    if (
        stream is not None
        and (saved := theirs.get("stream"))
        and (other := _differences(saved, {**dict.fromkeys(saved), **stream}))
    ):
        if fall_back_to_boundary:
            raise _Unusable(f"images cannot go on inside its epoch ({other}): going back to the border of one")
        borders = [_step(path) for path in _newest_first(path.parent) if path.stem.endswith(_BORDER)]
        raise InputError(
            f"{path}: images cannot go on inside its epoch ({other}): run it as before, or set "
            f"checkpoint.on_other_stream: epoch to go back to its beginning (step {max(borders, default=0)})"
        )
    return data[end + 1 : -_DIGEST_BYTES]


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    return "; ".join(f"{key} {theirs.get(key)}, now {mine}" for key, mine in ours.items() if theirs.get(key) != mine)


def _superfluous(newest_first: list[Path]) -> list[Path]:
    epoch_boundary = next((path for path in newest_first if path.stem.endswith(_BORDER)), None)
    return [path for path in newest_first[_NUM_KEPT:] if path != epoch_boundary]


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in listed(folder) if path.name.startswith("checkpoint-") and path.suffix == ".pt"]
    return sorted(found, key=lambda path: (_step(path), path.stem), reverse=True)


def _step(path: Path) -> int:
    return int(path.stem.removesuffix(_BORDER).rpartition("-")[2])


def _fsync_dir(folder: Path) -> None:
    """Make the names in a folder last, as fsync does for what is in a file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
