"""A copy of tar shards on a node's own disk, made once per node.

Several ranks, or jobs, may ask at once: one copies, the others wait for it; if it dies another resumes the copy.
"""

import fcntl
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from suite.config import InputError
from suite.data.imagenet import shards
from suite.data.imagenet.shards import Index
from suite.records import write_bytes_atomic
from suite.stopping import Stopped

_CHUNK = 1 << 22  # bytes
_POLL_SECONDS = 0.2
_MB = 10**6
log = logging.getLogger(__name__)


def stage(root: Path, scratch: Path, *, should_stop: Callable[[], bool] = lambda: False) -> Path:
    """The folder below ``scratch`` with the shards of ``root``, each compared with its checksum when it was copied.

    Args:
        root: the shards.
        scratch: a folder of this node.
        should_stop: asked while waiting and between shards.

    Raises:
        InputError: not enough space; a shard differs from its checksum; the copy belongs to another user.
        Stopped: as asked; what was copied is kept.
    """
    index, content = shards.read(root), (root / shards.INDEX).read_bytes()
    copy = _own_folder(scratch / f"suite-shards-{hashlib.sha256(content).hexdigest()[:16]}")
    with _exclusive_lock(copy, should_stop):
        _copy_missing(root, copy, index, should_stop)
        if not (copy / shards.INDEX).exists():
            write_bytes_atomic(copy / shards.INDEX, content)
    return copy


def expanded(scratch: str) -> Path:
    """A folder with its environment variables filled in.

    Raises:
        InputError: one of them is not set, or the path is relative.
    """
    path = os.path.expandvars(scratch)
    if unset := re.findall(r"\$\{?(\w+)", path):
        raise InputError(f"stage: {scratch}: the environment variable {unset[0]} is not set on this node")
    if not (folder := Path(path).expanduser()).is_absolute():
        raise InputError(f"stage: {scratch}: must be an absolute path: a folder on a disk of each node")
    return folder


def _own_folder(copy: Path) -> Path:
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.mkdir(mode=0o700, exist_ok=True)
    if copy.is_symlink() or copy.stat().st_uid != os.geteuid():
        raise InputError(f"{copy}: belongs to somebody else: name another folder as stage")
    return copy


@contextmanager
def _exclusive_lock(copy: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Nobody else of this node copies meanwhile; a lock of a process that died is free."""
    with (copy / ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _stop_if(should_stop)
                time.sleep(_POLL_SECONDS)
        yield


def _copy_missing(root: Path, copy: Path, index: Index, should_stop: Callable[[], bool]) -> None:
    for stale in copy.glob(".copying.*"):
        stale.unlink()  # of a process that was killed
    todo = [shard for shard in index.shards() if not shards.is_there(copy, shard)]
    if not todo:
        return
    needed, free = sum(shard.size for shard in todo), shutil.disk_usage(copy).free
    if free < needed:
        raise InputError(f"{copy}: {needed // _MB:,} MB are to be copied, {free // _MB:,} MB are free")
    log.info("copying %d shards of %s (%d MB) to %s", len(todo), root, needed // _MB, copy)
    for shard in todo:
        _stop_if(should_stop)
        write_bytes_atomic(copy / shards.index_of(shard.file), (root / shards.index_of(shard.file)).read_bytes())
        _copy(root / shard.file, copy / shard.file, shard.sha256)


def _copy(source: Path, target: Path, sha256: str) -> None:
    temporary, digest = target.with_name(f".copying.{target.name}"), hashlib.sha256()
    try:
        with source.open("rb") as old, temporary.open("wb") as new:
            while chunk := old.read(_CHUNK):
                digest.update(chunk)
                new.write(chunk)
            new.flush()
            os.fsync(new.fileno())
        if digest.hexdigest() != sha256:
            raise InputError(f"{source}: is not what was packed (its SHA-256 differs): delete it and pack again")
        temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    finally:
        temporary.unlink(missing_ok=True)


def _stop_if(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Stopped("stopped while shards were copied to this node; the same command goes on")
