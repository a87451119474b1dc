"""Run a sweep: ``python -m suite.sweep FILE.yaml``."""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from suite import cli, data, environment, launch, records, stopping, tracking
from suite.config import InputError
from suite.config.sweep_file import Sweep
from suite.data import known_ids, quick_checks
from suite.data.known_ids import KnownIds
from suite.records import kept_plans
from suite.records.ledger import Ledger
from suite.slurm import controller
from suite.slurm.profile import Profile
from suite.sweep import cost, driver, ending, ray_cluster, ray_monitor
from suite.sweep.arguments import STOPPED_STATUS, parser
from suite.sweep.cost import Cost
from suite.sweep.plan import Plan, make_plan, notes, what_is_saved
from suite.sweep.report_stamp import ReportStamp
from suite.tracking import background, store

_FILE = "sweep.yaml"  # in the report: as it was when the sweep began
_SLURM_STOP_MESSAGE = "jobs go on; the same command follows them, `scancel` ends them: they carry the name {}.TRIAL_ID"


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing of sweeps, then show and publish their results."""
    args = _parse(argv)
    environment.clean("ranks", "threads")  # trials are no processes of the caller's job
    with _in_environment(store.URI_VARIABLE, args.tracking_uri):
        return _run_all(args)


def _run_all(args: argparse.Namespace) -> int:
    cli.check_place_for_results(args.results)
    args.data_ids = KnownIds(args.data_dir, args.results / known_ids.CACHE)
    args.contents = cli.contents(args)
    loaded = cli.load_several(args, args.contents)
    sweeps = [(sweep, Ledger(args.results, sweep.scheduler, args.data_ids)) for sweep in loaded]
    for sweep, ledger in sweeps:
        kept_plans.check(sweep, ledger.root)
    # All mistakes are reported before the first trial.
    profiles = [driver.profile_of(args, sweep, ledger) for sweep, ledger in sweeps]
    if len(sweeps) > 1 and not args.dry_run:  # what the last one misses is told before the first one runs
        for (sweep, ledger), profile in zip(sweeps, profiles, strict=True):
            plan = make_plan(sweep, ledger, retry_failed=args.retry_failed)
            for trial in plan.to_run.values():
                launch.check(args.launcher, trial, profile)
            _prepare_data(plan, args)
    status = 0
    for (sweep, ledger), profile in zip(sweeps, profiles, strict=True):
        try:
            status = max(status, _sweep(sweep, ledger, args, profile))
        except KeyboardInterrupt:
            print("stopped: results are kept; the same command resumes here")
            return STOPPED_STATUS
        if status == STOPPED_STATUS:
            break
    return status


def _sweep(sweep: Sweep, ledger: Ledger, args: argparse.Namespace, profile: Profile | None) -> int:
    from suite.sweep import plan_view  # rich: not before mistakes in the file are reported
    from suite.terminal import console

    if profile is not None and (said := driver.unused_variables()):
        console.print(said)
    if args.dry_run:
        plan = make_plan(sweep, ledger, retry_failed=args.retry_failed)
        plan_view.show_plan(sweep, plan, ledger)
        _show_notes(sweep, plan, args)
        console.print(_estimate(plan, ledger, args, profile).text())
        if profile is not None:
            console.print(driver.preview(sweep, ledger, plan, profile))
        _check_quickly(plan, args, profile)
        return 0
    if profile is not None:
        _check_cluster()
        plan = make_plan(sweep, ledger, retry_failed=args.retry_failed)
        driver.check_accepted(sweep, ledger, plan, profile)
        if plan.to_run and driver.choose_driver(args.driver, profile, len(plan.to_run)) == "job":
            _prepare_data(plan, args)
            _keep_resolved(sweep, ledger)
            args.contents.keep()
            console.print(driver.submit(sweep, ledger, profile, args))
            return 0
    if args.part:
        plan = make_plan(sweep, ledger)
        if plan.to_run:
            _run(plan, sweep, ledger, args, None, None)
        return 0 if make_plan(sweep, ledger).complete else 1
    return _run_here(sweep, ledger, args, profile)


def _run_here(sweep: Sweep, ledger: Ledger, args: argparse.Namespace, profile: Profile | None) -> int:
    from suite.sweep import plan_view
    from suite.terminal import console, waiting

    with ExitStack() as helpers:
        publisher: background.Publisher | None = None
        with ledger.locked(wait=args.wait):
            with waiting("reading the records"):
                plan = make_plan(sweep, ledger, retry_failed=args.retry_failed)
            if not args.report and (said := _nothing_to_do(sweep, ledger, plan, args.tracking_uri)):
                console.print(said)
                return 0
            plan_view.show_counts(plan, ledger)
            _show_notes(sweep, plan, args)
            _keep_resolved(sweep, ledger)
            args.contents.keep()
            estimated, start = _estimate(plan, ledger, args, profile), time.monotonic()
            try:
                if plan.to_run:
                    console.print(estimated.text())
                    publisher = _run(plan, sweep, ledger, args, profile, helpers)
            except KeyboardInterrupt:
                console.print(f"stopped: what is done is kept, {_advice(sweep, ledger, profile)}")
                return STOPPED_STATUS
            except ray_monitor.RayStartError as error:
                console.print(f"Ray did not start: {error}: what is done is kept; the same command tries again")
                return 1
            ran, plan = plan.to_run, make_plan(sweep, ledger)
            if publisher:
                publisher.begin()
            ending.tidy(plan, ledger)
        stamp = ReportStamp(sweep, ledger, plan, ledger.root / store.DATABASE)
        files = _report(sweep, ledger, stamp, anew=args.report)
        if ran:
            files.append(ending.keep_cost(sweep, ledger, plan, ran, estimated, time.monotonic() - start))
        _publish(sweep, ledger, args.tracking_uri, files, stamp, publisher)
    ending.show_failures(plan, ledger)
    ending.show_divergence(sweep, plan)
    return 0 if plan.complete else 1


def _advice(sweep: Sweep, ledger: Ledger, profile: Profile | None) -> str:
    return _SLURM_STOP_MESSAGE.format(sweep.name) if profile else what_is_saved(make_plan(sweep, ledger), ledger)


def _estimate(plan: Plan, ledger: Ledger, args: argparse.Namespace, profile: Profile | None) -> Cost:
    """What the trials that are to run will cost."""
    trials, known = plan.to_run.values(), cost.cost_models(ledger) if plan.to_run else {}
    if args.calibrate:
        _prepare_data(plan, args)
        known = cost.calibrate(trials, known, args.data_dir)
    return cost.estimate(trials, known, profile.max_live_jobs * profile.pack if profile else None, args.cpus)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    args = parser().parse_args(argv)
    args.tracking_uri = store.uri_of(args.tracking_uri)
    args.data_dir = data.resolve_data_dir(args.data_dir)  # trials run in other folders
    return args


@contextmanager
def _in_environment(name: str, value: str | None) -> Iterator[None]:
    """A variable for the processes and jobs of this call: a URI may hold a password, so no command line has it."""
    before = os.environ.get(name)
    try:
        if value is not None:
            os.environ[name] = value
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def _check_cluster() -> None:
    from suite.launch import submission

    controller.check_slurm_available()
    submission.check_installed()


def _prepare_data(plan: Plan, args: argparse.Namespace) -> None:
    for entry in dict.fromkeys(entry for trial in plan.to_run.values() for entry in trial.plugins):
        entry.load()  # a mistake in it would leave each of its trials unfinished
    for settings in {trial.dataset for trial in plan.to_run.values()}:
        data.prepare(settings, data_dir=args.data_dir, download=args.download)


def _check_quickly(plan: Plan, args: argparse.Namespace, profile: Profile | None) -> None:
    """Raise an InputError with what would keep the trials from running, as far as it is found within a second."""
    from suite.terminal import console

    problems, notes = quick_checks.check_all(plan.to_run.values(), args.data_dir, download=args.download)
    console.print(*notes, sep="\n", end="\n" if notes else "")
    try:
        for trial in plan.to_run.values():
            launch.check(args.launcher, trial, profile)
        if profile is None:
            ray_cluster.check_here(plan.to_run, args.cpus)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(*problems)


def _keep_resolved(sweep: Sweep, ledger: Ledger) -> None:
    """Keep the plan, and the sweep file as it is now."""
    kept_plans.keep(sweep, ledger.root)
    report = cli.report_folder(sweep, ledger)
    report.mkdir(parents=True, exist_ok=True)
    records.write_text_atomic(report / _FILE, sweep.text)


def _run(
    plan: Plan,
    sweep: Sweep,
    ledger: Ledger,
    args: argparse.Namespace,
    profile: Profile | None,
    helpers: ExitStack | None,
) -> background.Publisher | None:
    """Run what is missing. The publisher that starts beside it ends with ``helpers``; without them there is none."""
    from suite.sweep.progress import SweepDisplay
    from suite.sweep.time_left import TimeLeft

    with SweepDisplay(plan.to_run, ledger, TimeLeft(plan.to_run, cost.cost_models(ledger))) as display:
        display.phase("preparing data")
        _prepare_data(plan, args)
        publisher = helpers.enter_context(background.publishing(sweep, ledger)) if helpers else None
        from suite.sweep import tune

        tune.run(
            plan.to_run,
            ledger,
            data_dir=args.data_dir,
            display=display,
            launcher=args.launcher,
            profile=profile,
            sweep=sweep.name,
            planned=sweep.trials,
            meanwhile=_import_analysis,
            cpus=args.cpus,
        )
    return publisher


def _import_analysis() -> None:
    """Import what the report needs."""
    with suppress(Exception):  # the report will say what is wrong
        importlib.import_module("analysis.reports.tables")
        importlib.import_module("analysis.reports.figures")


def _show_notes(sweep: Sweep, plan: Plan, args: argparse.Namespace) -> None:
    from suite.terminal import console

    for note in notes(sweep, plan, args.data_ids.problems):
        console.print(note)


def _nothing_to_do(sweep: Sweep, ledger: Ledger, plan: Plan, uri: str | None) -> str | None:
    """What to say of a sweep that is final, reported and published; None for any other one."""
    stamp = ReportStamp(sweep, ledger, plan, ledger.root / store.DATABASE)
    if not plan.complete or plan.to_run or stamp.experiment(uri) is None:
        return None
    said = f"{sweep.label}: all {len(plan.found)} trials are final, and the report is up to date"
    return f"{said}: figure: {cli.report_folder(sweep, ledger) / 'figure.png'}"


def _report(sweep: Sweep, ledger: Ledger, stamp: ReportStamp, *, anew: bool = False) -> list[Path]:
    """Show the report of a sweep; returns its files. They are made where they are not up to date.

    A terminal shows what a person wants first, any other output all tables.
    """
    from suite.sweep.result_view import show_results
    from suite.terminal import console, waiting

    folder, files = cli.report_folder(sweep, ledger), [] if anew else stamp.files
    if not files:
        with waiting("making tables and figures"):
            from analysis.reports import figures, tables

            files = [*tables.make(sweep, ledger)[1], *figures.make(sweep, ledger)]
        stamp.made(files)
    if console.is_terminal and show_results(folder):
        console.print(f"all tables: {folder / 'table.md'}")
    else:
        console.print((folder / "table.md").read_text(encoding="utf-8"))
    console.print(f"figure: {folder / 'figure.png'}")
    return [folder / _FILE, *files]


def _publish(
    sweep: Sweep,
    ledger: Ledger,
    uri: str | None,
    files: list[Path],
    stamp: ReportStamp,
    publisher: background.Publisher | None,
) -> None:
    """Publish what is not, by the publisher if it lives, and say where it is."""
    from suite.terminal import console

    try:
        experiment = publisher.publish(files) if publisher else stamp.experiment(uri)
        if experiment is None:
            _, experiment = tracking.publish(sweep, ledger, uri=uri, report=files)
        stamp.published(uri, experiment)
        opened = store.how_to_open(ledger.root, uri, experiment)
        console.print("MLflow:", opened.replace(", then ", "\n  then ") if console.is_terminal else opened)
    except InputError as error:  # the results do not depend on it
        console.print(str(error))


if __name__ == "__main__":
    stopping.treat_as_ctrl_c()
    sys.exit(cli.run(main))
