"""Checkpoints that are garbled, cut short, of other trials or evil are not used."""

import contextlib
import hashlib
import json
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoint_states import IDENTITY, MAGIC, flip, save, step_read, tiny
from support.disks import list_names

from suite import data, train
from suite.records import source_code
from suite.train import checkpoint


def placed(place: str, path: Path) -> int:
    """A position in a checkpoint, by name."""
    content = path.read_bytes()
    header = content.index(b"\n", len(MAGIC))
    return {
        "nothing": 0,
        "one byte": 1,
        "in the magic line": len(MAGIC) - 5,
        "after the magic line": len(MAGIC),
        "in the header": (len(MAGIC) + header) // 2,
        "at the end of the header": header,
        "after the header": header + 1,
        "in the middle": len(content) // 2,
        "without the checksum": len(content) - 32,
        "in the checksum": len(content) - 16,
        "without the last byte": len(content) - 1,
    }[place]


PLACES = [
    "nothing",
    "one byte",
    "in the magic line",
    "after the magic line",
    "in the header",
    "at the end of the header",
    "after the header",
    "in the middle",
    "without the checksum",
    "in the checksum",
    "without the last byte",
]
FLIPS = [random.Random(seed).random() for seed in range(12)]


def assert_the_one_before_is_used(folder: Path, said: list[str], why: str) -> None:
    """``read`` has just looked at a garbled step 2."""
    path = folder / "checkpoint-0000000002.pt"
    assert said == [f"{path}: {why}: not used", f"going on from step 1: {folder / 'checkpoint-0000000001.pt'}"]
    assert list_names(folder) == ["checkpoint-0000000001.pt", "checkpoint-0000000002.unusable"]
    assert checkpoint.newest_step(folder) == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_checkpoint_cut_short(tmp_path: Path, said: Callable[[], list[str]], place: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    os.truncate(path, placed(place, path))
    assert checkpoint.newest_step(tmp_path) == 2
    assert step_read(tmp_path) == 1
    whole = placed_after_magic(place)
    why = "is garbled or cut short: its checksum differs" if whole else "is no checkpoint"
    assert_the_one_before_is_used(tmp_path, said(), why)
    assert step_read(tmp_path) == 1  # and again, without a word of warning
    assert len(said()) == 3
    save(tmp_path, 2)
    assert step_read(tmp_path) == 2


def placed_after_magic(place: str) -> bool:
    return place not in ("nothing", "one byte", "in the magic line")


@pytest.mark.parametrize("share", [*FLIPS, 0.0, 1.0])
def test_a_flipped_bit(tmp_path: Path, said: Callable[[], list[str]], share: float) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    position = int(share * (path.stat().st_size - 1))
    flip(path, position, bit=position % 8)
    assert step_read(tmp_path) == 1
    why = "is no checkpoint" if position < len(MAGIC) else "is garbled or cut short: its checksum differs"
    assert_the_one_before_is_used(tmp_path, said(), why)


@pytest.mark.parametrize("place", PLACES[2:])
def test_a_flipped_bit_at_each_part_of_a_file(tmp_path: Path, said: Callable[[], list[str]], place: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    flip(path, placed(place, path), bit=3)
    assert step_read(tmp_path) == 1
    whole = placed_after_magic(place)
    assert_the_one_before_is_used(
        tmp_path, said(), "is garbled or cut short: its checksum differs" if whole else "is no checkpoint"
    )


@pytest.mark.parametrize("content", [bytes(5000), b"\xff" * 5000, MAGIC * 200])
def test_what_a_file_system_leaves_after_a_power_cut(
    tmp_path: Path, said: Callable[[], list[str]], content: bytes
) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2).write_bytes(content)
    assert step_read(tmp_path) == 1
    assert len(said()) == 2


def test_where_none_is_whole(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    first, second = save(tmp_path, 1), save(tmp_path, 2)
    os.truncate(first, 100)
    flip(second, 500, bit=0)
    assert step_read(tmp_path) is None
    assert said() == [
        f"{second}: is garbled or cut short: its checksum differs: not used",
        f"{first}: is garbled or cut short: its checksum differs: not used",
        "no checkpoint is left that can be used: starting at the first epoch",
    ]
    assert list_names(tmp_path) == ["checkpoint-0000000001.unusable", "checkpoint-0000000002.unusable"]
    assert checkpoint.newest_step(tmp_path) == -1
    assert step_read(tmp_path) is None
    assert len(said()) == 3  # told once
    save(tmp_path, 1)
    assert step_read(tmp_path) == 1


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"trial_id": "ba9876543210"}, ["trial_id ba9876543210, now 0123456789ab"]),
        ({"train_id": "d0"}, ["train_id d0, now d1"]),
        ({"code_id": "c0"}, ["code_id c0, now c1"]),
        ({"torch": "2.10"}, ["torch 2.10, now 2.11"]),
        ({"torch": "2.10", "code_id": "c0"}, ["code_id c0, now c1", "torch 2.10, now 2.11"]),
    ],
)
def test_a_checkpoint_of_others_is_not_used(
    tmp_path: Path, said: Callable[[], list[str]], other: dict[str, str], told: list[str]
) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2, **other)
    assert step_read(tmp_path) == 1
    assert_the_one_before_is_used(tmp_path, said(), f"was made under other conditions ({'; '.join(told)})")


def test_a_checkpoint_of_before_there_was_such_a_condition(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    path = save(tmp_path, 1)
    assert checkpoint.read(tmp_path, {**IDENTITY, "new": "n"}) is None
    assert said()[0] == f"{path}: was made under other conditions (new None, now n): not used"


class Evil:
    """What runs when it is unpickled: it leaves a file behind."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.sign),)


@pytest.mark.parametrize("kind", ["a plain pickle", "torch's format", "torch's old format"])
def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, kind: str) -> None:
    folder, sign = tmp_path / "x", tmp_path / "it ran"
    folder.mkdir()
    payload = folder / "payload"
    evil = {"model": Evil(sign)}
    if kind == "a plain pickle":
        payload.write_bytes(pickle.dumps(evil, protocol=2))
    else:
        torch.save(evil, payload, _use_new_zipfile_serialization=kind == "torch's format")
    trial = tiny("weights")
    train_id = data.load(trial.dataset, data_dir=None, device="cpu").train_id
    code_id = source_code.code_id()
    identity = {
        "trial_id": trial.trial_id,
        "train_id": train_id,
        "code_id": code_id,
        "torch": torch.__version__,
        "device": "cpu",
    }
    content = MAGIC + json.dumps(identity).encode() + b"\n" + payload.read_bytes()
    (folder / "checkpoint-0000000001.pt").write_bytes(content + hashlib.sha256(content).digest())
    found = checkpoint.read(folder, identity)
    assert found == payload.read_bytes()  # all that can be checked is in order
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.unpack(found)
    with pytest.raises(pickle.UnpicklingError):
        train.train(trial, folder)
    assert not sign.exists()
    with contextlib.suppress(Exception):
        torch.load(payload, weights_only=False)
    assert sign.exists()  # it would have
