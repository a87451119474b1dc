"""Run a sweep: ``python -m suite.sweep FILE.yaml``.

Exit status: 0 all planned trials are final; 1 some failed or are unfinished; 2 bad input; 130 stopped (Ctrl-C, TERM).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from suite import cli, launch, lease, records
from suite.config import InputError
from suite.ledger import FINAL, Ledger
from suite.plan import Plan, make_plan
from suite.sweepfile import Sweep


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing of a sweep, then show and publish its results."""
    args = _parse(argv)
    sweep, ledger = cli.load(args)
    from suite import progress  # rich: not before a mistake in the file can be told

    if args.dry_run:
        progress.show_plan(sweep, make_plan(sweep, ledger, retry_failed=args.retry_failed), ledger)
        return 0
    with ledger.running():
        plan = make_plan(sweep, ledger, retry_failed=args.retry_failed)
        progress.show_counts(plan, ledger)
        _keep_resolved(sweep, ledger)
        try:
            _run(plan, ledger, args)
        except KeyboardInterrupt:
            progress.console.print(
                "stopped: what is done is kept, running trials are saved; the same command goes on from here"
            )
            return 130
        _tidy(plan, ledger)
        plan = make_plan(sweep, ledger)
    files = _report(sweep, ledger)
    _publish(sweep, ledger, args.tracking_uri, files)
    _show_failures(plan, ledger)
    return 0 if plan.complete else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.sweep_parser("python -m suite.sweep", "Run the trials of a sweep that are not done yet.")
    parser.add_argument("--dry-run", action="store_true", help="print the trials and run nothing")
    parser.add_argument("--launcher", choices=launch.LAUNCHERS, help="default: inline for one process, else local")
    parser.add_argument("--retry-failed", action="store_true", help="run trials again that raised")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets; default: $SUITE_DATA, else data")
    parser.add_argument("--download", action="store_true", help="fetch data sets that are missing")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow server; default: mlflow.db in the results folder")
    return parser.parse_args(argv)


def _keep_resolved(sweep: Sweep, ledger: Ledger) -> None:
    """Keep the trials as planned, each with all its settings: a sweep file too."""
    trials = [trial.model_dump(mode="json") for trial in sweep.trials.values()]
    file = {"name": sweep.name, "description": sweep.description, "grid": trials}
    folder = ledger.root / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    records.write_whole(folder / f"{sweep.label}.yaml", yaml.safe_dump(file, sort_keys=False))


def _run(plan: Plan, ledger: Ledger, args: argparse.Namespace) -> None:
    if not plan.to_run:
        return
    from suite import data, tune
    from suite.progress import SweepDisplay

    for settings in {trial.dataset for trial in plan.to_run.values()}:
        data.prepare(settings, data_dir=args.data_dir, download=args.download)
    with SweepDisplay(plan.to_run, ledger) as display:
        tune.run(plan.to_run, ledger, data_dir=args.data_dir, display=display, launcher=args.launcher)


def _tidy(plan: Plan, ledger: Ledger) -> None:
    """Remove the checkpoints of trials that were killed just before they would have done it themselves."""
    for trial_id, trial in plan.to_run.items():
        if ledger.state(trial) in FINAL:
            lease.remove_attempts(ledger.folder(trial_id))


def _report(sweep: Sweep, ledger: Ledger) -> list[Path]:
    from analysis import figures, tables
    from suite.progress import console

    text, files = tables.make(sweep, ledger)
    console.print(text)
    drawn = figures.make(sweep, ledger)
    for path in drawn[:1]:
        console.print(f"figure: {path}")
    return [*files, *drawn]


def _publish(sweep: Sweep, ledger: Ledger, uri: str | None, files: list[Path]) -> None:
    from suite import tracking
    from suite.progress import console

    try:
        tracking.publish(sweep, ledger, uri=uri, report=files)
        console.print(f"MLflow: {tracking.ui_command(ledger, uri)}")
    except InputError as error:  # the results do not depend on it
        console.print(str(error))


def _show_failures(plan: Plan, ledger: Ledger) -> None:
    from suite.progress import console

    for trial_id, state in plan.states.items():
        folder = ledger.folder(trial_id)
        if state == "failed" and (failure := records.read_failure(folder)):
            console.print(f"failed: {failure.error}: {folder / records.FAILURE}; --retry-failed runs it again")
        elif state == "unfinished" and lease.is_running(folder):
            console.print(f"unfinished: {folder}: another process runs it; the same command looks again")
        elif state == "unfinished":
            said = records.last_words(folder) or "its process was killed; the same command goes on with it"
            console.print(f"unfinished: {folder}: {said}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
