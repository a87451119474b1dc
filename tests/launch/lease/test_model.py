"""Attempts that share a trial, killed between any two system calls, with stale names and calls done twice.

Whatever happens, the epochs of a trial that has a result are those of one attempt and the ones it resumed from, and a
caller that comes when all is quiet ends it. The slow model of an attempt is a list of the epochs that it ran.
"""

import json
import random
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from support.disks import list_names
from support.faulty_files import Faults, Stage

from suite.launch.lease import Lease, TakenOver
from suite.records import METRICS, RESULT, Writer, is_checkpoint, listed, write_text_atomic

EPOCHS = 4
FAULTS = {
    "crowded": Faults(),
    "deaths": Faults(kill=0.01),
    "many deaths": Faults(kill=0.05),
    "calls done twice": Faults(repeat=0.5),
    "stale names": Faults(stale=0.7, oldest=12),
    "all of it": Faults(kill=0.01, repeat=0.2, stale=0.5, oldest=12),
}


class Play:
    """What every attempt at one trial does, and what must hold of the trial at every moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trained: Counter[int] = Counter()
        self.seen: str | None = None  # the first result that was there

    def attempt(self, name: int) -> None:
        """Run the trial as ``suite.launch.inline`` does, in little."""
        lease = Lease.acquire(self.folder, take_over=True)
        try:
            with lease:
                if not (self.folder / RESULT).exists():
                    self._train(lease, name)
        except TakenOver:
            return
        except FileNotFoundError as error:
            with pytest.raises(TakenOver):
                lease.check_error(error)

    def _train(self, lease: Lease, name: int) -> None:
        saved = max(filter(is_checkpoint, listed(lease.folder)), default=None)
        lines = json.loads(saved.read_text()) if saved else []
        writer = Writer(lease.folder, lines)
        for epoch in range(len(lines), EPOCHS):
            self.trained[epoch] += 1
            lines.append({"epoch": epoch, "by": name})
            writer.epoch(lines[-1])
            lease.check()
            write_text_atomic(lease.folder / f"checkpoint-{epoch}.pt", json.dumps(lines))
        write_text_atomic(lease.folder / RESULT, json.dumps(lines))
        lease.publish()

    def check(self) -> None:
        """A trial with a result is whole, and keeps it."""
        if self.seen is None and not (self.folder / RESULT).exists():
            return
        result = (self.folder / RESULT).read_text()
        self.seen = self.seen or result
        assert result == self.seen
        lines = [json.loads(line) for line in (self.folder / METRICS).read_text().splitlines()]
        assert lines == json.loads(result)
        assert [line["epoch"] for line in lines] == list(range(EPOCHS))


@pytest.fixture(autouse=True)
def no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of its own would make runs differ; here every owner is taken over without a look at it."""
    monkeypatch.setattr(Lease, "_beat", lambda self: None)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return max(6, int(request.config.getoption("--hits")))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_trial_of_many_attempts_has_one_result(tmp_path: Path, rounds: int, kind: str, size: int) -> None:
    for seed in range(rounds):
        play = Play(tmp_path / f"trial-{seed}")
        stage = Stage(play.folder, FAULTS[kind], random.Random(f"{kind} {size} {seed}"), play.check)
        stage.play(*[partial(play.attempt, i) for i in range(size)])
        play.attempt(size)
        play.check()
        assert list_names(play.folder) == [METRICS, RESULT], seed


@pytest.mark.parametrize("kind", ["deaths", "many deaths"])
def test_what_was_saved_is_not_trained_again(tmp_path: Path, rounds: int, kind: str) -> None:
    """Attempts one after another: each that dies loses no more than the epoch that it was in."""
    for seed in range(rounds):
        play = Play(tmp_path / f"trial-{seed}")
        stage = Stage(play.folder, FAULTS[kind], random.Random(f"{kind} {seed}"), play.check)
        while play.seen is None:
            stage.play(partial(play.attempt, stage.kills))
        assert play.trained.total() <= EPOCHS + stage.kills, seed
