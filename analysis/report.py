"""One page of tables, figures and provenance: ``python -m analysis.report FILE.yaml...``, with how to repeat each.

The page is one HTML file that needs nothing else, and becomes an artifact of each sweep's report in MLflow.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from analysis import export
from suite import cli, tracking
from suite.config import InputError
from suite.config.sweep_file import Sweep
from suite.records import kept_plans, write_text_atomic
from suite.records.ledger import Ledger
from suite.tracking.store import uri_of


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.sweep_parser(
        "analysis.report",
        "Write one HTML page with the tables, figures and provenance of sweeps, and log it to MLflow.",
        example="python -m analysis.report width_vs_acc.yaml --no-mlflow",
        several=True,
    )
    page = made.add_argument_group("page")
    page.add_argument("--target", action="append", default=[], metavar="SHARE|METHOD:WIDTH", help=cli.TARGET)
    page.add_argument("--out", type=Path, metavar="FILE", help="the page; default: report.html beside the tables")
    page.add_argument("--records", type=Path, metavar="FILE", help="read a file of analysis.export, not --results")
    mlflow = made.add_argument_group("MLflow")
    mlflow.add_argument("--no-mlflow", action="store_true", help="log nothing")
    mlflow.add_argument("--tracking-uri", metavar="URI", help=cli.TRACKING_URI)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page of some sweeps, and log it to MLflow."""
    args = _parse(argv)
    with tempfile.TemporaryDirectory() as scratch:
        root = export.unpack(args.records, Path(scratch) / "results").root if args.records else args.results
        sweeps = [(sweep, Ledger(root, sweep.scheduler)) for sweep in cli.load_several(args)]
        cli.check_results(root, *args.files)
        for sweep, _ in sweeps:
            kept_plans.check(sweep, root)
        from analysis.reports import report  # pandas and matplotlib: after the arguments

        results = args.files[0].parent / root.name if args.records else None  # no command works on what is unpacked
        out = args.out or _place(sweeps)
        text = report.page(sweeps, args.target, results, None if args.records else out.parent)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(out, text)
    print("written:", out)
    if args.no_mlflow or args.records:
        return 0
    for sweep, ledger in sweeps:
        tracking.publish(sweep, ledger, uri=args.tracking_uri, report=[out])
    print("logged to MLflow, in the report of", ", ".join(sweep.name for sweep, _ in sweeps))
    return 0


def _place(sweeps: Sequence[tuple[Sweep, Ledger]]) -> Path:
    sweep, ledger = sweeps[0]
    return (cli.report_folder(sweep, ledger) if len(sweeps) == 1 else ledger.root / "reports") / "report.html"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    args = parser().parse_args(argv)
    if args.records and args.out is None:
        raise InputError("--records: needs --out: there is no results folder to write the page into")
    args.tracking_uri = uri_of(args.tracking_uri)
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
