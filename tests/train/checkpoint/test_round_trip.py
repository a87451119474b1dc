"""What comes back from a checkpoint: every bit, in files that are named and kept as agreed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoint_states import IDENTITY, MAGIC, bitwise_equal, each_method, save, state_of, step_read, tiny
from support.disks import list_names

from suite import data
from suite.train import checkpoint, setup
from suite.train.step import train_step


def test_every_bit_comes_back(tmp_path: Path) -> None:
    bits = torch.tensor([0x7FC00001, 0x7F800000, -0x80000000, 1, 0], dtype=torch.int32)  # NaN, inf, -0, subnormal
    kinds = (torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8)
    state = {
        "model": {"weight": bits.view(torch.float32), "kinds": [torch.tensor([0, 1, 1], dtype=kind) for kind in kinds]},
        "none": torch.empty(0, 3),
        "number": torch.tensor(0.1, dtype=torch.float64),
        "part": torch.arange(12).view(3, 4)[:, 1],
        "progress": {"lines": [{"lr": 0.1, "loss": float("nan"), "val": -0.0}], "step": 2**40, "text": "ü", "no": None},
    }
    checkpoint.save(tmp_path, state, step=7, identity=IDENTITY)
    found = checkpoint.read(tmp_path, IDENTITY)
    assert found is not None
    assert bitwise_equal(checkpoint.unpack(found), state)
    assert not bitwise_equal(checkpoint.unpack(found), {**state, "none": torch.empty(3, 0)})


@each_method
def test_the_state_of_each_method_comes_back(tmp_path: Path, method: str) -> None:
    trial = tiny(method)
    arrays = data.load(trial.dataset, data_dir=None, device="cpu")

    def begin() -> setup.Run:
        return setup.build(trial, arrays, setup.configure_torch(trial))

    def go(run: setup.Run, first: int, last: int) -> None:
        for images, labels in list(arrays.train_batches(3, 0, 64))[first:last]:
            train_step(run, images, labels, len(labels))

    def state(run: setup.Run) -> dict[str, Any]:
        return {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}

    old = begin()
    go(old, 0, 8)  # past a redraw
    checkpoint.save(tmp_path, state(old), step=8, identity=IDENTITY)
    found = checkpoint.read(tmp_path, IDENTITY)
    assert found is not None
    saved = checkpoint.unpack(found)
    assert bitwise_equal(saved, {key: dict(value) for key, value in state(old).items()})
    new = begin()
    assert not bitwise_equal(state(new), state(old))
    new.model.load_state_dict(saved["model"])
    new.optimizer.load_state_dict(saved["optimizer"])
    assert bitwise_equal(state(new), state(old))
    for run in (old, new):
        go(run, 8, 15)  # past another one
    assert bitwise_equal(state(new), state(old))
    assert not bitwise_equal(state(new)["optimizer"], checkpoint.unpack(found)["optimizer"])


def test_the_file_is_as_it_is_written_down(tmp_path: Path) -> None:
    content = save(tmp_path, 7).read_bytes()
    magic, header, _ = content.split(b"\n", 2)
    assert magic + b"\n" == MAGIC
    assert json.loads(header) == {**IDENTITY, "stream": {}}
    assert content[-32:] == hashlib.sha256(content[:-32]).digest()
    payload = content[len(magic) + len(header) + 2 : -32]
    assert payload == checkpoint.read(tmp_path, IDENTITY)
    assert payload.startswith(b"PK")  # torch's own format is a zip archive


def test_where_there_is_none(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    (tmp_path / "metrics.jsonl").touch()
    for folder in (tmp_path, tmp_path / "missing"):
        assert checkpoint.read(folder, IDENTITY) is None
        assert checkpoint.newest_step(folder) == -1
    assert checkpoint.newest_step(None) == -1
    assert said() == []


def test_the_newest_two_are_kept(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    (tmp_path / "metrics.jsonl").touch()
    for step, kept in ((0, [0]), (9, [0, 9]), (10, [9, 10]), (99999, [10, 99999]), (100000, [99999, 100000])):
        save(tmp_path, step)
        assert list_names(tmp_path) == [f"checkpoint-{step:010d}.pt" for step in kept] + ["metrics.jsonl"]
        assert checkpoint.newest_step(tmp_path) == step
        assert step_read(tmp_path) == step
    assert said()[-1] == f"going on from step 100000: {tmp_path / 'checkpoint-0000100000.pt'}"


def test_a_later_one_of_the_same_step_takes_its_place(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, step)
    for size in (5, 5000, 7):
        save(tmp_path, 2, size=size)
        assert list_names(tmp_path) == ["checkpoint-0000000001.pt", "checkpoint-0000000002.pt"]
        found = checkpoint.read(tmp_path, IDENTITY)
        assert found is not None
        assert bitwise_equal(checkpoint.unpack(found), state_of(2, size))


def test_a_folder_that_is_gone_does_not_come_back(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "attempt-1", 1)
    assert list_names(tmp_path) == []
