"""Trials whose processes are hit by signals at random moments, as users run them; and one that two owners claim.

The few hits here run with all tests. ``make test-long`` deals out many more: ``--hits`` says how many a trial.
"""

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import trial_processes

from suite.config import Trial
from suite.records import newest_attempt
from suite.stopping import EXIT_TAKEN_OVER, EXIT_UNFINISHED

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
TARGETS = ("all", "one rank", "launcher")
MOMENTS = ("starting", "running", "saving", "stopping")
EPOCHS, FEWER_EPOCHS = 12, 6  # under fire, and with two owners


@dataclass
class TrialFaultInjector:
    """Runs one trial to its end while hitting its processes; each hit is drawn from ``chance``."""

    trial: Trial
    results: Path
    chance: random.Random
    hits: list[str] = field(default_factory=list)
    longest: float = 0.0  # seconds from a hit to the end of the last process that it should end

    def run(self, num_hits: int) -> None:
        """Start the trial until it is final, as its user would."""
        starts = 0
        while not (self.folder / "result.json").exists():
            starts += 1
            assert starts < 4 * num_hits + 10, "it does not come to an end"
            process = trial_processes.start(self.trial, self.results)
            try:
                while len(self.hits) < num_hits and process.poll() is None:
                    self._hit(process.pid, process.poll)
                code = process.wait(120)
            finally:
                process.kill()
            assert code in (0, EXIT_UNFINISHED, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGUSR1), self.said()

    @property
    def folder(self) -> Path:
        return trial_processes.folder_of(self.trial, self.results)

    def said(self) -> str:
        return (self.results / "said.txt").read_text()

    def _hit(self, pid: int, ended: Callable[[], int | None]) -> None:
        moment, number, target = (self.chance.choice(kinds) for kinds in (MOMENTS, SIGNALS, TARGETS))
        self._wait_for(moment, ended)
        ranks = trial_processes.descendants(pid)[: self.trial.processes] if self.trial.processes > 1 else [pid]
        if ended() is not None or not ranks:
            return
        victims = {"all": [pid, *ranks], "one rank": [self.chance.choice(ranks)], "launcher": [pid]}[target]
        trial_processes.signal_processes(victims, number)
        if moment == "stopping":  # a second one, while it is about to leave
            time.sleep(self.chance.uniform(0, 0.05))
            trial_processes.signal_processes(victims, self.chance.choice(SIGNALS))
        self.hits.append(f"{number.name} to {target} while {moment}")
        doomed = [*ranks, pid] if pid in victims else ranks  # what is left of a group does not stay
        took = trial_processes.wait_for(
            lambda: not any(map(trial_processes.alive, doomed)), trial_processes.LONGEST_SECONDS
        )
        self.longest = max(self.longest, took)

    def _wait_for(self, moment: str, ended: Callable[[], int | None]) -> None:
        if moment == "starting":
            time.sleep(self.chance.uniform(0, 3))
            return
        before = trial_processes.newest_checkpoint(self.folder)
        trial_processes.wait_for(lambda: ended() is not None or trial_processes.newest_checkpoint(self.folder) > before)
        if moment == "saving":
            trial_processes.wait_for(lambda: ended() is not None or self._is_saving(), every=0.0005)
        else:
            time.sleep(self.chance.uniform(0, 0.5))

    def _is_saving(self) -> bool:
        attempt = newest_attempt(self.folder)
        return attempt is not None and any(attempt.glob(".checkpoint-*"))


