"""The arguments of ``python -m suite.sweep``."""

import argparse
from pathlib import Path

from suite import cli, launch

STOPPED_STATUS = 130


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.sweep_parser(
        "suite.sweep",
        "Run the trials of sweeps that are missing, then write tables and figures and publish to MLflow.",
        example="python -m suite.sweep width_vs_acc.yaml --only method=iterand --set epochs=2",
        several=True,
        statuses={
            0: "all planned trials are final, or --dry-run",
            1: "some trials failed or are unfinished, or a file cannot be read or written",
            STOPPED_STATUS: "stopped by Ctrl-C, TERM or HUP; finished trials are kept",
        },
    )
    what = made.add_argument_group("what is run")
    what.add_argument("--dry-run", action="store_true", help="print the trials and their cost, and run nothing")
    what.add_argument(
        "--calibrate",
        action="store_true",
        help="time a few steps of trials that are unlike any finished one",
    )
    what.add_argument("--report", action="store_true", help="make tables and figures again, even if up to date")
    what.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    where = made.add_argument_group("where it runs")
    where.add_argument(
        "--launcher", choices=launch.LAUNCHERS, help="default: inline for trials of one process, local for others"
    )
    where.add_argument(
        "--profile", metavar="NAME", help="with --launcher slurm: the cluster, as slurm/NAME.yaml, or a path"
    )
    where.add_argument(
        "--driver",
        choices=("here", "job"),
        help="with --launcher slurm: submit from here or from a job; default: here up to 16 live jobs",
    )
    where.add_argument(
        "--cpus", type=int, metavar="N", help="cores for trials on this machine; default: all this process may use"
    )
    files = made.add_argument_group("data sets and MLflow")
    files.add_argument("--data-dir", type=Path, metavar="DIR", help=cli.DATA_DIR)
    files.add_argument("--download", action="store_true", help="download data sets that are missing")
    files.add_argument("--tracking-uri", metavar="URI", help=cli.TRACKING_URI)
    made.add_argument("--wait", action="store_true", help=argparse.SUPPRESS)  # until no other sweep runs there
    made.add_argument("--part", action="store_true", help=argparse.SUPPRESS)  # of a sweep, in a job of packed trials
    return made
