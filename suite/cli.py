"""What commands share: how their arguments are described, and how mistakes are reported."""

import argparse
import errno
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from suite import environment, output, own_code, startup
from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import file_errors
from suite.records.ledger import Ledger

STATUSES = {  # of every command
    0: "success",
    1: "a file cannot be read or written",
    2: "bad input; the message names the value, the rule and the valid choices",
    130: "stopped by Ctrl-C",
}
DATA_DIR = "folder of data sets; default: $SUITE_DATA, else data"
TRACKING_URI = "MLflow server or database; default: $MLFLOW_TRACKING_URI, else mlflow.db in the results folder"
TARGET = "accuracy to match: a share, as 0.9, or the mean of a cell, as edge_popup:0.25; default: weights at width 1"
_WRONG_KIND = (errno.ENOTDIR, errno.EISDIR)
_NOBODY_READS = (errno.EPIPE, errno.EIO)  # a reader that ended, a terminal that closed


class CommandParser(argparse.ArgumentParser):
    """The arguments of a command. Its help is one sentence, the flags in groups, an example and the exit statuses.

    Args:
        prog: how the command is started.
        summary: says what it does, in one sentence.
        usage: its arguments, in short.
        example: a whole command line.
        statuses: what its exit statuses mean, where that is not said by ``STATUSES``.
    """

    def __init__(
        self, prog: str, summary: str, *, usage: str, example: str, statuses: Mapping[int, str] = STATUSES, **more: Any
    ) -> None:
        self.summary, self.example = summary, example
        self.statuses = dict(sorted({**STATUSES, **statuses}.items()))
        told = "\n".join(f"  {status:<4}{meaning}" for status, meaning in self.statuses.items())
        super().__init__(
            prog,
            usage=f"{prog} {usage}",
            description=summary,
            epilog=f"example:\n  {example}\n\nexit status:\n{told}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **more,
        )


def sweep_parser(
    name: str, summary: str, *, example: str, several: bool = False, statuses: Mapping[int, str] = STATUSES
) -> CommandParser:
    """A parser with the arguments that say which trials are meant, and where their records are."""
    usage = "FILE.yaml [FILE.yaml ...] [options]" if several else "FILE.yaml [options]"
    parser = CommandParser(f"python -m {name}", summary, usage=usage, example=example, statuses=statuses)
    where = "a path, or the name of a sweep that comes with the suite"
    if several:
        parser.add_argument("files", type=Path, nargs="+", metavar="FILE.yaml", help=f"sweep files: each {where}")
    else:
        parser.add_argument("file", type=Path, metavar="FILE.yaml", help=f"the sweep file: {where}")
    trials = parser.add_argument_group("trials and records")
    trials.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="select the trials with this setting, as method=iterand; can be repeated",
    )
    trials.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="use this setting in every trial, as epochs=3; can be repeated",
    )
    trials.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="folder of the records; default: results"
    )
    return parser


def load(args: argparse.Namespace) -> tuple[Sweep, Ledger]:
    """The sweep and the ledger that the arguments name."""
    sweep = load_sweep(args.file, only=args.only, overrides=args.set)
    return sweep, Ledger(args.results, sweep.scheduler)


def load_several(args: argparse.Namespace) -> list[Sweep]:
    """The sweeps that the arguments name.

    Raises:
        InputError: mistakes in any of the files, or two sweeps of one name, whose reports would lie in one folder.
    """
    sweeps: list[Sweep] = []
    problems: list[str] = []
    names: dict[str, Path] = {}
    for path in args.files:
        try:
            sweeps.append(load_sweep(path, only=args.only, overrides=args.set))
        except InputError as error:
            problems += error.problems
            continue
        if (other := names.setdefault(sweeps[-1].name, path)) is not path:
            problems.append(f"{path}: name: {sweeps[-1].name}: must be another one than in {other}")
    if problems:
        raise InputError(*problems)
    return sweeps


def report_folder(sweep: Sweep, ledger: Ledger) -> Path:
    """Where the tables and figures of a sweep go."""
    return ledger.root / "reports" / sweep.label


def run(main: Callable[[], int], *, prints: bool = False) -> int:
    """The exit status of a command: 2 for mistakes the user can mend, printed one a line; 130 for Ctrl-C.

    Args:
        main: is the command. What it cannot print is dropped.
        prints: printing is all it is for: it ends, with status 1, where its output cannot be written.
    """
    startup.end_without_garbage_collection()
    with output.tolerant(drops=not prints):
        status = _run(main)
        if (lost := output.lost()) and lost.errno not in _NOBODY_READS:
            print(f"{output.STDOUT}: {lost.strerror}: some of it is missing", file=sys.stderr)
    return status


def _run(main: Callable[[], int]) -> int:
    try:
        environment.clean_command()
        own_code.check()
        own_code.leave_callers_folder()
        status = main()
        sys.stdout.flush()
        return status
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.filename == output.STDOUT:  # run() says why, where somebody may read it
            return 1
        if not (file_errors.is_of_files(error) or error.errno in _WRONG_KIND):
            raise
        what = file_errors.describe(error)
        print(f"{what}: nothing that was done is lost; mend it and repeat", file=sys.stderr)
        return 1
