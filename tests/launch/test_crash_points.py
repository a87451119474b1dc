"""A trial that dies by SIGKILL at one exact point after the other, and goes on as if nothing had been.

The points are those between which a crash could lose or double something. Each trial runs in a process forked from one
that has torch loaded already: so a death costs a tenth of a second.
"""

import functools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import trial_processes
from support.forked import fork_server

from suite.config import Trial

Death = tuple[str, str, int, str]  # module, name in it, after how many calls, how their last argument ends

POINTS: dict[str, Death] = {
    "first step": ("suite.train.loop", "train_step", 1, ""),
    "last step of an epoch": ("suite.train.loop", "train_step", 20, ""),  # 1,257 images in batches of 64
    "a step": ("suite.train.loop", "train_step", 33, ""),
    "last step of all": ("suite.train.loop", "train_step", 40, ""),
    "evaluation": ("suite.train.checkpoint_manager", "CheckpointManager.after_eval_batch", 1, ""),
    "second evaluation": ("suite.train.checkpoint_manager", "CheckpointManager.after_eval_batch", 2, ""),
    "evaluation of the test split": ("suite.train.checkpoint_manager", "CheckpointManager.after_eval_batch", 3, ""),
    "epoch written": ("suite.records.files", "Writer.epoch", 1, ""),
    "last epoch written": ("suite.records.files", "Writer.epoch", 2, ""),
    "first checkpoint in writing": ("suite.train.checkpoint", "_write", 1, ""),
    "a checkpoint in writing": ("suite.train.checkpoint", "_write", 30, ""),
    "a checkpoint named": ("suite.records.atomic", "move", 12, ".pt"),
    "a checkpoint saved": ("suite.train.checkpoint", "save", 25, ""),
    "result written": ("suite.records.files", "Writer.finish", 1, ""),
    "published": ("suite.launch.attempts", "Path.rename", 1, "published"),
    "epochs published": ("suite.launch.attempts", "move", 1, "trial/metrics.jsonl"),
    "result published": ("suite.launch.attempts", "move", 1, "trial/result.json"),
    "lease taken": ("suite.launch.lease", "Lease.acquire", 1, ""),
    "lease half taken": ("suite.launch.attempts", "Owner.here", 1, ""),
    "attempt made": ("suite.launch.attempts", "create", 1, ""),
    "attempt not yet removed": ("suite.launch.lease", "remove_attempts", 0, ""),
}


FAST = ("a checkpoint named", "result published")
Quiet = Callable[[str], Any]


def run_apart(trial: Trial, folder: Path, *deaths: Death) -> int:
    """Exit status of the trial in a process of its own: -9 where it died."""
    folder.mkdir(exist_ok=True)
    arguments = ["support.dying_trial", trial.model_dump_json(), str(folder), json.dumps(deaths)]
    with open(os.devnull, "r+b") as null:
        process = fork_server().start(arguments, dict(os.environ), folder.parent, [null, null, 2])
    try:
        return process.wait(240)  # in seconds: the machine may be busy
    finally:
        process.kill()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    """The records of a method, undisturbed."""

    @functools.cache
    def records(method: str) -> Any:
        folder = tmp_path_factory.mktemp(method)
        assert run_apart(trial_processes.trial_of(method), folder) == 0
        return trial_processes.records_of(folder)

    return records


@pytest.mark.parametrize(
    "point", [pytest.param(each, marks=() if each in FAST else pytest.mark.slow) for each in POINTS]
)
def test_a_trial_that_dies_at_a_point_ends_as_if_it_had_not(quiet: Quiet, tmp_path: Path, point: str) -> None:
    method = list(trial_processes.METHODS)[list(POINTS).index(point) % len(trial_processes.METHODS)]
    trial, folder = trial_processes.trial_of(method), tmp_path / "trial"
    assert run_apart(trial, folder, POINTS[point]) == -signal.SIGKILL
    assert run_apart(trial, folder) == 0
    assert trial_processes.records_of(folder) == quiet(method)
    assert trial_processes.unexpected_files(folder) == []


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("method", trial_processes.METHODS)
def test_a_trial_that_dies_again_and_again(quiet: Quiet, tmp_path: Path, method: str) -> None:
    trial, folder = trial_processes.trial_of(method), tmp_path / "trial"
    deaths = 0
    while run_apart(trial, folder, ("suite.train.loop", "train_step", 7, "")):
        deaths += 1
        assert deaths < 10
    assert deaths == 6  # each goes 6 steps further: the 7th dies unsaved
    assert trial_processes.records_of(folder) == quiet(method)
    assert trial_processes.unexpected_files(folder) == []
