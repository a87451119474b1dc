"""The index of final trials: a cache. With it or without it, garbled or of another folder, answers are the same."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from made_up import made, result_of

from suite import index
from suite.config import Trial
from suite.index import Entry, Index
from suite.ledger import Ledger
from suite.records import Result, StoppedEarly, Summary, read_result

ROOT = Path(__file__).parents[1]
SCHEDULER = {"name": "fifo", "grace_epochs": 1, "reduction_factor": 4}
KINDS = ("done", "diverged", "fewer", "moved", "changed", "garbled", "binary", "failed", "stopped", "left", "file")


def trial_of(seed: int) -> Trial:
    settings: dict[str, Any] = {"dataset": {"name": "digits"}, "model": {"name": "conv2"}, "epochs": 1}
    method = {"name": "weights", "lr": 0.1}
    return Trial.model_validate({**settings, "method": method, "seed": seed, "global_batch_size": 64})


TRIALS = {trial.trial_id: trial for trial in map(trial_of, range(1, 41))}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trials whose results the index has opened."""
    names: list[str] = []

    def reading(folder: Path) -> Result | None:
        names.append(folder.name)
        return read_result(folder)

    monkeypatch.setattr(index, "read_result", reading)
    return names


@pytest.fixture
def one_inode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst disk: a folder that is made anew always gets the inode of the one that was there."""
    monkeypatch.setattr(Index, "_folders", lambda self: dict.fromkeys(names(self._trials), 7))


def names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.exists() else []


def leave(ledger: Ledger, trial: Trial, kind: str) -> None:
    """What may be found of a trial."""
    folder = ledger.folder(trial.trial_id)
    if kind == "file":
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.touch()
        return
    made(ledger, trial.trial_id)
    config = trial.model_dump(mode="json")
    if kind == "fewer":  # before settings with defaults were added
        config = {key: value for key, value in config.items() if Trial.model_fields[key].is_required()}
    config |= {"moved": {"resources": {"cpus": 2.0, "gpus": 0.0}}, "changed": {"threads": 3}}.get(kind, {})
    if kind in ("done", "diverged", "fewer", "moved", "changed"):
        status = "diverged" if kind == "diverged" else "done"
        text = result_of(trial, status=status, config=config).model_dump_json()
        (folder / "result.json").write_text(text)
    elif kind in ("garbled", "binary"):
        (folder / "result.json").write_bytes(b'{"trial_id": ' if kind == "garbled" else b"\xff\x00\n" * 99)
    elif kind == "failed":
        (folder / "failure.json").write_text("{}")
    elif kind == "stopped":
        stopped = StoppedEarly(scheduler=SCHEDULER, epochs=1)
        (folder / "stopped.json").write_text(stopped.model_dump_json())
    else:
        (folder / "attempt-1").mkdir()


def reference(ledger: Ledger, trials: Iterable[Trial] = TRIALS.values()) -> dict[str, str]:
    """What has become of trials, by opening everything."""
    return {trial.trial_id: reference_of(ledger.folder(trial.trial_id), trial) for trial in trials}


def reference_of(folder: Path, trial: Trial) -> str:
    if (folder / "result.json").is_file():
        try:
            result = json.loads((folder / "result.json").read_bytes())
        except ValueError:
            return "garbled"
        planned = trial.model_dump(mode="json")
        ran = {**planned, **{key: value for key, value in result["config"].items() if key != "resources"}}
        return str(result["status"]) if ran == planned else "differs"
    if (folder / "failure.json").is_file():
        return "failed"
    if (folder / "stopped.json").is_file():
        return "stopped" if json.loads((folder / "stopped.json").read_text())["scheduler"] == SCHEDULER else "left"
    return "unfinished" if folder.exists() else "missing"


def states(ledger: Ledger) -> dict[str, str]:
    """What the ledger says; what it knows of results is what stands in them."""
    found = ledger.look(TRIALS)
    for trial_id, (_, summary, _) in found.items():
        if summary is not None:
            result = read_result(ledger.folder(trial_id))
            known = summary.model_dump(exclude={"num_test_images", "record_bytes"})
            assert result is not None and known == result.model_dump(include=set(known))
            assert summary.num_test_images == len(result.test_predictions or [])
    return {trial_id: each.state for trial_id, each in found.items()}


def is_right(ledger: Ledger) -> bool:
    """Answers are right, now and at the next look, and every trial is found as its own state says."""
    expected = reference(ledger)
    return states(ledger) == expected == states(ledger)


def lines(ledger: Ledger) -> list[bytes]:
    return [line for line in (ledger.root / "index.jsonl").read_bytes().split(b"\n") if line]


# Equal answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_history(ledger: Ledger, seed: int, request: pytest.FixtureRequest) -> None:
    """Trials end, are begun again, are moved away and come back, and are looked at in between."""
    chance = random.Random(seed)
    if seed % 2:
        request.getfixturevalue("one_inode")
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
            index.begun(made(ledger, trial.trial_id))
            folder.rmdir()
            leave(ledger, trial, chance.choice(KINDS))
        if chance.random() < 0.3:
            assert is_right(ledger)
        if chance.random() < 0.05:
            (ledger.root / "index.jsonl").unlink(missing_ok=True)
    assert is_right(ledger)
    assert set(reference(ledger).values()) > {"done", "differs", "garbled", "failed", "unfinished", "missing"}


def test_a_changed_default_is_seen_though_nothing_is_opened(ledger: Ledger, opened: list[str]) -> None:
    trial = trial_of(1)
    leave(ledger, trial, "fewer")
    assert ledger.look({trial.trial_id: trial})[trial.trial_id].state == "done"
    entry = json.loads(lines(ledger)[0].split(b" ", 2)[2])
    assert "threads" not in entry["summary"]["config"]
    later = trial.model_copy(update={"threads": 2})  # what this trial_id would mean with another default
    found = ledger.look({trial.trial_id: later})[trial.trial_id]
    assert found.state == "differs" and found.problem and str(ledger.folder(trial.trial_id)) in found.problem
    assert opened == [trial.trial_id]


# What is used of it -------------------------------------------------------------------------------------------------


def filled(ledger: Ledger) -> dict[str, str]:
    """Every trial done, and in the index."""
    for trial in TRIALS.values():
        leave(ledger, trial, "done")
    return states(ledger)


def test_what_one_look_found_the_next_one_does_not_open(ledger: Ledger, opened: list[str]) -> None:
    first = filled(ledger)
    assert set(opened) == TRIALS.keys()
    for i, trial_id in enumerate(TRIALS):
        result = ledger.folder(trial_id) / "result.json"
        result.write_text("{") if i % 2 else result.unlink()
    opened.clear()
    size = (ledger.root / "index.jsonl").stat().st_size
    assert {i: each.state for i, each in ledger.look(TRIALS).items()} == first
    assert opened == []
    assert (ledger.root / "index.jsonl").stat().st_size == size
    (ledger.root / "index.jsonl").unlink()
    assert set(reference(ledger).values()) == {"garbled", "unfinished"}
    assert is_right(ledger)


def test_only_what_is_asked_for_is_opened(ledger: Ledger, opened: list[str]) -> None:
    filled(ledger)
    (ledger.root / "index.jsonl").unlink()
    opened.clear()
    some = dict(list(TRIALS.items())[:3])
    assert ledger.look(some).keys() == some.keys()
    assert set(opened) == some.keys()


@pytest.mark.parametrize("begin", ["done", "diverged", "left", "failed"])
def test_a_new_attempt_in_a_folder_of_the_same_inode(ledger: Ledger, one_inode: None, begin: str) -> None:
    filled(ledger)
    trial = trial_of(3)
    shutil.rmtree(ledger.folder(trial.trial_id))
    index.begun(made(ledger, trial.trial_id))
    assert states(ledger)[trial.trial_id] == "unfinished"
    leave(ledger, trial, begin)
    assert states(ledger)[trial.trial_id] == {"left": "unfinished"}.get(begin, begin)
    assert is_right(ledger)


def test_a_trial_that_was_seen_missing_is_not_known_any_more(ledger: Ledger, one_inode: None) -> None:
    """As where a job makes its folder anew, long before its attempt begins, or another folder is copied there."""
    filled(ledger)
    trial = trial_of(3)
    shutil.rmtree(ledger.folder(trial.trial_id))
    assert states(ledger)[trial.trial_id] == "missing"
    (made(ledger, trial.trial_id) / "job.json").write_text("{}")
    assert states(ledger)[trial.trial_id] == "unfinished"
    leave(ledger, trial, "diverged")
    assert is_right(ledger)


def test_a_whole_copy(ledger: Ledger, tmp_path: Path, opened: list[str]) -> None:
    filled(ledger)
    shutil.copytree(ledger.root, tmp_path / "copy")
    copy = Ledger(tmp_path / "copy")
    leave(copy, trial_of(1), "diverged")
    opened.clear()
    assert is_right(copy)
    assert len(opened) == len(TRIALS)  # once: other inodes


# Damage -------------------------------------------------------------------------------------------------------------


def older(line: bytes) -> bytes:
    """The entry as an older suite had it, with a checksum that is right."""
    trial_id, text = line.split(b" ", 2)[1:]
    entry = json.loads(text)
    del entry["summary"]["device"]
    kept = f"{trial_id.decode()} {json.dumps(entry)}"
    return b"%08x %s" % (index.zlib.crc32(kept.encode()), kept.encode())


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
    first, *rest = lines(ledger)
    trial_id = first[9:21].decode()
    (ledger.root / "index.jsonl").write_bytes(b"\n".join([DAMAGES[damage](first), *rest]) + b"\n")
    shutil.rmtree(ledger.folder(trial_id))
    leave(ledger, TRIALS[trial_id], "diverged")
    opened.clear()
    assert is_right(ledger)
    assert opened == [trial_id]  # and it is known from then on


def test_a_line_cut_short_and_others_behind_it(ledger: Ledger, opened: list[str]) -> None:
    filled(ledger)
    path = ledger.root / "index.jsonl"
    os.truncate(path, path.stat().st_size - 50)  # as a full disk leaves it
    last = lines(ledger)[-1][9:21].decode()
    later = trial_of(99)
    leave(ledger, later, "done")
    opened.clear()
    assert ledger.look({later.trial_id: later})[later.trial_id].state == "done"
    assert is_right(ledger)
    assert opened == [later.trial_id, last]
    assert ledger.look({later.trial_id: later})[later.trial_id].state == "done"
    assert len(opened) == 2


@pytest.mark.parametrize("seed", range(5))
def test_random_damage(ledger: Ledger, seed: int) -> None:
    chance = random.Random(seed)
    path = ledger.root / "index.jsonl"
    for trial in TRIALS.values():
        leave(ledger, trial, chance.choice(KINDS))
    for _ in range(30):
        assert is_right(ledger)
        content = bytearray(path.read_bytes())
        for _ in range(chance.choice((1, 10, 200))):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.randrange(len(content))] if chance.random() < 0.3 else bytes(content))
    assert is_right(ledger)


@pytest.mark.parametrize("written", [0, 1, 20, None])
def test_a_full_disk_keeps_no_old_answer(
    ledger: Ledger, one_inode: None, monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    """Where an attempt begins, and nothing, or not all, can be written of it into the index."""
    filled(ledger)
    write, trial = os.write, trial_of(3)

    def full(handle: int, content: bytes) -> int:
        if written is None:
            raise OSError(28, "No space left on device")
        return write(handle, content[:written])

    shutil.rmtree(ledger.folder(trial.trial_id))
    with monkeypatch.context() as patch:
        patch.setattr(index.os, "write", full)
        index.begun(made(ledger, trial.trial_id))
    leave(ledger, trial, "diverged")
    assert is_right(ledger)


def test_an_entry_is_one_line(ledger: Ledger) -> None:
    trial = trial_of(1)
    result = result_of(trial, versions={"torch": 'a\nb\u2028"\x00'}, device="Gerät\r\n")
    summary = Summary.model_validate({**result.model_dump(), "num_test_images": 360, "record_bytes": 5})
    text = index._line(Entry(trial_id=trial.trial_id, inode=1, summary=summary)).encode()
    assert text.count(b"\n") == 1 and text.endswith(b"\n")
    entry = index._parsed(text[:-1])
    assert entry and entry.summary == summary
