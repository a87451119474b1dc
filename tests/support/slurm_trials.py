"""Trials as jobs of the test cluster: followed in a thread, as a driver does, and compared with the local launcher."""

import subprocess
import threading
from pathlib import Path
from typing import Any

from support.trial_processes import (
    ROOT,
    newest_checkpoint,
    records_of,
    start,
    trial_of,
    wait_for,
    without_volatile_fields,
)

from suite.config import Trial
from suite.records import Result
from suite.records.ledger import Ledger
from suite.slurm.profile import Profile, load_profile
from suite.slurm.record import read_job
from suite.slurm.site import Site
from suite.slurm.watch import QueuePoller

_ELSEWHERE = {"host", "git_commit"}  # of a record: it was made on another node; somebody may commit between two runs
_EPOCHS = 150  # some 8 s of work


def profile(**changes: Any) -> Profile:
    """The test cluster's, with changes."""
    settings = load_profile(ROOT / "slurm" / "test.yaml").model_dump()
    return Profile.model_validate({**settings, **changes})


def long_trial(**changes: Any) -> Trial:
    """Some seconds of work, saved every second."""
    return trial_of(
        "iterand", **{"epochs": _EPOCHS, "checkpoint": {"every_seconds": 1, "max_time_share": 1}, **changes}
    )


def run_locally(trial: Trial, results: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The records of a trial that the local launcher ran in peace."""
    assert start(trial, results, "--launcher", "local").wait(200) == 0
    return records(trial, results)


def records(trial: Trial, results: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
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
        self._watch = QueuePoller(site.queue, 1.0)

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
        wait_for(lambda: newest_checkpoint(self.folder) or not self._thread.is_alive(), 60, every=0.05)
        assert self._thread.is_alive(), self.error
        return self.wait_job()

    def wait_job(self) -> str:
        """The id of the trial's job, once it is submitted."""
        wait_for(lambda: (record := read_job(self.folder)) is not None and record.id, 60, every=0.05)
        record = read_job(self.folder)
        assert record is not None and record.id is not None
        return record.id


def job_output(folder: Path) -> str:
    """All that the jobs of a trial wrote."""
    return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("job-*/*_log.out")))


def scontrol(*words: str) -> None:
    """A command of the controller."""
    subprocess.run(["scontrol", *words], check=True, timeout=30)


def scancel(*words: str) -> None:
    """Cancel a job, or send it a signal."""
    subprocess.run(["scancel", *words], check=True, timeout=30)
