"""What is done once the trials of a sweep have run: tidying, and what the user hears of costs and failures."""

import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from suite import cli, records
from suite.config.sweep_file import Sweep
from suite.launch import attempts, lease
from suite.records.ledger import Ledger
from suite.slurm.record import JOB, forget_job
from suite.sweep import cost
from suite.sweep.cost import Cost
from suite.sweep.plan import Plan

_LEFT = (JOB, records.STOPPED)


def tidy(plan: Plan, ledger: Ledger) -> None:
    """Remove what trials needed that were killed, or whose driver was, just before it would have been removed."""
    for trial_id, state in plan.states.items():
        folder = ledger.folder(trial_id)
        if state in ("done", "diverged") and any(
            path.is_dir() or path.name in _LEFT for path in records.listed(folder)
        ):
            with suppress(OSError):  # of another user, say: the trial is done all the same
                attempts.remove_attempts(folder)
                forget_job(folder)
                (folder / records.STOPPED).unlink(missing_ok=True)


def keep_cost(sweep: Sweep, ledger: Ledger, plan: Plan, ran: Iterable[str], estimated: Cost, wall: float) -> Path:
    """Show and keep what the trials that ran cost; returns the file."""
    from suite.terminal import console

    summaries = [summary for trial_id in ran if (summary := plan.found[trial_id].summary)]
    text, compared = cost.compared(estimated, summaries, wall)
    console.print(text)
    path = cli.report_folder(sweep, ledger) / "cost.json"
    records.write_text_atomic(path, json.dumps(compared, indent=1))
    return path


def show_failures(plan: Plan, ledger: Ledger) -> None:
    """Say why trials failed, or are unfinished."""
    from suite.terminal import console

    for trial_id, state in plan.states.items():
        folder = ledger.folder(trial_id)
        if state == "failed" and (failure := records.read_failure(folder)):
            console.print(f"failed: {failure.error}: {folder / records.FAILURE}; --retry-failed runs it again")
        elif state == "unfinished" and lease.is_running(folder):
            console.print(f"unfinished: {folder}: another process runs it; the same command looks again")
        elif state == "unfinished":
            said = records.last_log_line(folder) or "its process was killed; the same command goes on with it"
            console.print(f"unfinished: {folder}: {said}")


def show_divergence(sweep: Sweep, plan: Plan) -> None:
    """Say what to change where every trial of a method with a network diverged."""
    from suite.terminal import console

    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for trial_id, trial in sweep.trials.items():
        kinds[trial.method.name, trial.model.name].append(trial_id)
    for (method, model), ids in kinds.items():
        if all(plan.states[trial_id] == "diverged" for trial_id in ids):
            rates = sorted({sweep.trials[trial_id].method.lr for trial_id in ids})
            tried = ", ".join(f"{rate:g}" for rate in rates)
            console.print(
                f"diverged: all {len(ids)} trials of {method} with {model}, at method.lr {tried}: "
                f"try {rates[0] / 10:g}, or epochs of warm-up: schedule.warmup_epochs"
            )
