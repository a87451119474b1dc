"""What commands share: how their arguments are described, and how mistakes are reported."""

import argparse
import errno
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from suite import environment, output, own_code, startup
from suite.config import InputError, plugin_files, plugins
from suite.config.data_dir import resolve_data_dir
from suite.config.error_messages import nearest
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import data_content, file_errors, kept_plans
from suite.records.data_content import Contents
from suite.records.ledger import Ledger

STATUSES = {  # of every command
    0: "success",
    1: "a file cannot be read or written, or there are no results yet",
    2: "bad input; the message names the value, the rule and the valid choices",
    130: "stopped by Ctrl-C",
}
DATA_DIR = "folder of data sets; default: $SUITE_DATA, else data"
TRACKING_URI = "MLflow server or database; default: $MLFLOW_TRACKING_URI, else mlflow.db in the results folder"
TARGET = (
    "accuracy to match: a share, as 0.9, or the mean of a cell, as edge_popup:0.25; default: weights at width 1; "
    "can be repeated"
)
RESULTS = Path("results")  # the default: this very object, so that one that was typed can be told from it
_HOLDS = ("trials", "sweeps", "reports", "driver")
_WRONG_KIND = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
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
            allow_abbrev=False,  # a flag that comes later would change what a script means
            **more,
        )

    def error(self, message: str) -> NoReturn:
        """Exit with status 2; for a flag that is unknown, with those that are most like it."""
        said, _, unknown = message.partition("unrecognized arguments: ")
        unknown = (unknown.split() or [""])[0]
        if not said and unknown.startswith("-"):
            message = f"{unknown}: no such flag; there are: {nearest(unknown.partition('=')[0], self._flags())}"
        super().error(message)

    def parse_args(self, args: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """The arguments; trials may use the files of ``--plugin`` from here on.

        Raises:
            InputError: one cannot be loaded.
        """
        found = super().parse_args(args)
        if "plugin" in found:
            plugin_files.use(found.plugin or plugins.files_of_environment())
        return found

    def add_plugins(self, group: Any = None) -> None:
        """Take ``--plugin``, in a group of arguments."""
        (group or self.add_argument_group("plugins")).add_argument(
            "--plugin",
            action="append",
            type=Path,
            default=[],
            metavar="FILE.py",
            help="file with a method, a network or a data set of your own; can be repeated",
        )

    def _flags(self) -> Iterator[str]:
        for action in self._actions:
            yield from action.option_strings if action.help != argparse.SUPPRESS else ()
            for other in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
                yield from other._flags()


def sweep_parser(
    name: str,
    summary: str,
    *,
    example: str,
    several: bool = False,
    optional: bool = False,
    statuses: Mapping[int, str] = STATUSES,
) -> CommandParser:
    """A parser with the arguments that say which trials are meant, and where their records are."""
    files = "FILE.yaml [FILE.yaml ...]" if several else "[FILE.yaml]" if optional else "FILE.yaml"
    usage = f"{files} [options]"
    parser = CommandParser(f"python -m {name}", summary, usage=usage, example=example, statuses=statuses)
    where = "a path, or the name of a sweep that comes with the suite"
    if several:
        parser.add_argument("files", type=Path, nargs="+", metavar="FILE.yaml", help=f"sweep files: each {where}")
    else:
        num = "?" if optional else None
        parser.add_argument("file", type=Path, nargs=num, metavar="FILE.yaml", help=f"the sweep file: {where}")
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
        "--results", type=Path, default=RESULTS, metavar="DIR", help="folder of the records; default: results"
    )
    parser.add_plugins(trials)
    return parser


class NoResultsYet(Exception):
    """There is no results folder where it is by default: nothing is wrong, and there is nothing to show."""


def no_results_yet(results: Path, *files: Path) -> str:
    """What to say where there is no results folder where it is by default; else an empty text."""
    if results is not RESULTS or os.path.lexists(results):
        return ""
    return f"no results yet: run `{shlex.join(['python', '-m', 'suite.sweep', *map(str, files)])}`"


def check_results(results: Path, *files: Path) -> None:
    """Check the folder of a command that only reads.

    Raises:
        InputError: a folder that was typed does not exist, or holds other things than results.
        NoResultsYet: there is none where it is by default.
    """
    if absent := no_results_yet(results, *files):
        raise NoResultsYet(absent)
    if not os.path.isdir(results):  # which no name is too long for
        what = "is no folder" if os.path.lexists(results) else "no such folder"
        raise InputError(f"{results}: {what}: name one with the results of sweeps")
    if any(results.iterdir()) and not any((results / name).is_dir() for name in _HOLDS):
        raise InputError(f"{results}: holds no results: name the folder that has trials/ in it")


def check_place_for_results(results: Path) -> None:
    """Raise InputError where results cannot be written to a folder, which need not exist yet."""
    place = next(each for each in (results.absolute(), *results.absolute().parents) if os.path.lexists(each))
    if not os.path.isdir(place):
        raise InputError(f"{results}: results cannot be written there: {place} is no folder: name another one")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(
            f"{results}: results cannot be written there: {place} is read-only for you: name another folder"
        )


def load(args: argparse.Namespace, *, may_be_absent: bool = False) -> tuple[Sweep, Ledger]:
    """The sweep and the ledger that the arguments name, for a command that runs nothing.

    Args:
        args: what was parsed.
        may_be_absent: the default results folder need not exist.

    Raises:
        InputError: mistakes in the file; a results folder that is none, or has another sweep of this name.
        NoResultsYet: there is no results folder where it is by default.
    """
    sweep = load_sweep(args.file, only=args.only, overrides=args.set, contents=contents(args))
    if not (may_be_absent and no_results_yet(args.results)):
        check_results(args.results, args.file)
    kept_plans.check(sweep, args.results)
    return sweep, Ledger(args.results, sweep.scheduler)


def load_several(args: argparse.Namespace, found: Contents | None = None) -> list[Sweep]:
    """The sweeps that the arguments name.

    Args:
        args: what was parsed.
        found: what finds the content of the user's own images.

    Raises:
        InputError: mistakes in any of the files, or two sweeps of one name, whose reports would lie in one folder.
    """
    sweeps: list[Sweep] = []
    problems: list[str] = []
    names: dict[str, Path] = {}
    found = found or contents(args)
    for path in args.files:
        try:
            sweeps.append(load_sweep(path, only=args.only, overrides=args.set, contents=found))
        except InputError as error:
            problems += error.problems
            continue
        if (other := names.setdefault(sweeps[-1].name, path)) is not path:
            problems.append(f"{path}: name: {sweeps[-1].name}: must be another one than in {other}")
    if problems:
        raise InputError(*problems)
    return sweeps


def contents(args: argparse.Namespace) -> Contents:
    """What finds the content of the user's own images: in the folder of data sets, else as the results remember it."""
    return Contents(resolve_data_dir(getattr(args, "data_dir", None)), args.results / data_content.CACHE)


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
    except NoResultsYet as error:
        print(error, file=sys.stderr)
        return 1
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
