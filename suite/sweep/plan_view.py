"""What the user sees of a plan."""

from suite.config.sweep_file import Sweep
from suite.config.varying import TrialNames
from suite.records.ledger import Ledger
from suite.sweep.plan import Plan
from suite.table_layout import Column
from suite.terminal import console, show_table

_COLUMNS = (
    Column("trial_id"),
    Column("method", 1),
    Column("model", 5),
    Column("width", 1),
    Column("dataset", 6),
    Column("seed", 2),
    Column("settings", 2),
    Column("state"),
)


def show_plan(sweep: Sweep, plan: Plan, ledger: Ledger) -> None:
    """The dry run: each trial with what has become of it."""
    names, rows = TrialNames(sweep.trials), []
    for trial_id, trial in sweep.trials.items():
        state = "to run" if trial_id in plan.to_run else plan.found[trial_id].state
        model, width = trial.model.name, f"x{trial.model.width_mult:g}"
        own = str(trial.seed), names.settings(trial_id), state
        rows.append((trial_id, trial.method.name, model, width, trial.dataset.name, *own))
    show_table(f"{sweep.name}: {sweep.path}", _COLUMNS, rows)
    show_counts(plan, ledger)


def show_counts(plan: Plan, ledger: Ledger) -> None:
    """One line: how many trials are in each state."""
    states = ", ".join(f"{number} {state}" for state, number in sorted(plan.counts.items()))
    console.print(f"{len(plan.found)} trials in {ledger.root}: {states}; {len(plan.to_run)} to run")
