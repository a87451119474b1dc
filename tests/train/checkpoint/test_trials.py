"""Trials go on from their checkpoints as if nobody had stopped them."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoint_states import each_method, flip, tiny
from support.disks import fill, list_names
from support.trial_processes import records_of

from suite import methods, train
from suite.config import Trial
from suite.records import EpochMetrics, read_metrics, read_result
from suite.stopping import Stopped
from suite.testing.method.cases import cases_of

# When a trial is asked whether it should stop: after each of 20 steps, in the evaluation (one batch of images) and
# after the epoch, twice; then in the evaluation on the test split; trained weights are evaluated in three forms more.
NUM_ASKED = 20 + 1 + 1 + 20 + 1 + 1 + 1
NUM_ASKED_OF = {name: NUM_ASKED + 3 * 2 * methods.trains_weights(methods.get(name)) for name in methods.names()}
SAVING = {"every_seconds": 0, "max_time_share": 1}  # after each step
STEPS = {1: 1, 5: 5, 20: 20, 21: 20, 22: 20, 23: 21, 44: 40, 45: 40}  # asked so often -> steps done


def stop_at(number: int) -> Callable[[], bool]:
    """Says yes when it is asked for the ``number``-th time, and never before."""
    count = 0

    def should_stop() -> bool:
        nonlocal count
        count += 1
        assert count <= number
        return count == number

    return should_stop


def train_until(trial: Trial, folder: Path, number: int) -> None:
    with pytest.raises(Stopped):
        train.train(trial, folder, should_stop=stop_at(number))
    assert read_result(folder) is None


Quiet = Callable[[str], Path]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    """Each method's records, of a run that nobody disturbed."""

    @cache
    def ran(method: str) -> Path:
        torch.set_num_threads(1)
        folder, asked = tmp_path_factory.mktemp(method), []
        train.train(tiny(method), folder, should_stop=lambda: bool(asked.append(1)))
        assert len(asked) == NUM_ASKED_OF[method]
        return folder

    return ran


def assert_equal_to_quiet(quiet: Quiet, method: str, folder: Path, **changes: Any) -> None:
    assert records_of(folder) == records_of(quiet(method))
    assert [list(line) for line in read_metrics(folder)] == [list(line) for line in read_metrics(quiet(method))]
    found = read_result(folder)
    assert found is not None
    assert found.config == tiny(method, **changes).model_dump(mode="json")


@pytest.mark.parametrize(
    ("method", "number"),
    [
        pytest.param(*case.values, number, marks=case.marks)
        for case in cases_of(methods.names())
        for number in (STEPS if case.values == ("iterand",) else (5, 21, 44))
    ],
)
def test_a_trial_goes_on_where_it_stopped(
    tmp_path: Path, quiet: Quiet, said: Callable[[], list[str]], method: str, number: int
) -> None:
    train_until(tiny(method), tmp_path, number)
    step = STEPS[number]
    assert list_names(tmp_path) == [f"checkpoint-{step:010d}.pt", "metrics.jsonl"]
    torch.manual_seed(99)  # nothing of the process gets into it
    told: list[EpochMetrics] = []
    result = train.train(tiny(method), tmp_path, on_epoch=told.append)
    assert said() == [f"going on from step {step}: {tmp_path / f'checkpoint-{step:010d}.pt'}"]
    assert [line["epoch"] for line in told] == [0, 1][(number >= 22) + (number >= 44) :]
    assert result == read_result(tmp_path)
    assert_equal_to_quiet(quiet, method, tmp_path)


@each_method
def test_a_trial_stopped_again_and_again(tmp_path: Path, quiet: Quiet, method: str) -> None:
    for number in (1, 1, 4, 10, 5, 1, 2, 1, 12):
        train_until(tiny(method), tmp_path, number)
    train.train(tiny(method), tmp_path)
    assert_equal_to_quiet(quiet, method, tmp_path)


