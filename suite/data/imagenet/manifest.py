"""The manifest of a tree of images: what ``suite.data.imagenet.scan`` found, read by training. No torch, no Pillow.

A CSV file, one row per image (and per empty class folder), in the order of torchvision's ImageFolder. What the column
``used`` says is what counts; it may be edited by hand.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from suite.config import InputError
from suite.records import write_bytes_atomic

NAME = "manifest.csv"
SCAN = "python -m suite.data.imagenet.scan"
FILENAME_ERRORS = "surrogateescape"  # names of files need not be UTF-8
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's ImageFolder
_USED = {"0": False, "1": True}
_VERSION = "# suite manifest 1\n"


class Row(NamedTuple):
    """One image.

    Attributes:
        path: below the root, as in ``train/n01440764/n01440764_10026.JPEG``; ends in a slash for an empty class folder.
        size: bytes.
        mtime_ns: when the file was last written, to see whether it was since.
        label: position of the class among the names of all classes; -1 where ``train`` has no such class.
        crc32: of the file's bytes.
        used: whether training may have it.
        problem: what is odd about it, "" if nothing is.
    """

    path: str
    size: int
    mtime_ns: int
    label: int
    crc32: int
    used: bool
    problem: str

    @property
    def is_image(self) -> bool:
        """Whether it goes for an image by its name."""
        return self.path.lower().endswith(EXTENSIONS)


def path_of(root: Path, manifest: Path | None = None) -> Path:
    """Where the manifest of ``root`` lies."""
    return root / NAME if manifest is None else manifest


def text_of(rows: Iterable[Row]) -> str:
    """Rows as lines of the file."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # of a carriage return alone it sees no need
    for row in rows:
        (quoted if "\r" in row.path else plain).writerow((*row[:5], int(row.used), row.problem))
    return text.getvalue()


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest, whole or not at all."""
    text = f"{_VERSION}{','.join(Row._fields)}\n{text_of(rows)}"
    write_bytes_atomic(path, text.encode(errors=FILENAME_ERRORS))


def read(path: Path, root: Path) -> list[Row]:
    """All rows of the manifest of ``root``.

    Raises:
        InputError: there is none, or it is no manifest; it says which command makes one.
    """
    place = "" if path == path_of(root) else f" --manifest {path}"
    cure = f"{SCAN} {root}{place}"
    try:
        with path.open(encoding="utf-8", errors=FILENAME_ERRORS, newline="") as file:
            if file.readline().strip() != _VERSION.strip() or file.readline().strip() != ",".join(Row._fields):
                raise ValueError("its first lines are not those of a manifest")
            return list(parse(file))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file: run {cure} once (it decodes every image)") from None
    except (ValueError, csv.Error, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}): mend it, or delete it and run {cure}") from None


def parse(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of lines that ``text_of`` made.

    Raises:
        ValueError or csv.Error: a line was cut short, or is none of these.
    """
    reader = csv.reader(lines, strict=True)
    for cells in reader:
        try:
            if cells:
                name, size, mtime_ns, label, crc32, used, problem = cells
                yield Row(name, int(size), int(mtime_ns), int(label), int(crc32), _USED[used], problem)
        except (ValueError, KeyError):
            raise ValueError(
                f"line {reader.line_num} of the rows: {cells}: {len(Row._fields)} cells, used 0 or 1"
            ) from None


def data_id(rows: Iterable[Row], *choices: object) -> str:
    """16 hex digits that change with the name, class or content of any image that is used, and with ``choices``."""
    digest = hashlib.sha256(repr(choices).encode())
    for row in rows:
        if row.used:
            digest.update(f"{row.path}\0{row.label}\0{row.crc32}\n".encode(errors=FILENAME_ERRORS))
    return digest.hexdigest()[:16]
