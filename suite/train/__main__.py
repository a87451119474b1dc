"""Run one trial: ``python -m suite.train CONFIG.json``, or the id of a trial of a sweep.

Under torchrun, or as a task of a SLURM step, this process is one of the trial's ``processes``; else those are started
here. Exit status: 0 the trial is final; 1 it raised; 2 bad input; 75 unfinished, saved; 130 Ctrl-C, saved.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from suite import cli, distributed, launch, sweepfile
from suite.config import InputError, Trial
from suite.launch import inline
from suite.lease import TakenOver
from suite.ledger import Ledger
from suite.records import FAILURE, Line, Result, read_result
from suite.stopping import UNFINISHED, Stopped


def main(argv: Sequence[str] | None = None) -> int:
    """Run one trial, printing its records as they come."""
    args = _parse(argv)
    trial = _trial(args)
    folder = args.folder or Ledger(args.results).folder(trial.trial_id)
    if args.folder is None and Ledger(args.results).state(trial) == "differs":
        raise InputError(f"{folder}: holds a result made with other settings: move it away, or give --results")
    member = distributed.started_as().world_size > 1  # the group is there already: be one of it
    rank = distributed.started_as().rank if member else 0
    if "SUITE_RENDEZVOUS" in os.environ:
        _end_with_our_launcher()
    if (result := read_result(folder)) is None:
        run = inline.run if member else launch.get(args.launcher, trial)
        result = run(
            trial,
            folder,
            data_dir=args.data_dir,
            on_epoch=_print_line,
            should_stop=lambda: False,
            take_over=args.take_over,
        )
    if rank == 0:
        _print_result(result, folder)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m suite.train", description="Run one trial, or go on with it.")
    parser.add_argument("trial", metavar="CONFIG.json|ID", help="its settings, a result.json, or its id in a sweep")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for its records; default: RESULTS/trials/ID")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets; default: $SUITE_DATA, else data")
    parser.add_argument("--launcher", choices=launch.LAUNCHERS, help="default: inline for one process, else local")
    parser.add_argument("--take-over", action="store_true", help="take it from the process that runs it now")
    return parser.parse_args(argv)


def _trial(args: argparse.Namespace) -> Trial:
    if Path(args.trial).exists() or args.trial.endswith(".json"):
        return sweepfile.load_trial(Path(args.trial))
    return sweepfile.find_trial(args.trial, args.results / "sweeps")


def _print_line(line: Line) -> None:
    print(json.dumps(line), flush=True)


def _print_result(result: Result, folder: Path) -> None:
    print(result.model_dump_json(exclude={"test_predictions", "config"}))
    print(f"{result.status}: {folder}", file=sys.stderr)


def _end_with_our_launcher() -> None:
    """Whoever started us holds our standard input open: when he is gone, save and leave."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def guarded(argv: Sequence[str] | None = None) -> int:
    """``main``, with the exit status of a trial that did not end."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        return main(argv)
    except (Stopped, TakenOver, distributed.PeerLost) as error:
        print(error, file=sys.stderr)
        return UNFINISHED
    except InputError:
        raise
    except Exception as error:
        logging.getLogger("suite").debug("it raised", exc_info=True)
        print(f"failed: {type(error).__name__}: {error}; {FAILURE} says where", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(cli.run(guarded))
