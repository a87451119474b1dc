"""States of trials, what a sweep has still to run, the index where it is of no use, and the lock on the folder."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.fake_results import create_trial_folder, fake_result, write_result
from support.index_cases import KINDS, TRIALS, filled, is_right, write_trial_state

from suite.config import InputError, Trial
from suite.config.sweep_file import Sweep
from suite.records import Writer, index, index_file, write_failure
from suite.records.index_file import text_of
from suite.records.ledger import Ledger
from suite.sweep.plan import make_plan

ROOT = Path(__file__).parents[2]


def trial_of(seed: int = 1, **changes: Any) -> Trial:
    settings = {
        "dataset": {"name": "digits"},
        "model": {"name": "conv2"},
        "method": {"name": "weights", "lr": 0.1},
        "seed": seed,
        "epochs": 1,
        "global_batch_size": 64,
    }
    return Trial.model_validate({**settings, **changes})


def sweep_of(*trials: Trial) -> Sweep:
    return Sweep("t", "t", "", Path("t.yaml"), {trial.trial_id: trial for trial in trials})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results")


# States -------------------------------------------------------------------------------------------------------------


def test_states(ledger: Ledger) -> None:
    trial = trial_of()
    folder = ledger.folder(trial.trial_id)
    assert folder == ledger.root / "trials" / trial.trial_id
    assert ledger.state(trial) == "missing"
    Writer(create_trial_folder(ledger, trial.trial_id)).epoch({"epoch": 0})
    assert ledger.state(trial) == "unfinished"
    write_failure(folder, trial.trial_id, ValueError("x"))
    assert ledger.state(trial) == "failed"
    assert ledger.result(trial) is None
    done = write_result(ledger, trial)
    assert ledger.state(trial) == "done"
    assert ledger.result(trial) == done
    diverged = write_result(ledger, trial, status="diverged")
    assert ledger.state(trial) == "diverged"
    assert ledger.result(trial) == diverged


def test_looking_changes_nothing(ledger: Ledger) -> None:
    ledger.state(trial_of())
    make_plan(sweep_of(trial_of()), ledger)
    assert not ledger.root.exists()


@pytest.mark.parametrize(
    ("ran", "state"),
    [
        ({"method": {"name": "weights", "lr": 0.1, "momentum": 0.8}}, "differs"),  # a default was changed since
        ({"threads": 2}, "differs"),
        ({"gone": 1}, "differs"),  # a setting was removed since
        ({"resources": {"cpus": 2.0, "gpus": 1.0}}, "done"),
        ({"resources": {}}, "done"),  # settings with defaults were added since
        ({"method": {"name": "weights", "lr": 0.1}}, "done"),
        ({"dataset": "digits", "method": {"name": "weights", "lr": 0.1, "momentum": 0.9}}, "done"),  # spelt otherwise
    ],
)
def test_a_result_of_other_settings_is_not_used(ledger: Ledger, ran: dict[str, Any], state: str) -> None:
    trial = trial_of()
    write_result(ledger, trial, config={**trial.model_dump(mode="json"), **ran})
    assert ledger.state(trial) == state
    assert (ledger.result(trial) is not None) == (state == "done")


def test_a_record_from_before_settings_were_added(ledger: Ledger) -> None:
    trial = trial_of()
    old = {key: value for key, value in trial.model_dump(mode="json").items() if Trial.model_fields[key].is_required()}
    assert "threads" not in old
    write_result(ledger, trial, config=old)
    assert ledger.state(trial) == "done"


def test_resources_are_asked_for_anew(ledger: Ledger) -> None:
    write_result(ledger, trial_of())
    assert ledger.state(trial_of(resources={"cpus": 0.5})) == "done"


# Plan ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(ledger: Ledger) -> Sweep:
    """Seeds 1 to 5: done, diverged, failed, unfinished, missing."""
    trials = [trial_of(seed) for seed in (5, 4, 3, 2, 1)]
    write_result(ledger, trials[4])
    write_result(ledger, trials[3], status="diverged")
    write_failure(create_trial_folder(ledger, trials[2].trial_id), trials[2].trial_id, ValueError("x"))
    Writer(create_trial_folder(ledger, trials[1].trial_id)).epoch({"epoch": 0})
    return sweep_of(*trials)


@pytest.mark.parametrize(("retry_failed", "seeds"), [(False, [5, 4]), (True, [5, 4, 3])])
def test_what_is_not_final_runs_in_the_order_of_the_sweep(
    ledger: Ledger, mixed: Sweep, retry_failed: bool, seeds: list[int]
) -> None:
    plan = make_plan(mixed, ledger, retry_failed=retry_failed)
    assert [trial.seed for trial in plan.to_run.values()] == seeds
    assert all(trial_id == trial.trial_id for trial_id, trial in plan.to_run.items())
    assert list(plan.states.values()) == ["missing", "unfinished", "failed", "diverged", "done"]
    assert plan.counts == dict.fromkeys(plan.states.values(), 1)
    assert not plan.complete


def test_a_sweep_is_complete_when_every_trial_is_final(ledger: Ledger) -> None:
    sweep = sweep_of(trial_of(1), trial_of(2))
    write_result(ledger, trial_of(1))
    assert not make_plan(sweep, ledger).complete
    write_result(ledger, trial_of(2), status="diverged")
    plan = make_plan(sweep, ledger)
    assert plan.complete
    assert not plan.to_run
    failed = trial_of(3)
    write_failure(create_trial_folder(ledger, failed.trial_id), failed.trial_id, ValueError("x"))
    plan = make_plan(sweep_of(trial_of(1), failed), ledger)
    assert not plan.complete  # though nothing is to run
    assert not plan.to_run


def test_all_records_that_cannot_be_used_are_told_at_once(ledger: Ledger, mixed: Sweep) -> None:
    garbled, other, second = trial_of(5), trial_of(4), trial_of(3)
    Writer(create_trial_folder(ledger, garbled.trial_id))
    (ledger.folder(garbled.trial_id) / "result.json").write_text('{"trial_')
    for trial in (other, second):
        write_result(ledger, trial, config={**trial.model_dump(mode="json"), "threads": 3})
    with pytest.raises(InputError) as caught:
        make_plan(mixed, ledger)
    problems = caught.value.problems
    assert [problem.split(": ")[0] for problem in problems] == [
        str(ledger.folder(garbled.trial_id) / "result.json"),
        str(ledger.folder(other.trial_id)),
        str(ledger.folder(second.trial_id)),
    ]
    assert "move it away" in problems[0]
    for problem in problems[1:]:
        told = ": its result was made with other settings: a default was changed or a setting removed since: "
        assert problem.endswith(told + "pin the old value in the sweep file, or move the folder away")


# Several looks at once -----------------------------------------------------------------------------------------------


APPEND = """
import sys
from pathlib import Path
from support.index_cases import trial_of
from suite.records import index
from suite.records.ledger import Ledger
index.SETTLED_NS = -10**12  # as if all had been written long ago
print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger(Path(sys.argv[1]))
for seed in map(int, sys.argv[2:]):
    trial = trial_of(seed)
    assert ledger.lookup({trial.trial_id: trial})[trial.trial_id].state == "done"