@pytest.mark.parametrize("damage", ["cut short", "flipped", "another trial's", "both cut short"])
def test_a_trial_goes_on_from_the_checkpoint_before(
    tmp_path: Path, quiet: Quiet, said: Callable[[], list[str]], damage: str
) -> None:
    method = "iterand"  # what is read is no matter of the method; each goes on in the tests above
    folder = tmp_path / "x"
    folder.mkdir()
    train_until(tiny(method), folder, 7)
    train_until(tiny(method), folder, 20)  # in the second epoch, 5 steps in
    older, newest = (folder / f"checkpoint-{step:010d}.pt" for step in (7, 25))
    assert list_names(folder) == [older.name, newest.name, "metrics.jsonl"]
    assert len(read_metrics(folder)) == 1
    if damage == "another trial's":
        other = tiny(method, seed=4)
        elsewhere = tmp_path / "y"
        elsewhere.mkdir()
        train_until(other, elsewhere, 27)
        shutil.copy(elsewhere / newest.name, newest)
        why = f"was made under other conditions (trial_id {other.trial_id}, now {tiny(method).trial_id})"
    elif damage == "flipped":
        flip(newest, newest.stat().st_size * 2 // 3, bit=5)
    else:
        os.truncate(newest, newest.stat().st_size // 2)
        if damage == "both cut short":
            os.truncate(older, 0)
    if damage != "another trial's":
        why = "is garbled or cut short: its checksum differs"
    before = len(said())
    train.train(tiny(method), folder)
    assert said()[before] == f"{newest}: {why}: not used"
    if damage == "both cut short":
        assert said()[-1] == "no checkpoint is left that can be used: starting at the first epoch"
    else:
        assert said()[before + 1 :] == [f"going on from step 7: {older}"]
    assert newest.with_suffix(".unusable").exists()
    assert_equal_to_quiet(quiet, method, folder)


@pytest.mark.parametrize("number", range(NUM_ASKED + 1, NUM_ASKED_OF["weights"] + 1))
def test_a_dense_trial_stopped_while_smaller_forms_are_evaluated(tmp_path: Path, quiet: Quiet, number: int) -> None:
    """What it saves is the trained network, not the rounded one."""
    train_until(tiny("weights"), tmp_path, number)
    train.train(tiny("weights"), tmp_path)
    assert_equal_to_quiet(quiet, "weights", tmp_path)


@each_method
def test_saving_changes_nothing(tmp_path: Path, quiet: Quiet, method: str) -> None:
    trial = tiny(method, checkpoint=SAVING)
    train.train(trial, tmp_path)
    steps = ["checkpoint-0000000039.pt", "checkpoint-0000000040.pt"]
    network = "network.safetensors" if NUM_ASKED_OF[method] > NUM_ASKED else "network.ticket"
    assert list_names(tmp_path) == [*steps, "metrics.jsonl", network, "result.json"]
    assert_equal_to_quiet(quiet, method, tmp_path, checkpoint=SAVING)


def steps_not_saved(said: list[str]) -> list[int]:
    """In their order, each once."""
    end = ": No space left on device; the checkpoint before it stays"
    assert all(message.startswith("step ") and message.endswith(end) for message in said if "not saved" in message)
    return list(dict.fromkeys(int(message.split()[1]) for message in said if " is not saved" in message))


def test_a_disk_with_room_for_records_only(
    disk: Callable[[int], Path], quiet: Quiet, said: Callable[[], list[str]]
) -> None:
    """The records are 3 KB, a checkpoint is 40 KB."""
    folder = disk(32)
    trial = tiny("edge_popup", checkpoint=SAVING)
    train.train(trial, folder)
    assert steps_not_saved(said()) == list(range(1, 41))
    assert list_names(folder) == ["metrics.jsonl", "network.ticket", "result.json"]
    assert_equal_to_quiet(quiet, "edge_popup", folder, checkpoint=SAVING)


def test_a_disk_that_gets_full(disk: Callable[[int], Path], quiet: Quiet, said: Callable[[], list[str]]) -> None:
    """The trial stops, unsaved since step 20, and goes on from there while the disk is still full."""
    folder = disk(400) / "x"
    folder.mkdir()

    def get_full(line: EpochMetrics) -> None:
        fill(folder.parent, leave=16)

    with pytest.raises(Stopped) as stopped:
        train.train(
            tiny("edge_popup", checkpoint=SAVING), folder, on_epoch=get_full, should_stop=stop_at(20 + 1 + 1 + 9)
        )
    lost = "stopped at step 29; not saved (No space left on device): the same command resumes from step 20"
    assert str(stopped.value) == lost
    assert steps_not_saved(said()) == list(range(20, 30))  # at step 20 a second time, after the epoch
    assert list_names(folder) == ["checkpoint-0000000019.pt", "checkpoint-0000000020.pt", "metrics.jsonl"]
    train.train(tiny("edge_popup"), folder)
    assert said()[-1] == f"going on from step 20: {folder / 'checkpoint-0000000020.pt'}"
    assert_equal_to_quiet(quiet, "edge_popup", folder)


def test_a_disk_that_was_full_all_the_time(
    disk: Callable[[int], Path], quiet: Quiet, said: Callable[[], list[str]]
) -> None:
    """The trial says that it is lost, and a stop that is saved in the end says nothing of that."""
    folder = disk(400) / "x"
    folder.mkdir()
    filler = fill(folder.parent, leave=16)
    trial = tiny("edge_popup")
    with pytest.raises(Stopped) as stopped:
        train.train(trial, folder, should_stop=stop_at(5))
    lost = "stopped at step 5; not saved (No space left on device): the same command resumes from the first epoch"
    assert str(stopped.value) == lost

    def get_empty(line: EpochMetrics) -> None:
        filler.unlink()

    trial = tiny("edge_popup", checkpoint=SAVING)
    with pytest.raises(Stopped, match=r"^stopped at step 20; the same command resumes from there$"):
        train.train(trial, folder, on_epoch=get_empty, should_stop=stop_at(20 + 1 + 1))
    assert sorted(steps_not_saved(said())) == list(range(1, 21))
    train.train(trial, folder)
    assert said()[-1] == f"going on from step 20: {folder / 'checkpoint-0000000020.pt'}"
    assert_equal_to_quiet(quiet, "edge_popup", folder, checkpoint=SAVING)
