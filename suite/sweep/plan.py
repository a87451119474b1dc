"""From a sweep to what is to be run."""

from collections import Counter
from dataclasses import dataclass

from suite.config import InputError, Trial
from suite.config.sweep_file import Sweep
from suite.records.ledger import FINAL, Ledger, LedgerEntry, State


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
        InputError: a result is garbled, or was made with other settings under the same trial_id.
    """
    found = ledger.lookup(sweep.trials)
    if problems := [each.problem for each in found.values() if each.problem]:
        raise InputError(*problems)
    again: list[State] = ["missing", "unfinished"]
    if retry_failed:
        again.append("failed")
    return Plan(found, {i: trial for i, trial in sweep.trials.items() if found[i].state in again})
