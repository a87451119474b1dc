"""What the commands that take a sweep file share: arguments, and how mistakes are told."""

import argparse
import errno
import sys
from collections.abc import Callable
from pathlib import Path

from suite import output, own_code, startup
from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import file_errors
from suite.records.ledger import Ledger

_WRONG_KIND = (errno.ENOTDIR, errno.EISDIR)
_NOBODY_READS = (errno.EPIPE, errno.EIO)  # a reader that ended, a terminal that closed


def sweep_parser(prog: str, description: str, *, several: bool = False) -> argparse.ArgumentParser:
    """A parser with the arguments that say which trials are meant, and where their records are."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    if several:
        parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="sweep files, run one after the other")
    else:
        parser.add_argument("file", type=Path, help="the sweep file")
    parser.add_argument(
        "--only", action="append", default=[], metavar="KEY=VALUE", help="trials with this setting only"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="this setting in every trial")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: %(default)s")
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
