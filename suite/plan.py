"""From a sweep to what is to be run."""

from collections import Counter
from dataclasses import dataclass

from suite.config import InputError, Trial
from suite.ledger import FINAL, Ledger, State
from suite.sweepfile import Sweep


@dataclass(frozen=True)
class Plan:
    """The trials of a sweep with their states, and those to run now."""

    states: dict[str, State]
    to_run: dict[str, Trial]

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
    states: dict[str, State] = {}
    problems: list[str] = []
    for trial_id, trial in sweep.trials.items():
        try:
            states[trial_id] = ledger.state(trial)
        except InputError as error:
            problems += error.problems
            continue
        if states[trial_id] == "differs":
            problems.append(
                f"{ledger.folder(trial_id)}: its result was made with other settings: a default was changed "
                "or a setting removed since: pin the old value in the sweep file, or move the folder away"
            )
    if problems:
        raise InputError(*problems)
    again: list[State] = ["missing", "unfinished"]
    if retry_failed:
        again.append("failed")
    return Plan(states, {i: trial for i, trial in sweep.trials.items() if states[i] in again})
