"""Whose the file of the index is: one that is not ours is neither believed nor touched."""

import itertools
import json
import os
from pathlib import Path

import pytest
from support.disks import list_names
from support.fake_results import create_trial_folder, fake_result
from support.index_cases import filled, is_right, states, trial_of, write_trial_state

from suite.records import index
from suite.records.index import Index
from suite.records.index_file import line_of
from suite.records.ledger import Ledger

THEIRS: dict[str, bytes] = {
    "lines": b'{"page": 1, "text": "..."}\n{"page": 2}\n',
    "many lines": b'{"page": 1}\n' * 20_000,
    "nothing": b"",
    "a blank line": b"\n",
    "text": "Stichwörter\n".encode(),
    "bytes": bytes(range(256)),
    "a checksum that is wrong": b"00000000 69676f5e3fb9 1-2-3-4 {}\n",
}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every result had been written long before it is looked at."""
    monkeypatch.setattr(index, "SETTLED_NS", -(10**12))


@pytest.mark.parametrize("what", THEIRS)
def test_a_file_that_is_not_ours_stays_as_it_is(ledger: Ledger, what: str) -> None:
    path = ledger.root / "index.jsonl"
    path.parent.mkdir()
    path.write_bytes(THEIRS[what])
    state = path.stat()
    for seed in (1, 2):
        write_trial_state(ledger, trial_of(seed), "done")
        assert is_right(ledger) and len(Index(ledger.root).everything()) == seed
    assert path.read_bytes() == THEIRS[what] and path.stat().st_mtime_ns == state.st_mtime_ns
    assert path.stat().st_ino == state.st_ino and list_names(ledger.root) == ["index.jsonl", "trials"]


def test_a_folder_of_that_name_stays(ledger: Ledger) -> None:
    (ledger.root / "index.jsonl/deep").mkdir(parents=True)
    write_trial_state(ledger, trial_of(1), "done")
    assert is_right(ledger)
    assert list_names(ledger.root / "index.jsonl") == ["deep"]


def test_looks_at_trials_that_have_no_result_make_no_file(ledger: Ledger) -> None:
    for seed, kind in enumerate(("failed", "stopped", "left", "file"), 1):
        write_trial_state(ledger, trial_of(seed), kind)
    assert is_right(ledger)
    assert list_names(ledger.root) == ["trials"]


def test_it_says_what_it_is(ledger: Ledger) -> None:
    filled(ledger)
    first = (ledger.root / "index.jsonl").read_text().splitlines()[0]
    assert first.endswith("made from trials/*/result.json: a cache, which may be deleted at any time")


def test_an_index_of_an_older_form_is_ours_and_not_believed(ledger: Ledger) -> None:
    path, trial = ledger.root / "index.jsonl", trial_of(1)
    write_trial_state(ledger, trial, "done")
    entry = {"trial_id": trial.trial_id, "inode": ledger.folder(trial.trial_id).stat().st_ino, "summary": None}
    older = line_of(trial.trial_id.encode(), json.dumps(entry, separators=(",", ":")).encode())
    path.write_bytes(b"\n" + older)
    assert is_right(ledger)
    assert path.read_bytes().startswith(b"\n" + older) and path.stat().st_size > 1000


def test_an_entry_of_a_version_that_kept_less_is_not_believed(ledger: Ledger) -> None:
    """It leaves out what it does not know, and that may have a default."""
    trial, path = trial_of(1), ledger.root / "index.jsonl"
    folder = create_trial_folder(ledger, trial.trial_id)
    (folder / "result.json").write_text(fake_result(trial, test_correct="ff").model_dump_json())
    Index(ledger.root).everything()
    key, text = path.read_bytes().splitlines()[-1][9:].rsplit(b" {", 1)
    form, rest = key.split(b" ")[1].split(b"-", 1)
    less = (b"{" + text).replace(b'"test_correct":"ff",', b"")
    assert len(less) < len(text)
    path.write_bytes(line_of(trial.trial_id.encode() + b" " + b"0" * len(form) + b"-" + rest, less))
    assert Index(ledger.root).everything()[trial.trial_id].test_correct == "ff"
    path.write_bytes(line_of(trial.trial_id.encode() + b" " + form + b"-" + rest, less))
    assert Index(ledger.root).everything()[trial.trial_id].test_correct == ""  # one of this version is believed


def test_one_that_is_mostly_old_is_begun_anew(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that gives files other inodes at each look."""
    counts = iter(range(10**9))
    monkeypatch.setattr(index, "_stamp_of", lambda state: f"{next(counts)}-0-0-0")
    filled(ledger)
    sizes = []
    for _ in range(60):
        assert set(states(ledger).values()) >= {"done"}
        sizes.append((ledger.root / "index.jsonl").stat().st_size)
    assert max(sizes) < 35 * sizes[0] and any(later < size for size, later in itertools.pairwise(sizes))


@pytest.mark.parametrize("link", ["no links here", "another was quicker"])
def test_a_new_file(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    path, other = ledger.root / "index.jsonl", line_of(b"another process's", b"line")

    def refused(source: Path, target: Path) -> None:
        if link == "no links here":
            raise PermissionError(1, "Operation not permitted")
        path.write_bytes(other)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", refused)
    filled(ledger)
    assert list_names(ledger.root) == ["index.jsonl", "trials"]
    assert path.read_bytes().count(b"\n") > 40
    assert path.read_bytes().startswith(other) == (link == "another was quicker")
