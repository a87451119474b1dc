"""Run one trial: ``python -m suite.train CONFIG.json``, or the id of a trial of a sweep.

Under torchrun, or as a task of a SLURM step, this process is one of the trial's ``processes``; else those are started
here.
"""

import gc
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from suite import cli, data, environment, launch, startup
from suite.stopping import EXIT_TAKEN_OVER, EXIT_UNFINISHED


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite.train",
        "Run or resume one trial.",
        usage="CONFIG.json|ID [options]",
        example="python -m suite.train trial.json --folder results/mine",
        statuses={
            0: "the trial is final",
            1: "the trial raised an error, which is in its folder",
            2: "bad input, or files that cannot be read or written",
            EXIT_UNFINISHED: "stopped and saved; the same command resumes it",
            EXIT_TAKEN_OVER: "another process has taken the trial over",
            130: "stopped by Ctrl-C and saved; the same command resumes it",
        },
    )
    made.add_argument("trial", metavar="CONFIG.json|ID", help="its settings, a result.json, or its id in a sweep")
    where = made.add_argument_group("where it runs")
    where.add_argument("--launcher", choices=launch.LAUNCHERS, help="default: inline for one process, local for more")
    where.add_argument("--take-over", action="store_true", help="take the trial from the process that runs it now")
    files = made.add_argument_group("files")
    files.add_argument(
        "--results", type=Path, default=cli.RESULTS, metavar="DIR", help="folder of all records; default: results"
    )
    files.add_argument("--folder", type=Path, metavar="DIR", help="folder of its records; default: RESULTS/trials/ID")
    files.add_argument("--data-dir", type=Path, metavar="DIR", help=cli.DATA_DIR)
    made.add_plugins(files)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run one trial, printing its records as they come."""
    args = parser().parse_args(argv)
    args.data_dir = data.resolve_data_dir(args.data_dir)  # a job runs in another folder
    environment.refuse("threads")
    shown = logging.StreamHandler()
    shown.addFilter(lambda record: not hasattr(record, *launch.RAISED))  # whoever catches it prints it
    logging.basicConfig(format="%(message)s", level=logging.INFO, handlers=[shown])
    with startup.without_garbage_collection():
        from suite.train import command  # torch: after the arguments

    if __name__ == "__main__":
        gc.freeze()  # what is imported stays: to look through it once more, at the end, would take half a second
    return command.run(args)


if __name__ == "__main__":
    sys.exit(cli.run(main))
