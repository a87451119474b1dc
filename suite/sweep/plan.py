"""From a sweep to what is to be run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from suite.config import InputError, Trial
from suite.config.sweep_file import Sweep
from suite.records import newest_checkpoint
from suite.records.ledger import FINAL, Ledger, LedgerEntry, State

_MOST_TOLD = 10  # problems


@dataclass(frozen=True)
class Plan:
    """What has become of the trials of a sweep, and those to run now."""

    found: dict[str, LedgerEntry]
    to_run: dict[str, Trial]

    @property
    def states(self) -> dict[str, State]:
        """The trials with their states."""
        return {trial_id: each.state for trial_id, each in self.found.items()}

    @property
    def counts(self) -> Counter[State]:
        """How many trials are in each state."""
        return Counter(self.states.values())

    @property
    def complete(self) -> bool:
        """All planned trials are final."""
        return all(state in FINAL for state in self.states.values())


def make_plan(sweep: Sweep, ledger: Ledger, *, retry_failed: bool = False) -> Plan:
    """Look every trial up in the ledger.

    Failed trials are run again only with ``retry_failed``; killed or cancelled ones always.

    Raises:
        InputError: a result is garbled, or was made with other settings or images under the same trial_id.
    """
    found = ledger.lookup(sweep.trials)
    if problems := [each.problem for each in found.values() if each.problem]:
        more = [f"and {len(problems) - _MOST_TOLD:,} more results"] if len(problems) > _MOST_TOLD else []
        raise InputError(*problems[:_MOST_TOLD], *more)
    again: list[State] = ["missing", "unfinished"]
    if retry_failed:
        again.append("failed")
    return Plan(found, {i: trial for i, trial in sweep.trials.items() if found[i].state in again})


def notes(sweep: Sweep, plan: Plan, data_problems: Mapping[str, str]) -> list[str]:
    """What counts as a result and might surprise: of data that is not here, and of the other kind of device."""
    devices = Counter(_other_device(sweep.trials[i], each) for i, each in plan.found.items())
    return data_notes(data_problems) + [
        f"{num} results were made on a {device}, and would now be made on the other kind of device: they count, like "
        "those of another machine; tables name the devices"
        for device, num in devices.items()
        if device
    ]


def data_notes(problems: Mapping[str, str]) -> list[str]:
    """Of each data set that cannot be read here, and why: that its results count all the same."""
    return [f"{name}: results count without a comparison with its images: {why}" for name, why in problems.items()]


def what_is_saved(plan: Plan, ledger: Ledger) -> str:
    """What a stop has left of trials: one that a full disk kept from saving itself has no checkpoint."""
    newest = [newest_checkpoint(ledger.folder(i)) for i, state in plan.states.items() if state == "unfinished"]
    without = newest.count("")
    said = [f"with a checkpoint: {len(newest) - without}"] if len(newest) > without else []
    said += [f"without one, to start again: {without}"] if without else []
    unfinished = f"unfinished {', '.join(said)}; " if said else ""
    return f"{unfinished}the same command goes on from here"


def _other_device(trial: Trial, entry: LedgerEntry) -> str | None:
    """Where the result of a trial was made, ``GPU`` or ``CPU``, if it would now be the other one."""
    if entry.summary is None:
        return None
    on_gpu = entry.summary.config.get("resources", {}).get("gpus", 0) > 0
    return None if on_gpu == (trial.resources.gpus > 0) else "GPU" if on_gpu else "CPU"
