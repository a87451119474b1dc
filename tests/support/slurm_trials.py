"""Trials as jobs of the test cluster: followed in a thread, as a driver does, and compared with quiet runs."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.ranks import fresh_rendezvous, on_ranks
from support.trial_processes import (
    ROOT,
    newest_checkpoint,
    records_of,
    trial_of,
    wait_for,
    without_volatile_fields,
)

from suite.config import Trial
from suite.launch import inline
from suite.records import Result
from suite.records.ledger import Ledger
from suite.slurm.profile import Profile, load_profile
from suite.slurm.record import read_job
from suite.slurm.site import Site
from suite.slurm.watch import QueuePoller

_ELSEWHERE = {"host", "git_commit"}  # of a record: it was made on another node; somebody may commit between two runs
Records = tuple[dict[str, Any], list[dict[str, Any]]]
_QUEUE_SECONDS = 0.3  # between two queries; a driver waits far longer
TRIAL = trial_of("iterand", epochs=10)  # 200 steps, saved after each


def profile(**changes: Any) -> Profile:
    """The test cluster's, with changes."""
    settings = load_profile(ROOT / "slurm" / "test.yaml").model_dump()
    return Profile.model_validate({**settings, **changes})


def run_quietly(trials: Sequence[Trial], results: Path) -> list[Records]:
    """The records of trials that nothing disturbs; those of several processes all have equally many."""
    processes, texts = trials[0].processes, [trial.model_dump_json() for trial in trials]
    if processes == 1:
        run_one_by_one(texts, str(results))
    else:
        results.mkdir()
        on_ranks(processes, run_one_by_one, results, trials=texts, results=str(results))
    return [records(trial, results) for trial in trials]


def run_one_by_one(trials: list[str], results: str) -> None:
    """Run trials in this process, or this rank's part of each."""
    for trial in map(Trial.model_validate_json, trials):
        with fresh_rendezvous() if trial.processes > 1 else contextlib.nullcontext():
            inline.run(trial, Ledger(Path(results)).folder(trial.trial_id), data_dir=None)


def records(trial: Trial, results: Path) -> Records:
    """What must be equal in two runs of a trial."""
    result, lines = records_of(Ledger(results).folder(trial.trial_id))
    result["attempts"] = [{**attempt, "host": ""} for attempt in result["attempts"]]
    return {key: value for key, value in without_volatile_fields(result).items() if key not in _ELSEWHERE}, lines


class Following:
    """A trial followed by one thread, its queue watched by another, as in a driver. Used as a context."""

    def __init__(self, trial: Trial, results: Path, settings: Profile) -> None:
        from suite.launch import slurm

        self.trial, self.folder = trial, Ledger(results).folder(trial.trial_id)
        self.scratch = results / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)
        (self.scratch / "stop").unlink(missing_ok=True)
        self.result: Result | None = None
        self.error: BaseException | None = None
        self._stop = threading.Event()
        site = Site.prepare("test", settings, results, self.scratch)
        self._watch = QueuePoller(site.queue, _QUEUE_SECONDS)

        def follow() -> None:
            try:
                self.result = slurm.run(trial, self.folder, data_dir=None, should_stop=self._stop.is_set, site=site)
            except Exception as error:
                self.error = error

        self._thread = threading.Thread(target=follow, daemon=True)

    def __enter__(self) -> "Following":
        self._watch.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()
        self._watch.__exit__(*error)

    def leave(self) -> None:
        """The driver ends; its job goes on."""
        (self.scratch / "stop").touch()
        self.stop()

    def stop(self) -> None:
        """What a scheduler does with a trial that is not worth it."""
        self._stop.set()
        self._thread.join(60)

    def wait(self, seconds: float = 150) -> Result:
        """The result of the trial; raises what its launcher raised."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"not over after {seconds} s: {job_output(self.folder)}"
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result

    def wait_saved(self) -> str:
        """The id of the trial's job, once it has saved something."""
        wait_for(lambda: newest_checkpoint(self.folder) or not self._thread.is_alive(), 120)
        assert self._thread.is_alive(), self.error
        return self.wait_job()

    def wait_paused(self) -> str:
        """The id of the trial's job, once it has saved something; its process stands still, so it cannot end."""
        job = self.wait_saved()
        self._paused = pause(self.folder)
        return job

    def resume(self) -> None:
        """Let the process that stands still go on."""
        os.kill(self._paused, signal.SIGCONT)

    def wait_job(self) -> str:
        """The id of the trial's job, once it is submitted."""
        wait_for(lambda: (record := read_job(self.folder)) is not None and record.id, 60, every=0.05)
        record = read_job(self.folder)
        assert record is not None and record.id is not None
        return record.id


def pause(folder: Path) -> int:
    """Stop the process that owns a trial, whatever its node calls it; returns its id.

    SLURM sends CONT before TERM: nothing else has to wake it where its job is preempted or cancelled.
    """
    [owner] = [json.loads(path.read_text())["pid"] for path in folder.glob("attempt-*/owner.json")]
    there = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder) in _read(path)]
    [pid] = [pid for pid in there if re.search(rf"NSpid:.*\t{owner}\n", _read(Path(f"/proc/{pid}/status")))]
    os.kill(pid, signal.SIGSTOP)
    return pid


def _read(path: Path) -> str:
    """What the kernel says of a process; nothing of one that has just ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def job_output(folder: Path) -> str:
    """All that the jobs of a trial wrote."""
    return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("job-*/*_log.out")))


def scontrol(*words: str) -> None:
    """A command of the controller."""
    subprocess.run(["scontrol", *words], check=True, timeout=30)


def scancel(*words: str) -> None:
    """Cancel a job, or send it a signal."""
    subprocess.run(["scancel", *words], check=True, timeout=30)
