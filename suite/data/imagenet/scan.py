"""Decode each image once, and write the manifest: ``python -m suite.data.imagenet.scan ROOT``.

The tree is ``ROOT/train/CLASS/*`` and ``ROOT/val/CLASS/*``. Killed, it goes on where it was; a later call looks at new
and changed files only.
"""

import csv
import errno
import fcntl
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TextIO

from suite import cli
from suite.config import InputError
from suite.data.imagenet import manifest
from suite.data.imagenet.listing import Listing
from suite.data.imagenet.manifest import Row
from suite.data.imagenet.probe import Probe
from suite.machine import num_cpus

EMPTY = "empty class folder"
_CHUNK = 64  # files that a process takes at once
_SAMPLE_EVERY = 16  # chunks: in the others only images of odd forms are decoded by DALI too
_MOST_NAMED, _MOST_HIDDEN = 20, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Scan a tree, showing how far it is, and say what is wrong with which file."""
    args = parser().parse_args(argv)
    root: Path = args.root.absolute()
    path = manifest.path_of(root, args.manifest)
    listing = Listing(root)
    rows = scan(listing, path, workers=args.workers or num_cpus(), again=args.again)
    print(f"{path}: {report(rows, listing.hidden)}")
    return 0


def scan(listing: Listing, path: Path, *, workers: int, again: bool = False) -> list[Row]:
    """Examine every file of a tree and write the manifest at ``path``.

    Args:
        listing: of the tree.
        path: of the manifest; a journal lies beside it meanwhile.
        workers: processes.
        again: examine files too that are known and have not changed.

    Raises:
        InputError: there is no class folder, or the tree cannot be listed.
    """
    from suite.terminal import track

    root = listing.root
    found = list(listing.labelled_files())
    journal = path.with_name(f".{path.name}.journal")
    try:
        with _exclusive_lock(journal) as file:
            known = {} if again else _known(root, path, journal)
            if not known:
                file.truncate(0)
            todo = [(name, label) for name, label in found if not _is_same(root, name, known)]
            for rows in track(_examined(root, todo, workers), "examining images", len(todo), by=len):
                file.write(manifest.text_of(rows))
                file.flush()
                known |= {row.path: row for row in rows}
            result = [known[name]._replace(label=label) for name, label in found]
            manifest.write(path, result)
            journal.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
            raise
        raise InputError(f"{path}: cannot be written ({error.strerror}): name another --manifest FILE") from None
    except BrokenProcessPool:
        raise InputError(f"{root}: a process that examined images was killed: the same command goes on") from None
    return result


def report(rows: Sequence[Row], hidden: Sequence[str] = ()) -> str:
    """How many images there are, what is wrong with which, and what was left out as hidden."""
    images = [row for row in rows if row.is_image]
    odd = [row for row in rows if row.problem]
    left_out = sum(not row.used for row in images)
    lines = [f"{len(images):,} images, {left_out:,} of them not used"]
    lines += [] if any(row.path.startswith("val/") for row in images) else ["  no image in val/: there is no test set"]
    lines += [f"  {num:,} x {kind}" for kind, num in Counter(row.problem.split(":")[0] for row in odd).most_common()]
    lines += [f"  {_shown(row.path)}: {row.problem}{'' if row.used else ' (not used)'}" for row in odd[:_MOST_NAMED]]
    lines += [f"  and {len(odd) - _MOST_NAMED:,} more, in the manifest"] if len(odd) > _MOST_NAMED else []
    named = ", ".join(map(_shown, hidden[:_MOST_HIDDEN])) + (", ..." if len(hidden) > _MOST_HIDDEN else "")
    lines += [f"  {len(hidden):,} hidden files or folders left out: {named}"] if hidden else []
    return "\n".join(lines)


def _shown(path: str) -> str:
    return path if path.isprintable() else repr(path)


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite.data.imagenet.scan",
        "Decode every image of a tree once and write the manifest: which images there are, and which are unusable.",
        usage="ROOT [options]",
        example="python -m suite.data.imagenet.scan /data/imagenet --workers 16",
    )
    made.add_argument("root", type=Path, metavar="ROOT", help="folder with train/CLASS/* and val/CLASS/*")
    work = made.add_argument_group("work")
    work.add_argument("--manifest", type=Path, metavar="FILE", help="default: ROOT/manifest.csv")
    work.add_argument("--workers", type=int, metavar="N", help="processes; default: one for each CPU")
    work.add_argument(
        "--again", action="store_true", help="examine unchanged files too; edits of the manifest are lost"
    )
    return made


@contextmanager
def _exclusive_lock(journal: Path) -> Iterator[TextIO]:
    """The journal, to be added to, while nobody else scans."""
    with journal.open("a", encoding="utf-8", errors=manifest.FILENAME_ERRORS) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{journal.parent}: another process scans: wait for it") from None
        yield file


def _known(root: Path, path: Path, journal: Path) -> dict[str, Row]:
    """What an earlier call found, and one that was killed."""
    rows = manifest.read(path, root) if path.exists() else []
    lines = journal.read_text("utf-8", manifest.FILENAME_ERRORS).split("\n") if journal.exists() else []
    for line in lines[:-1]:  # what has no end was cut short when it was killed
        with suppress(ValueError, csv.Error):
            rows += manifest.parse([line])
    return {row.path: row for row in rows}


def _is_same(root: Path, name: str, known: dict[str, Row]) -> bool:
    row = known.get(name)
    if row is None or not row.size or row.label < 0:
        return False
    try:
        stat = (root / name).stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (row.size, row.mtime_ns)


def _examined(root: Path, todo: list[tuple[str, int]], workers: int) -> Iterator[list[Row]]:
    parts = [todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK)]
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("forkserver"))
    try:
        yield from pool.map(partial(_examine_all, root), parts, range(len(parts)))
    finally:
        pool.shutdown(cancel_futures=True)


def _examine_all(root: Path, part: list[tuple[str, int]], number: int) -> list[Row]:
    probe = Probe("odd" if number % _SAMPLE_EVERY else "sample")
    return [
        Row(name, 0, 0, label, 0, False, EMPTY) if name.endswith("/") else probe.examine(root, name, label)
        for name, label in part
    ]


if __name__ == "__main__":
    sys.exit(cli.run(main))
