"""Allocations that start-up uses up: each saves a step more, and none is worth it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.trial_processes import trial_of

from suite import own_code
from suite.launch import allocation
from suite.launch.allocation import Allocation, PackAllocation
from suite.records import newest_checkpoint, read_failure
from suite.slurm.record import count_allocation, last_complaint, note_worthless

SIGNAL_AS_TORCH_LOADS = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" and "submitit" not in sys.argv[0]:
            os.kill(os.getpid(), signal.SIGUSR2)
sys.meta_path.insert(0, Finder())
from suite.launch import job_entry
job_entry._SIGNAL_SECONDS = 0
job_entry.run_trial(open("trial.json").read(), "trial", None, 100.0)
"""


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many seconds ago the job began."""
    return lambda seconds: monkeypatch.setenv(allocation.STARTED, str(time.time() - seconds))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the module sees; it stands still."""
    now = [1000.0]
    monkeypatch.setattr(allocation.time, "time", lambda: now[0])
    monkeypatch.setenv(allocation.STARTED, "1000")
    return now


def save(folder: Path, step: int) -> None:
    (folder / "attempt-1").mkdir(parents=True, exist_ok=True)
    (folder / "attempt-1" / f"checkpoint-{step:010}.pt").touch()


@pytest.mark.slow
def test_a_trial_is_given_up_whose_start_up_takes_its_allocations(tmp_path: Path) -> None:
    """Real processes, as a job has them: the warning comes while torch is loaded."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("squeue", "echo '7|RUNNING|7'"), ("scontrol", "exit 0")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    (tmp_path / "trial.json").write_text(trial_of("weights", epochs=10).model_dump_json())
    (tmp_path / "trial").mkdir()
    given = {"SLURM_JOB_ID": "7", allocation.STARTED: str(time.time() - 90), "PATH": f"{tools}:{os.environ['PATH']}"}
    env = {**os.environ, **own_code.environment(), **given}
    said, steps = [], []
    for _ in range(4):
        command = [sys.executable, "-c", SIGNAL_AS_TORCH_LOADS]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        said.append(done.stdout)
        steps.append(newest_checkpoint(tmp_path / "trial"))
        assert done.returncode == (0 if len(said) < 4 else 1), done.stderr
    told = r"1 steps in 0 s, after \d+ s of start-up; an allocation leaves 100 s for both .*: raise timeout_min"
    assert all(re.search(told, text) and "put back into the queue" in text for text in said[:3])
    assert len(set(steps[:3])) == 3 and steps[2] == steps[3]  # each saved a step more
    failure = read_failure(tmp_path / "trial")
    assert failure is not None and re.search(rf"given up after 3 allocations in a row: {told}; job 7", failure.error)


@pytest.mark.parametrize(
    ("elapsed", "startup", "steps", "worth"),
    [
        (100, 99, 1, False),
        (100, 95, 50, False),
        (100, 85, 50, True),
        (100, 20, 1, False),  # a step that is compiled anew each time
        (100, 100, 0, False),
        (30, 29, 1, True),  # preempted early: no fault of the trial
    ],
)
def test_what_is_worth_an_allocation(
    tmp_path: Path, clock: list[float], elapsed: float, startup: float, steps: int, worth: bool
) -> None:
    save(tmp_path, 7)
    watched = Allocation(100, tmp_path)
    stop = watched.watch(lambda: True)
    clock[0] += startup
    watched.begin(7)
    clock[0] += elapsed - startup
    assert stop()
    save(tmp_path, 7 + steps)
    assert (watched.complaint() is None) == worth


def test_an_allocation_in_which_training_never_began(tmp_path: Path, clock: list[float]) -> None:
    watched = Allocation(100, tmp_path)
    assert watched.watch(lambda: True)()
    clock[0] += 100
    assert str(watched.complaint()).startswith("0 steps in 0 s, after 100 s of start-up; ")


def test_what_is_worth_the_allocation_of_a_pack(tmp_path: Path, began: Callable[[float], None]) -> None:
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    save(folders[0], 5)
    began(100)
    watched = PackAllocation(100, folders)
    assert str(watched.complaint()).startswith("no trial got further than one step in 100 s; ")
    save(folders[0], 6), save(folders[1], 1)
    assert watched.complaint() is not None
    began(20)
    assert watched.complaint() is None
    began(100)
    save(folders[1], 2)
    assert watched.complaint() is None


def test_allocations_that_saved_something_but_were_not_worth_it(tmp_path: Path) -> None:
    counted = []
    for step, complaint in ((0, "slow"), (1, "slow"), (2, ""), (9, "slow"), (10, "slower"), (10, ""), (10, "")):
        counted.append(count_allocation(tmp_path, f"checkpoint-{step:010}.pt"))
        if complaint:
            note_worthless(tmp_path, complaint)
    assert counted == [0, 1, 2, 0, 1, 2, 3]
    assert last_complaint(tmp_path) == ""
    note_worthless(tmp_path, "slow")
    count_allocation(tmp_path, "checkpoint-11")
    assert last_complaint(tmp_path) == "slow"
