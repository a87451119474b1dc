"""What is known of final trials, in one file, ``RESULTS/index.jsonl``: so that looking at ten thousand opens one.

A cache, made from the records: it may be deleted at any time. Each line has a checksum before it; one that is cut
short, garbled or of an older form is as if it were not there. An entry holds for the folder it was made of, and until
another attempt at the trial begins.
"""

import contextlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from suite.config import InputError
from suite.records.files import DENSE, METRICS, RESULT, TICKET, Summary, read_result

INDEX = "index.jsonl"


class Entry(BaseModel):
    """A line: what became of a trial in the folder of this inode; None where an attempt has begun since."""

    trial_id: str
    inode: int = 0
    summary: Summary | None = None


class Index:
    """The index of a results folder."""

    def __init__(self, root: Path) -> None:
        self._path, self._trials = root / INDEX, root / "trials"

    def lookup(self, trial_ids: Iterable[str]) -> tuple[dict[str, Summary], set[str], dict[str, str]]:
        """Which trials are final; only those whose end is not known yet are opened.

        Returns:
            By trial_id the final ones; those that have a folder and are not; by trial_id what is wrong with a record.
        """
        wanted, folders = set(trial_ids), self._folders()
        known, asked = self._read(wanted), folders.keys() & wanted
        final = {i: entry.summary for i, entry in known.items() if entry.summary and entry.inode == folders.get(i)}
        # What is gone is forgotten: a folder that is made anew may get its inode.
        new = [Entry(trial_id=trial_id) for trial_id in sorted(known.keys() - final.keys())]
        problems: dict[str, str] = {}
        for trial_id in sorted(asked - final.keys()):
            try:
                result = read_result(self._trials / trial_id)
            except InputError as error:
                problems[trial_id] = str(error)
                continue
            if result is not None:
                summary = Summary.of(result, _size_of(self._trials / trial_id))
                new.append(Entry(trial_id=trial_id, inode=folders[trial_id], summary=summary))
        self._append(new)
        final |= {entry.trial_id: entry.summary for entry in new if entry.summary}
        return final, asked - final.keys(), problems

    def everything(self) -> dict[str, Summary]:
        """All final trials that the index knows."""
        folders = self._folders()
        known = self._read(set(folders))
        return {i: entry.summary for i, entry in known.items() if entry.summary and entry.inode == folders[i]}

    def _folders(self) -> dict[str, int]:
        """The trials there are, with the inodes of their folders: one listing, no look into any."""
        try:
            with os.scandir(self._trials) as entries:
                return {entry.name: entry.inode() for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def _read(self, wanted: set[str]) -> dict[str, Entry]:
        """What the index knows of these trials."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except OSError:
            return {}
        last = {line[9:21].decode("latin-1"): line for line in lines}  # a later line of a trial holds
        if len(lines) > 4 * len(last) + 1000:  # most hold no more, as where inodes change from look to look
            _remove(self._path)
        entries = {trial_id: _parsed(line) for trial_id, line in last.items() if trial_id in wanted}
        return {trial_id: entry for trial_id, entry in entries.items() if entry and entry.summary}

    def _append(self, entries: list[Entry]) -> None:
        if entries:
            _append(self._path, "".join(map(_line, entries)))


def _size_of(folder: Path) -> int:
    size = 0
    for name in (RESULT, METRICS, TICKET, DENSE):
        with contextlib.suppress(OSError):  # moved away this moment
            size += (folder / name).stat().st_size
    return size


def invalidate(trial_folder: Path) -> None:
    """An attempt at a trial begins: what the index knows of an earlier one there, holds no more."""
    path = trial_folder.absolute().parent.parent / INDEX
    if path.exists():
        _append(path, _line(Entry(trial_id=trial_folder.name)))


def _append(path: Path, text: str) -> None:
    """In one write, behind whatever was cut short. Where it fails all is slower, and nothing old is believed."""
    content = b"\n" + text.encode()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            whole = os.write(handle, content) == len(content)
        finally:
            os.close(handle)
    except OSError:
        whole = False
    if not whole:
        _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _line(entry: Entry) -> str:
    text = f"{entry.trial_id} {entry.model_dump_json()}"
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _parsed(line: bytes) -> Entry | None:
    """The entry of a line ``checksum trial_id json``."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return Entry.model_validate_json(text.partition(b" ")[2])
    except ValidationError:
        return None