def trial_of(method: str, processes: int, epochs: int = EPOCHS) -> Trial:
    return trial_processes.trial_of(method, processes=processes, epochs=epochs)


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Trial], Any]:
    """The records of a trial that nobody disturbs."""
    found: dict[str, Any] = {}

    def records(trial: Trial) -> Any:
        if trial.trial_id not in found:
            results = tmp_path_factory.mktemp("quiet")
            assert trial_processes.fork(trial, results).wait(120) == 0
            found[trial.trial_id] = trial_processes.records_of(trial_processes.folder_of(trial, results))
        return found[trial.trial_id]

    return records


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("method", trial_processes.METHODS)
def test_a_trial_under_fire_ends_with_the_bits_of_the_quiet_run(
    quiet: Callable[[Trial], Any], tmp_path: Path, request: pytest.FixtureRequest, method: str, processes: int
) -> None:
    num_hits = request.config.getoption("--hits")
    if num_hits == 1 and (method, processes) != ("iterand", 2):
        pytest.skip("with --hits above 1")
    trial = trial_of(method, processes)
    fire = TrialFaultInjector(trial, tmp_path, random.Random(f"{method} {processes}"))
    fire.run(num_hits if num_hits > 1 else 3)
    for hit, count in sorted(Counter(fire.hits).items()):
        print(f"{method}, {processes} processes: {count} x {hit}")
    print(f"{method}, {processes} processes: {len(fire.hits)} hits, at most {fire.longest:.1f} s to the end")
    result, lines = trial_processes.records_of(fire.folder)
    assert (result, lines) == quiet(trial), fire.said()
    assert [line["epoch"] for line in lines] == list(range(EPOCHS))
    assert not trial_processes.unexpected_files(fire.folder)


def test_a_trial_that_two_owners_claim_has_one_result(quiet: Callable[[Trial], Any], tmp_path: Path) -> None:
    """The first is stopped by SIGSTOP, taken over, and goes on when the second is done or in the midst of it."""
    trial = trial_of("iterand", 1, FEWER_EPOCHS)
    folder = trial_processes.folder_of(trial, tmp_path)
    first = trial_processes.fork(trial, tmp_path)
    try:
        trial_processes.wait_for(lambda: trial_processes.newest_checkpoint(folder))
        first.send_signal(signal.SIGSTOP)
        attempt = newest_attempt(folder)
        assert attempt is not None
        second = trial_processes.fork(trial, tmp_path, "--take-over")
        try:
            trial_processes.wait_for(lambda: newest_attempt(folder) != attempt)
            first.send_signal(signal.SIGCONT)
            assert first.wait(trial_processes.LONGEST_SECONDS) == EXIT_TAKEN_OVER
            assert second.wait(60) == 0
        finally:
            second.kill()
    finally:
        first.kill()
    assert "another process has taken this trial over: this attempt ends" in (tmp_path / "said.txt").read_text()
    assert trial_processes.records_of(folder) == quiet(trial)
    assert not trial_processes.unexpected_files(folder)


def written(folder: Path) -> dict[str, int]:
    """When each record was written."""
    return {name: (folder / name).stat().st_mtime_ns for name in ("metrics.jsonl", "result.json")}


@pytest.mark.slow
def test_an_owner_that_wakes_when_all_is_over_touches_no_record(quiet: Callable[[Trial], Any], tmp_path: Path) -> None:
    trial = trial_of("iterand", 1, FEWER_EPOCHS)
    folder = trial_processes.folder_of(trial, tmp_path)
    first = trial_processes.fork(trial, tmp_path)
    try:
        trial_processes.wait_for(lambda: trial_processes.newest_checkpoint(folder))
        first.send_signal(signal.SIGSTOP)
        assert trial_processes.fork(trial, tmp_path, "--take-over").wait(60) == 0
        before = written(folder)
        first.send_signal(signal.SIGCONT)
        assert first.wait(trial_processes.LONGEST_SECONDS) == EXIT_TAKEN_OVER
    finally:
        first.kill()
    assert written(folder) == before
    assert not trial_processes.unexpected_files(folder)
    assert trial_processes.records_of(folder) == quiet(trial)


@pytest.mark.slow
def test_a_trial_that_somebody_runs_is_not_run_twice(tmp_path: Path) -> None:
    """The second caller waits for the first; then there is nothing left to do."""
    trial = trial_of("weights", 1, FEWER_EPOCHS)
    first = trial_processes.fork(trial, tmp_path)
    try:
        trial_processes.wait_for(lambda: newest_attempt(trial_processes.folder_of(trial, tmp_path)))
        assert trial_processes.fork(trial, tmp_path).wait(60) == 0
        assert first.wait(trial_processes.LONGEST_SECONDS) == 0  # both leave at once
    finally:
        first.kill()
    folder = trial_processes.folder_of(trial, tmp_path)
    assert not trial_processes.unexpected_files(folder)
    assert json.loads((folder / "result.json").read_text())["num_epochs"] == FEWER_EPOCHS