"""


def test_processes_that_append_at_once_lose_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = {trial.trial_id: trial for trial in map(trial_of, range(1, 301))}
    for trial in trials.values():
        (create_trial_folder(ledger, trial.trial_id) / "result.json").write_text(fake_result(trial).model_dump_json())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", APPEND, str(ledger.root), *map(str, range(1 + i, 301, 3))],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for i in range(3)
        ]
        for process in processes:
            assert process.stdout and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait() for process in processes] == [0] * 3
    lines = [line for line in (ledger.root / "index.jsonl").read_bytes().split(b"\n") if line]
    assert all(text_of(line) is not None for line in lines)
    assert {line[9:21].decode() for line in lines} >= trials.keys()
    monkeypatch.delattr(index, "read_result_and_state")  # nothing is opened
    assert {each.state for each in ledger.lookup(trials).values()} == {"done"}


# An index that is of no use, or of another machine -----------------------------------------------------------------


FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(random.Random(0).randbytes(10_000)),
    "zeros": lambda path: path.write_bytes(bytes(10_000)),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_cannot_be_used(ledger: Ledger, what: str) -> None:
    filled(ledger)
    FILES[what](ledger.root / "index.jsonl")
    shutil.rmtree(ledger.folder(trial_of(1).trial_id))
    write_trial_state(ledger, trial_of(1), "diverged")
    assert is_right(ledger)


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), OSError(28, "full"), OSError(30, "read-only")])
def test_an_index_that_cannot_be_written(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(*args: Any, **options: Any) -> int:
        raise error

    monkeypatch.setattr(index_file, "write_bytes_atomic", refuse)
    filled(ledger)
    assert is_right(ledger)
    assert not (ledger.root / "index.jsonl").exists()


def test_an_index_that_cannot_be_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(ledger)
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "index.jsonl":
            raise PermissionError(13, "denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert is_right(ledger)


@pytest.mark.parametrize("with_index", [False, True])
def test_records_of_two_machines_in_one_folder(ledger: Ledger, tmp_path: Path, with_index: bool) -> None:
    other = Ledger(tmp_path / "other")
    for i, (trial_id, trial) in enumerate(TRIALS.items()):
        write_trial_state(ledger if i % 2 else other, trial, KINDS[i % 10])
        if i % 5 == 0 and i % 2:
            write_trial_state(other, trial, "diverged")
            shutil.rmtree(ledger.folder(trial_id))
    assert is_right(ledger) and is_right(other)
    for folder in (other.root / "trials").iterdir():
        if not (ledger.root / "trials" / folder.name).exists():
            shutil.copytree(folder, ledger.root / "trials" / folder.name)
    if with_index:
        shutil.copy(other.root / "index.jsonl", ledger.root / "index.jsonl")
    assert is_right(ledger)


# The lock -----------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from suite.records.ledger import Ledger
with Ledger(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A second process that holds the results folder until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("end", ["exit", "SIGKILL"])
def test_a_second_sweep_is_told_who_holds_the_folder(ledger: Ledger, end: str) -> None:
    with holder(ledger.root) as process:
        for _ in range(2):  # the first one to be refused does not break the lock
            with pytest.raises(InputError) as caught, ledger.locked():
                pytest.fail("two sweeps hold the folder")
            assert str(caught.value).startswith(f"{ledger.root}: in use by a sweep on ")
            assert f"process {process.pid}: wait for it, or give --results another folder" in str(caught.value)
        assert ledger.state(trial_of()) == "missing"  # looking needs no lock
        if end == "SIGKILL":
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        else:
            process.communicate("")
            assert process.returncode == 0
        with ledger.locked():
            assert f"process {os.getpid()}\n" in (ledger.root / ".lock").read_text()


def test_the_lock_is_given_back_whatever_happens(ledger: Ledger) -> None:
    with pytest.raises(KeyboardInterrupt), ledger.locked():
        raise KeyboardInterrupt
    for _ in range(2):
        with ledger.locked():
            assert len((ledger.root / ".lock").read_text().splitlines()) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "results"  # not even root can make this
    assert make_plan(sweep_of(trial_of()), Ledger(root)).counts == {"missing": 1}  # looking raises nothing
    with pytest.raises(InputError, match=f"{root}: results cannot be written there: "), Ledger(root).locked():
        pytest.fail("held what cannot be")
