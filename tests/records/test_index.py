"""The index of final trials: a cache. With it or without it, garbled or of another folder, answers are the same."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fake_results import fake_result
from support.index_cases import (
    KINDS,
    TRIALS,
    filled,
    is_right,
    reference,
    trial_of,
    write_trial_state,
)

from suite.records import Result, Summary, index, index_file
from suite.records.files import read_result_and_state
from suite.records.index import Index
from suite.records.index_file import line_of, text_of
from suite.records.ledger import Ledger

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every result had been written long before it is looked at."""
    monkeypatch.setattr(index, "SETTLED_NS", -(10**12))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trials whose results the index has opened."""
    names: list[str] = []

    def reading(folder: Path) -> tuple[Result, os.stat_result] | None:
        names.append(folder.name)
        return read_result_and_state(folder)

    monkeypatch.setattr(index, "read_result_and_state", reading)
    return names


def lines(ledger: Ledger) -> list[bytes]:
    """The entries: what follows the line that says what the file is."""
    return [line for line in (ledger.root / "index.jsonl").read_bytes().split(b"\n") if line][1:]


# Equal answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_a_history(ledger: Ledger, seed: int) -> None:
    """Trials end, are begun again, are moved away and come back, and are looked at in between."""
    chance = random.Random(seed)
    away = ledger.root.parent / "away"
    away.mkdir()
    assert is_right(ledger)
    assert not ledger.root.exists()
    for _ in range(120):
        trial = chance.choice(list(TRIALS.values()))
        folder, elsewhere = ledger.folder(trial.trial_id), away / trial.trial_id
        if elsewhere.exists() and not folder.exists():
            elsewhere.rename(folder)
        elif folder.is_file():
            folder.unlink()
        elif folder.exists() and chance.random() < 0.3 and not elsewhere.exists():
            folder.rename(elsewhere)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            write_trial_state(ledger, trial, chance.choice(KINDS))
        if chance.random() < 0.3:
            assert is_right(ledger)
        if chance.random() < 0.05:
            (ledger.root / "index.jsonl").unlink(missing_ok=True)
    assert is_right(ledger)
    assert set(reference(ledger).values()) > {"done", "differs", "garbled", "failed", "unfinished", "missing"}


def test_a_changed_default_is_seen_though_nothing_is_opened(ledger: Ledger, opened: list[str]) -> None:
    trial = trial_of(1)
    write_trial_state(ledger, trial, "fewer")
    assert ledger.lookup({trial.trial_id: trial})[trial.trial_id].state == "done"
    summary = json.loads(lines(ledger)[0].split(b" ", 3)[3])
    assert "threads" not in summary["config"]
    later = trial.model_copy(update={"threads": 2})  # what this trial_id would mean with another default
    found = ledger.lookup({trial.trial_id: later})[trial.trial_id]
    assert found.state == "differs" and found.problem and str(ledger.folder(trial.trial_id)) in found.problem
    assert opened == [trial.trial_id]


# What is used of it -------------------------------------------------------------------------------------------------


def test_what_one_look_found_the_next_one_does_not_open(ledger: Ledger, opened: list[str]) -> None:
    first = filled(ledger)
    assert set(opened) == TRIALS.keys()
    opened.clear()
    size = (ledger.root / "index.jsonl").stat().st_size
    assert {i: each.state for i, each in ledger.lookup(TRIALS).items()} == first
    assert Index(ledger.root).everything().keys() == TRIALS.keys()
    assert opened == []
    assert (ledger.root / "index.jsonl").stat().st_size == size


def test_only_what_is_asked_for_is_opened(ledger: Ledger, opened: list[str]) -> None:
    filled(ledger)
    (ledger.root / "index.jsonl").unlink()
    opened.clear()
    some = dict(list(TRIALS.items())[:3])
    assert ledger.lookup(some).keys() == some.keys()
    assert set(opened) == some.keys()


def test_a_whole_copy(ledger: Ledger, tmp_path: Path, opened: list[str]) -> None:
    filled(ledger)
    shutil.copytree(ledger.root, tmp_path / "copy")
    copy = Ledger(tmp_path / "copy")
    write_trial_state(copy, trial_of(1), "diverged")
    opened.clear()
    assert is_right(copy)
    assert len(opened) == len(TRIALS)  # once: other files


# Damage -------------------------------------------------------------------------------------------------------------


def older(line: bytes) -> bytes:
    """The entry as an older suite had it, with a checksum that is right."""
    trial_id, stamp, text = line.split(b" ", 3)[1:]
    summary = json.loads(text)
    del summary["device"]
    return line_of(trial_id + b" " + stamp, json.dumps(summary).encode()).rstrip()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda line: line[: len(line) // 2],
    "cut in the checksum": lambda line: line[:5],
    "checksum": lambda line: (b"0" if line[:1] != b"0" else b"1") + line[1:],
    "no hex": lambda line: b"zzzzzzzz" + line[8:],
    "a byte": lambda line: line.replace(b'"done"', b'"dove"'),
    "not text": lambda line: line[:40] + b"\xff\xfe\x00" + line[40:],
    "older": older,
    "empty": lambda line: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_line_that_cannot_be_used(ledger: Ledger, damage: str, opened: list[str]) -> None:
    filled(ledger)
    path = ledger.root / "index.jsonl"
    first = lines(ledger)[0]
    trial_id = first[9:21].decode()
    path.write_bytes(path.read_bytes().replace(first, DAMAGES[damage](first)))
    opened.clear()
    assert is_right(ledger)
    assert opened == [trial_id]  # and it is known from then on


def test_a_line_cut_short_and_others_behind_it(ledger: Ledger, opened: list[str]) -> None:
    filled(ledger)
    path = ledger.root / "index.jsonl"
    os.truncate(path, path.stat().st_size - 50)  # as a full disk leaves it
    last = lines(ledger)[-1][9:21].decode()
    later = trial_of(99)
    write_trial_state(ledger, later, "done")
    opened.clear()
    assert ledger.lookup({later.trial_id: later})[later.trial_id].state == "done"
    assert is_right(ledger)
    assert opened == [later.trial_id, last]
    assert ledger.lookup({later.trial_id: later})[later.trial_id].state == "done"
    assert len(opened) == 2


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 5))])
def test_random_damage(ledger: Ledger, seed: int) -> None:
    chance = random.Random(seed)
    path = ledger.root / "index.jsonl"
    for trial in TRIALS.values():
        write_trial_state(ledger, trial, chance.choice(KINDS))
    for _ in range(30):
        assert is_right(ledger)
        content = bytearray(path.read_bytes())
        if not any(map(text_of, content.split(b"\n"))):  # nothing in it is ours any more: it stays so
            path.unlink()
            continue
        for _ in range(chance.choice((1, 10, 200))):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.randrange(len(content))] if chance.random() < 0.3 else bytes(content))
    assert is_right(ledger)


@pytest.mark.parametrize("written", [0, 1, 20, None])
def test_a_full_disk_costs_time_alone(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, written: int | None, opened: list[str]
) -> None:
    """Where nothing, or not all, of what a look found can be written into the index."""
    filled(ledger)
    write, trial = os.write, trial_of(3)

    def full(handle: int, content: bytes) -> int:
        if written is None:
            raise OSError(28, "No space left on device")
        return write(handle, content[:written])

    shutil.rmtree(ledger.folder(trial.trial_id))
    write_trial_state(ledger, trial, "diverged")
    with monkeypatch.context() as patch:
        patch.setattr(index_file.os, "write", full)
        assert is_right(ledger)
    opened.clear()
    assert is_right(ledger)
    assert opened == [trial.trial_id]  # and it is known from then on


def test_an_entry_is_one_line(ledger: Ledger) -> None:
    trial = trial_of(1)
    result = fake_result(trial, versions={"torch": 'a\nb\u2028"\x00'}, device="Gerät\r\n")
    summary = Summary.model_validate({**result.model_dump(), "num_test_images": 360, "record_bytes": 5})
    text = index._line(trial.trial_id, os.stat(__file__), summary)
    assert text.count(b"\n") == 1 and text.endswith(b"\n")
    assert index._summary(text[:-1]) == summary
