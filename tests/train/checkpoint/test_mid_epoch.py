"""Checkpoints inside an epoch that go on with the same stream of images only, and those between two epochs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoint_states import IDENTITY, bitwise_equal, state_of
from support.disks import list_names
from support.ranks import join_group, on_ranks

from suite import records
from suite.config import InputError
from suite.train import checkpoint
from suite.train.distributed import SINGLE_PROCESS, Group

STREAM = {"dali": "2.4.0", "ranks": "4"}
OTHER = {"dali": "2.5.1", "ranks": "4"}
LARGE = bytes(range(256)) * 4000


def inside(folder: Path, step: int, stream: dict[str, str] | None = None) -> str:
    checkpoint.save(folder, state_of(step), step=step, identity=IDENTITY, stream=STREAM if stream is None else stream)
    return f"checkpoint-{step:010d}.pt"


def epoch_boundary(folder: Path, step: int) -> str:
    checkpoint.save(folder, state_of(step), step=step, identity=IDENTITY, epoch_boundary=True)
    return f"checkpoint-{step:010d}.border.pt"


def step_read(folder: Path, stream: dict[str, str] | None = None, *, fall_back_to_boundary: bool = False) -> int | None:
    found = checkpoint.read(folder, IDENTITY, stream=stream, fall_back_to_boundary=fall_back_to_boundary)
    if found is None:
        return None
    state = checkpoint.unpack(found)
    assert bitwise_equal(state, state_of(state["step"]))
    return int(state["step"])


@pytest.mark.parametrize("fall_back_to_boundary", [False, True])
def test_the_same_stream_goes_on(tmp_path: Path, fall_back_to_boundary: bool) -> None:
    kept = [epoch_boundary(tmp_path, 10), inside(tmp_path, 14), inside(tmp_path, 17)]
    assert step_read(tmp_path, STREAM, fall_back_to_boundary=fall_back_to_boundary) == 17
    assert step_read(tmp_path, dict(reversed(STREAM.items())), fall_back_to_boundary=fall_back_to_boundary) == 17
    assert list_names(tmp_path) == sorted(kept)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (OTHER, "dali 2.4.0, now 2.5.1"),
        ({**STREAM, "ranks": "2"}, "ranks 4, now 2"),
        ({"dali": "1", "ranks": "2"}, "dali 2.4.0, now 1; ranks 4, now 2"),
        ({"ranks": "4"}, "dali 2.4.0, now None"),
        ({**STREAM, "storage": "tar"}, "storage None, now tar"),
        ({}, "dali 2.4.0, now None; ranks 4, now None"),
        (None, "dali 2.4.0, now None; ranks 4, now None"),
    ],
)
def test_another_stream_is_refused(tmp_path: Path, now: dict[str, str] | None, said: str) -> None:
    kept = [epoch_boundary(tmp_path, 10), inside(tmp_path, 14)]
    for _ in range(2):  # and nothing was changed by it
        with pytest.raises(InputError) as caught:
            step_read(tmp_path, now)
        assert str(caught.value).startswith(f"{tmp_path / kept[1]}: images cannot go on inside its epoch ({said}): ")
        assert "run it as before" in str(caught.value) and "checkpoint.on_other_stream: epoch" in str(caught.value)
        assert list_names(tmp_path) == sorted(kept)
    assert step_read(tmp_path, STREAM) == 14


def test_another_stream_goes_back_to_the_border(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    old, first, second = epoch_boundary(tmp_path, 10), inside(tmp_path, 14), inside(tmp_path, 17)
    assert step_read(tmp_path, OTHER, fall_back_to_boundary=True) == 10
    assert list_names(tmp_path) == sorted([old, *(name.replace(".pt", ".unusable") for name in (first, second))])
    assert [line.split(":")[0] for line in said()[:2]] == [str(tmp_path / name) for name in (second, first)]
    assert all("(dali 2.4.0, now 2.5.1): going back to the border of one: not used" in line for line in said()[:2])
    assert said()[2] == f"going on from step 10: {tmp_path / old}"
    assert checkpoint.newest_step(tmp_path) == 10
    inside(tmp_path, 12, OTHER)
    assert step_read(tmp_path, OTHER) == 12


def test_without_a_border_it_starts_again(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    inside(tmp_path, 3)
    inside(tmp_path, 4)
    assert step_read(tmp_path, OTHER, fall_back_to_boundary=True) is None
    assert said()[-1] == "no checkpoint is left that can be used: starting at the first epoch"
    assert checkpoint.newest_step(tmp_path) == -1


def test_a_border_belongs_to_no_stream(tmp_path: Path) -> None:
    epoch_boundary(tmp_path, 10)
    for stream in (STREAM, OTHER, {}, None):
        assert step_read(tmp_path, stream) == 10
    inside(tmp_path, 12)
    epoch_boundary(tmp_path, 20)
    assert step_read(tmp_path, OTHER) == 20  # the older one inside an epoch is no matter


def test_the_newest_border_is_kept_and_no_other(tmp_path: Path) -> None:
    grown: list[str] = []
    wanted: dict[int, list[int]] = {
        10: [10], 12: [10, 12], 14: [10, 12, 14], 16: [10, 14, 16], 18: [10, 16, 18], 20: [18, 20], 30: [20, 30],
        31: [30, 31], 32: [30, 31, 32], 33: [30, 32, 33], 40: [33, 40], 100: [40, 100],
    }  # fmt: skip
    folder = tmp_path / "attempt-1"
    folder.mkdir()
    for step, left in wanted.items():
        saved = epoch_boundary(folder, step) if step % 10 == 0 else inside(folder, step)
        steps = [
            int(name.removesuffix(".pt").removesuffix(".border").rpartition("-")[2]) for name in list_names(folder)
        ]
        assert steps == left and checkpoint.newest_step(folder) == step
        assert records.newest_checkpoint(tmp_path) == saved
        grown.append(saved)
    assert grown == sorted(grown)


def test_a_border_beside_the_same_step(tmp_path: Path) -> None:
    inside(tmp_path, 10)
    epoch_boundary(tmp_path, 10)
    assert step_read(tmp_path, OTHER) == 10  # the border is the newer of the two
    assert checkpoint.newest_step(tmp_path) == 10


def test_a_garbled_border_gives_way(tmp_path: Path) -> None:
    path = tmp_path / epoch_boundary(tmp_path, 10)
    inside(tmp_path, 14)
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    assert step_read(tmp_path, OTHER, fall_back_to_boundary=True) is None
    assert list_names(tmp_path) == ["checkpoint-0000000010.border.unusable", "checkpoint-0000000014.unusable"]


def test_another_identity_is_no_matter_of_streams(tmp_path: Path) -> None:
    inside(tmp_path, 14)
    assert checkpoint.read(tmp_path, {**IDENTITY, "train_id": "d2"}, stream=OTHER) is None


def lots(rank: int) -> list[bytes]:
    """What a rank gives, call after call."""
    return [b"", b"\x00", bytes([rank]) * rank, LARGE[: 1 + rank * 1000], LARGE if rank == 1 else b"", b"\xff\x00" * 3]


def gathered(group: Group) -> list[list[torch.Tensor]]:
    return [group.all_gather_bytes(data) for data in lots(group.rank)]


def talk() -> list[list[torch.Tensor]]:
    with join_group() as group:
        return gathered(group)


def assert_gathered(found: list[list[torch.Tensor]], world_size: int) -> None:
    assert len(found) == len(lots(0))
    for call, parts in enumerate(found):
        assert [part.numpy().tobytes() for part in parts] == [lots(rank)[call] for rank in range(world_size)]
        assert all((part.dtype, part.dim(), part.device.type) == (torch.uint8, 1, "cpu") for part in parts)
        assert all(part.untyped_storage().nbytes() == len(part) for part in parts)  # no more goes into a checkpoint


@pytest.mark.slow
def test_bytes_of_all_ranks(tmp_path: Path) -> None:
    assert_gathered(gathered(SINGLE_PROCESS), 1)
    returned: list[Any] = on_ranks(3, talk, tmp_path)
    for found in returned:
        assert_gathered(found, 3)
