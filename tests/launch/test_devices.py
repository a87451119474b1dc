"""A trial that resumes on another device says so, in its log and in its record; bits are claimed for one alone."""

import signal
from pathlib import Path

import pytest
import torch
from support.trial_processes import folder_of, fork, newest_checkpoint, start, trial_of, wait_for

from suite.config import Trial
from suite.launch import inline
from suite.records import LOG, Result, provenance, read_result
from suite.stopping import Stopped

HERE = provenance.device_name(torch.device("cpu"))
OTHER = f"{HERE.rpartition(', ')[0]}, DEFAULT"
needs_other_instructions = pytest.mark.skipif(HERE == OTHER, reason="torch uses this processor's plain instructions")


def trial(**changes: object) -> Trial:
    return trial_of("edge_popup", model={"name": "conv2", "width_mult": 0.0625}, **changes)


def stop_after(steps: int, folder: Path) -> None:
    asked: list[int] = []
    with pytest.raises(Stopped):
        inline.run(trial(), folder, data_dir=None, should_stop=lambda: bool(asked.append(1)) or len(asked) >= steps)


def result_of(folder: Path) -> Result:
    found = read_result(folder)
    assert found
    return found


@pytest.mark.slow
@needs_other_instructions
def test_another_process_with_other_instructions_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one runs without the vector instructions that the second one has."""
    longer = trial(epochs=20)
    with monkeypatch.context() as patch:
        patch.setenv("ATEN_CPU_CAPABILITY", "default")
        first = start(longer, tmp_path)
        folder = folder_of(longer, tmp_path)
        wait_for(lambda: newest_checkpoint(folder) > "checkpoint-0000000030")
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=60) == 75
    assert fork(longer, tmp_path).wait(timeout=300) == 0
    result = result_of(folder)
    begun, resumed = result.attempts
    assert (begun.epoch, begun.step, begun.devices) == (0, 0, [OTHER])
    assert resumed.devices == [HERE] and resumed.step >= 30 and resumed.epoch == resumed.step // 20
    assert (result.device, result.devices) == (HERE, [OTHER, HERE])
    said = f"resuming on {HERE}; until step {resumed.step} it ran on {OTHER}: bits may differ"
    assert (folder / LOG).read_text().count(said) == 1


def test_attempts_on_one_device_are_one(tmp_path: Path) -> None:
    for steps in (3, 4, 5):
        stop_after(steps, tmp_path)
    result = inline.run(trial(), tmp_path, data_dir=None)
    assert [(each.epoch, each.step, each.devices) for each in result.attempts] == [(0, 0, [HERE])]
    assert result.devices == [result.device] == [HERE]
    assert "bits may differ" not in (tmp_path / LOG).read_text()


def test_devices_that_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record says what made the network: steps that are lost are no part of it."""
    for device, steps in (("a", 3), ("a", 2), ("b", 5), ("a", 4)):
        monkeypatch.setattr(provenance, "device_name", lambda _, device=device: device)
        stop_after(steps, tmp_path)
    monkeypatch.setattr(provenance, "device_name", lambda _: "b")
    newest = max(next(tmp_path.glob("attempt-*")).glob("checkpoint-*.pt"))
    newest.write_bytes(b"")
    result = inline.run(trial(), tmp_path, data_dir=None)
    assert [(each.step, each.devices) for each in result.attempts] == [(0, ["a"]), (5, ["b"]), (10, ["a"]), (13, ["b"])]
    assert (result.device, result.devices) == ("b", ["a", "b"])


def test_a_record_of_before_has_the_device_that_it_names(tmp_path: Path) -> None:
    result = inline.run(trial(epochs=1), tmp_path, data_dir=None)
    old = Result.model_validate(result.model_dump(exclude={"attempts"}))
    assert (old.attempts, old.devices) == ([], [HERE])
