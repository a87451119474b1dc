"""Bring records to MLflow: ``python -m suite.tracking publish RESULTS_DIR --tracking-uri URI``.

All sweeps that were run there, and under the name ``other`` the trials of none of them; also records that were copied
from a cluster. Publishing again adds what is new, and replaces the run of a trial that ran anew since; one that was
interrupted goes on.
"""

import argparse
import json
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suite import cli, records, startup, tracking
from suite.config import InputError, Trial
from suite.config.registry import check_there
from suite.config.sweep_file import Sweep, load_sweep
from suite.records.index import Index
from suite.records.ledger import Ledger
from suite.tracking import store

_OTHER = "other"
_STATUSES = {
    0: "all is published",
    1: "a sweep could not be read or published; the others are published",
    2: "bad input, or the MLflow server or database does not answer",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Publish once, or again and again until the input ends."""
    args = _parse(argv)
    cli.check_results(args.results)
    if args.every is None:
        return _publish_all(args)
    return _serve(_load(args.results / "sweeps" / f"{args.sweep}.yaml"), args)


def _serve(sweep: Sweep, args: argparse.Namespace) -> int:
    """Publish again and again until the input has a line: then once more, with the files it names, and answer."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing but answers
    with startup.without_garbage_collection(), suppress(InputError):  # the sweep will be told when it asks
        tracking.prepare(args.results, args.tracking_uri)
    known: set[str] = set()
    niceness = 10  # beside trials that run
    while not select.select([sys.stdin], [], [], args.every)[0]:
        os.nice(niceness)
        niceness = 0
        answer = _answer(sweep, args, known, [])
        print(*answer.get("problems", []), file=sys.stderr)  # the next time, perhaps
    for line in sys.stdin:  # it ends with the sweep
        print(json.dumps(_answer(sweep, args, known, json.loads(line))), file=answers, flush=True)
    return 0


def _answer(sweep: Sweep, args: argparse.Namespace, known: set[str], report: list[str]) -> dict[str, Any]:
    files = [Path(path) for path in report]
    try:
        _, experiment = tracking.publish(sweep, Ledger(args.results), uri=args.tracking_uri, report=files, known=known)
    except InputError as error:
        return {"problems": error.problems}
    return {"experiment": experiment}


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite.tracking",
        "Publish records to MLflow.",
        usage="publish RESULTS_DIR [options]",
        example="python -m suite.tracking publish results --tracking-uri http://127.0.0.1:5000",
        statuses=_STATUSES,
    )
    commands = made.add_subparsers(
        title="commands", metavar="COMMAND", required=True, prog=made.prog, help="each has a --help of its own"
    )
    publish = commands.add_parser(
        "publish",
        summary="Publish all final trials of a results folder, sweep by sweep; publishing again adds what is new.",
        help="publish all final trials of a results folder",
        usage="RESULTS_DIR [options]",
        example=made.example,
        statuses=_STATUSES,
    )
    publish.add_argument("results", type=Path, metavar="RESULTS_DIR", help="folder of the records")
    what = publish.add_argument_group("what is published, and where")
    what.add_argument("--tracking-uri", metavar="URI", help=cli.TRACKING_URI)
    what.add_argument("--sweep", metavar="LABEL", help="publish this sweep only: a file in RESULTS_DIR/sweeps")
    publish.add_plugins(what)
    publish.add_argument("--every", type=float, help=argparse.SUPPRESS)  # seconds, while a sweep runs
    return made


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    args = parser().parse_args(argv)
    args.tracking_uri = store.uri_of(args.tracking_uri)
    return args


def _publish_all(args: argparse.Namespace) -> int:
    ledger, status = Ledger(args.results), 0
    known = set[str]()
    paths = sorted((args.results / "sweeps").glob(f"{args.sweep or '*'}.yaml"))
    if args.sweep and not paths:
        raise InputError(f"--sweep {args.sweep}: no {args.results}/sweeps/{args.sweep}.yaml")
    for path in paths:
        try:
            sweep = _load(path)
            known |= sweep.trials.keys()
        except InputError as error:
            print(error, file=sys.stderr)
            status = 1
            continue
        status = max(status, _publish(sweep, ledger, args.tracking_uri))
    if not paths and not known and not (args.results / "trials").is_dir():
        print(f"{args.results}: no sweep was run there yet: nothing to publish")
    if not args.sweep and (others := dict(_others(ledger, known))):
        told = "Trials that stand in none of the sweeps here."
        status = max(status, _publish(Sweep(_OTHER, _OTHER, told, args.results, others), ledger, args.tracking_uri))
    return status


def _load(path: Path) -> Sweep:
    return replace(load_sweep(path, is_plan=True), label=path.stem)


def _publish(sweep: Sweep, ledger: Ledger, uri: str | None) -> int:
    """Publish a sweep; returns the exit status: one that cannot be published keeps no other back."""
    report = sorted(path for path in records.listed(cli.report_folder(sweep, ledger)) if path.is_file())
    try:
        new, experiment = tracking.publish(sweep, ledger, uri=uri, report=report)
    except tracking.SweepNotPublished as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{sweep.label}: {new} new runs; {store.how_to_open(ledger.root, uri, experiment)}", flush=True)
    return 0


def _others(ledger: Ledger, known: set[str]) -> Iterator[tuple[str, Trial]]:
    """Final trials that no sweep names, as far as their settings are still ones and their plugins are here."""
    folders = {path.name for path in records.listed(ledger.root / "trials")} - known
    for trial_id, summary in Index(ledger.root).lookup(folders)[0].items():
        folder = ledger.folder(trial_id)
        try:
            check_there([use.model_dump() for use in summary.plugins], f"{folder}: left out")
            yield trial_id, Trial.model_validate(summary.config)
        except InputError as error:
            print(error, file=sys.stderr)
        except ValidationError:
            print(f"{folder}: made with settings of another version: left out", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(cli.run(main))
