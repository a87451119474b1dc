"""What is known of final trials, in one file, ``RESULTS/index.jsonl``: so that ten thousand are not opened again.

A cache, made from the records: it may be deleted at any time. An entry holds for one state of one ``result.json``: it
is believed while that file has the inode, the size and the times that it had when it was read, and by the versions of
the suite that keep the same of it. So a look costs one ``stat`` a trial, and a result that was edited, replaced, moved
away or copied is read anew.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from suite.config import InputError
from suite.records.files import DENSE, METRICS, RESULT, TICKET, Summary, read_result_and_state
from suite.records.index_file import IndexFile, line_of, text_of

INDEX = "index.jsonl"
SETTLED_NS = 2 * 10**9  # a file that changed so lately may change again and keep its times: FAT's clock ticks so slowly

_FORM = zlib.crc32(json.dumps(Summary.model_json_schema()).encode())  # another version may keep less of a result


class Index:
    """The index of a results folder."""

    def __init__(self, root: Path) -> None:
        self._file, self._trials = IndexFile(root / INDEX), root / "trials"

    def lookup(self, trial_ids: Iterable[str]) -> tuple[dict[str, Summary], set[str], dict[str, str]]:
        """Which trials are final. It opens only results that are not in the index.

        Returns:
            By trial_id the final ones; those that have a folder but no result; by trial_id what is wrong with a record.
        """
        return self._look(self._names().intersection(trial_ids))

    def everything(self) -> dict[str, Summary]:
        """All final trials of the folder."""
        return self._look(self._names())[0]

    def _look(self, begun: set[str]) -> tuple[dict[str, Summary], set[str], dict[str, str]]:
        """``lookup``, of trials that have a folder."""
        stamps = {trial_id: stamp for trial_id in sorted(begun) if (stamp := self._stamp(trial_id))}
        lines = self._file.read()
        known = {i: _summary(lines[key]) for i, stamp in stamps.items() if (key := _key(i, stamp)) in lines}
        final = {trial_id: summary for trial_id, summary in known.items() if summary}
        results, problems = self._open([trial_id for trial_id in stamps if trial_id not in final])
        final |= results
        return final, begun - final.keys(), problems

    def _names(self) -> set[str]:
        """The trials that have a folder: one listing, no look into any."""
        try:
            return set(os.listdir(self._trials))
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def _stamp(self, trial_id: str) -> str | None:
        """The state that the result of a trial is in; None where it has none."""
        try:
            return _stamp_of(os.stat(f"{self._trials}/{trial_id}/{RESULT}"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            return "unknown"  # to open it says why

    def _open(self, trial_ids: list[str]) -> tuple[dict[str, Summary], dict[str, str]]:
        """Read results and add them to the index; by trial_id their summaries, and what is wrong with the others."""
        found: dict[str, Summary] = {}
        problems: dict[str, str] = {}
        lines: list[bytes] = []
        settled = self._file.prepare() - SETTLED_NS if trial_ids else 0
        for trial_id in trial_ids:
            try:
                read = self._read(trial_id)
            except InputError as error:
                problems[trial_id] = str(error)
                continue
            if read is not None:  # else moved away this moment
                found[trial_id], state = read
                if state.st_ctime_ns < settled and trial_id.isalnum():  # other names may break lines
                    lines.append(_line(trial_id, state, found[trial_id]))
        self._file.append(lines)
        return found, problems

    def _read(self, trial_id: str) -> tuple[Summary, os.stat_result] | None:
        folder = self._trials / trial_id
        try:
            read = read_result_and_state(folder)
        except OSError as error:  # of another user, perhaps
            raise InputError(f"{folder / RESULT}: cannot be read: {error.strerror}") from None
        return read and (Summary.of(read[0], _size_of(folder)), read[1])


def _size_of(folder: Path) -> int:
    size = 0
    for name in (RESULT, METRICS, TICKET, DENSE):
        with contextlib.suppress(OSError):  # there is none, or it was moved away this moment
            size += (folder / name).stat().st_size
    return size


def _stamp_of(state: os.stat_result) -> str:
    """Not the device: it has another number on each machine, and from boot to boot."""
    return f"{_FORM:x}-{state.st_ino}-{state.st_size}-{state.st_mtime_ns}-{state.st_ctime_ns}"


def _key(trial_id: str, stamp: str) -> bytes:
    return f"{trial_id} {stamp}".encode(errors="replace")


def _line(trial_id: str, state: os.stat_result, summary: Summary) -> bytes:
    return line_of(_key(trial_id, _stamp_of(state)), summary.model_dump_json().encode())


def _summary(line: bytes) -> Summary | None:
    """What a line says; None where it is garbled, or of an older form."""
    try:
        return Summary.model_validate_json(text_of(line) or b"")
    except ValidationError:
        return None
