"""Which trials are done: one folder a trial under ``RESULTS/trials``, whichever sweep asked for it."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from suite import records
from suite.config import Dataset, InputError, SchedulerSettings, Trial, identity
from suite.records import plugin_source
from suite.records.index import Index

# done and diverged are final; failed raised; unfinished was left or killed; differs: other settings or other images;
# stopped early by the scheduler of this sweep: final for it, and unfinished for every other one; garbled: unreadable.
State = Literal["done", "diverged", "stopped", "failed", "unfinished", "missing", "differs", "garbled"]
FINAL: tuple[State, ...] = ("done", "diverged", "stopped")
DataIds = Callable[[Dataset], str | None]  # the data_id of a data set as it is now; None where nobody knows


class LedgerEntry(NamedTuple):
    """What has become of a trial, with the summary of its result where that can be used, or why it cannot."""

    state: State
    summary: records.Summary | None = None
    problem: str | None = None


class Ledger:
    """The results folder: its trials, their states, and who may run them.

    Args:
        root: the folder.
        scheduler: of the sweep that asks: trials that it stopped early are final for it.
        data_ids: what the data is now: results of other images do not count. Asked for data sets with results only.
    """

    def __init__(
        self, root: Path, scheduler: SchedulerSettings | None = None, data_ids: DataIds = lambda settings: None
    ) -> None:
        self.root, self.scheduler, self._data_ids = root, scheduler or SchedulerSettings(), data_ids

    def folder(self, trial_id: str) -> Path:
        """Where the records of a trial live."""
        return self.root / "trials" / trial_id

    def result(self, trial: Trial) -> records.Result | None:
        """The final record of a trial, if it has one that was made with these very settings and images."""
        found = records.read_result(self.folder(trial.trial_id))
        return found if found is not None and self._counts(found, trial) else None

    def lookup(self, trials: Mapping[str, Trial]) -> dict[str, LedgerEntry]:
        """What has become of trials, by trial_id; those that are final are not opened again."""
        final, begun, problems = Index(self.root).lookup(trials)
        found: dict[str, LedgerEntry] = {}
        data_ids = cache(self._data_ids)  # of each data set once
        for trial_id, trial in trials.items():
            if trial_id in final:
                found[trial_id] = self._final(trial_id, final[trial_id], trial, data_ids)
            elif trial_id in problems:
                found[trial_id] = LedgerEntry("garbled", problem=problems[trial_id])
            else:
                found[trial_id] = self._begun(trial_id) if trial_id in begun else LedgerEntry("missing")
        return found

    def _begun(self, trial_id: str) -> LedgerEntry:
        try:
            return LedgerEntry(self._unfinished(self.folder(trial_id)))
        except InputError as error:
            return LedgerEntry("garbled", problem=str(error))

    def _final(self, trial_id: str, summary: records.Summary, trial: Trial, data_ids: DataIds) -> LedgerEntry:
        if not same_settings(summary, trial):
            why = (
                "made with other settings: a default was changed or a setting removed since: "
                "pin the old value in the sweep file"
            )
        elif other := other_images(summary, trial, data_ids):
            why = f"{other}: name those with --data-dir or dataset.root, give --results another folder"
        elif other := other_plugins(summary, trial):
            why = f"{other}: raise RESULTS_VERSION of its settings, and its trials get new ids"
        else:
            return LedgerEntry(summary.status, summary)
        return LedgerEntry("differs", problem=f"{self.folder(trial_id)}: its result was {why}, or move the folder away")

    def _counts(self, result: records.Outcome, trial: Trial) -> bool:
        return same_settings(result, trial) and not (
            other_images(result, trial, self._data_ids) or other_plugins(result, trial)
        )

    def state(self, trial: Trial) -> State:
        """What has become of a trial.

        Raises:
            InputError: its result is garbled.
        """
        folder = self.folder(trial.trial_id)
        found = records.read_result(folder)
        if found is not None:
            return found.status if self._counts(found, trial) else "differs"
        return self._unfinished(folder)

    def _unfinished(self, folder: Path) -> State:
        if records.has_failed(folder):
            return "failed"
        stopped = records.read_stopped(folder)
        if stopped is not None and stopped.scheduler == self.scheduler.model_dump():
            return "stopped"
        return "unfinished" if folder.exists() else "missing"

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the results folder while a sweep runs: two at once would make its tables at once.

        Args:
            wait: for the other one to end.

        Raises:
            InputError: another sweep holds it, or the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("a+")
        except OSError as error:
            raise InputError(f"{self.root}: results cannot be written there: {error}") from None
        with file:
            try:
                # The kernel gives it back however we end.
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise InputError(
                    f"{self.root}: in use by {owner}: wait for it, or give --results another folder"
                ) from None
            except OSError as error:  # a shared file system without locks: leases keep trials apart all the same
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
            file.truncate(0)
            file.write(f"a sweep on {records.host_name()}, process {os.getpid()}\n")
            file.flush()
            yield


def other_images(result: records.Outcome, trial: Trial, data_ids: DataIds) -> str | None:
    """Which images a result was made with, where they are not those of the trial now."""
    if (now := data_ids(trial.dataset)) in (None, result.data_id):
        return None
    return f"made with other images of {trial.dataset.name} (data_id {result.data_id}, now {now})"


def other_plugins(result: records.Outcome, trial: Trial) -> str | None:
    """Which source of plugins a result was made with, where it is not what is here now."""
    if not result.plugins and not trial.plugins:
        return None
    made = {(each.kind, each.name): each for each in result.plugins}
    for each in plugin_source.used_by(trial):
        before = made.get((each.kind, each.name))
        if before is None or before.source_id != each.source_id:
            other = f"{before.package} {before.version}, source {before.source_id}" if before else "of the suite itself"
            return f"made with other source of {each}, source {each.source_id} (then {other})"
    return None


def same_settings(result: records.Outcome, trial: Trial) -> bool:
    """A result was made with the settings of this trial, as far as they can change numbers."""
    if result.config == trial.model_dump(mode="json"):
        return True
    try:
        ran = Trial.model_validate(result.config)  # a setting added since then takes its default
    except ValidationError:
        return False
    return identity(ran) == identity(trial)
