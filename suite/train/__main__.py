"""Run one trial: ``python -m suite.train CONFIG.json``, or the id of a trial of a sweep.

Under torchrun, or as a task of a SLURM step, this process is one of the trial's ``processes``; else those are started
here. Exit status: 0 the trial is final; 1 it raised; 2 bad input, or files that cannot be read or written; 75
unfinished, saved; 76 taken over by another process; 130 Ctrl-C, saved.
"""

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from suite import cli, data, launch
from suite.config import InputError, Trial, sweep_file
from suite.data.known_ids import KnownIds
from suite.launch import inline
from suite.launch.attempts import remove_attempts
from suite.launch.lease import TakenOver, is_running
from suite.records import FAILURE, EpochMetrics, Result, file_errors, line_text, read_result
from suite.records.ledger import Ledger, other_images, same_settings
from suite.stopping import EXIT_TAKEN_OVER, EXIT_UNFINISHED, Stopped
from suite.train import distributed


def main(argv: Sequence[str] | None = None) -> int:
    """Run one trial, printing its records as they come."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        return _main(_parse(argv))
    except OSError as error:
        if not file_errors.is_of_files(error):
            raise
        raise file_errors.unfinished(error) from error


def _main(args: argparse.Namespace) -> int:
    trial = _trial(args)
    folder = args.folder or Ledger(args.results).folder(trial.trial_id)
    if distributed.RENDEZVOUS in os.environ:
        _stop_when_launcher_exits()
    result = _finished(folder, trial, KnownIds(args.data_dir))
    if result is None:
        try:
            result = _run(args, trial, folder)
        except (Stopped, distributed.PeerLost) as error:
            return _say(error, EXIT_UNFINISHED)
        except TakenOver as error:
            return _say(error, EXIT_TAKEN_OVER)
        except (InputError, OSError):
            raise
        except Exception as error:
            where = f"; {folder / FAILURE} says where" if (folder / FAILURE).exists() else ""
            return _say(f"failed: {type(error).__name__}: {error}{where}", 1)
    if not _is_member(trial) or distributed.rank_info_from_env().rank == 0:
        _print_result(result, folder)
    return 0


def _run(args: argparse.Namespace, trial: Trial, folder: Path) -> Result:
    run = inline.run if _is_member(trial) else launch.get(args.launcher, trial)
    return run(
        trial,
        folder,
        data_dir=args.data_dir,
        on_epoch=_print_line,
        should_stop=lambda: False,
        take_over=args.take_over,
    )


def _is_member(trial: Trial) -> bool:
    """This process is one of a group that is there already."""
    return trial.processes > 1 and distributed.rank_info_from_env().world_size > 1


def _finished(folder: Path, trial: Trial, data_ids: KnownIds) -> Result | None:
    """The result of an earlier call."""
    if (result := read_result(folder)) is None:
        return None
    if not same_settings(result, trial):
        raise InputError(f"{folder}: holds a result made with other settings: move it away, or give another folder")
    if other := other_images(result, trial, data_ids):
        raise InputError(f"{folder}: holds a result {other}: move it away, or give another folder or --data-dir")
    if not is_running(folder):
        remove_attempts(folder)  # of an owner that was killed just before it did
    return result


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m suite.train", description="Run one trial, or go on with it.")
    parser.add_argument("trial", metavar="CONFIG.json|ID", help="its settings, a result.json, or its id in a sweep")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for its records; default: RESULTS/trials/ID")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets; default: $SUITE_DATA, else data")
    parser.add_argument("--launcher", choices=launch.LAUNCHERS, help="default: inline for one process, else local")
    parser.add_argument("--take-over", action="store_true", help="take it from the process that runs it now")
    args = parser.parse_args(argv)
    args.data_dir = data.resolve_data_dir(args.data_dir)  # a job runs in another folder
    return args


def _trial(args: argparse.Namespace) -> Trial:
    if Path(args.trial).exists() or args.trial.endswith(".json"):
        return sweep_file.load_trial(Path(args.trial))
    return sweep_file.find_trial(args.trial, args.results / "sweeps")


def _print_line(line: EpochMetrics) -> None:
    print(line_text(line).rstrip(), flush=True)


def _print_result(result: Result, folder: Path) -> None:
    print(result.model_dump_json(exclude={"test_predictions", "config"}), flush=True)
    if distributed.RENDEZVOUS not in os.environ:
        print(f"{result.status}: {folder}", file=sys.stderr)


def _say(what: object, status: int) -> int:
    print(what, file=sys.stderr)
    return status


def _stop_when_launcher_exits() -> None:
    """Whoever started us holds our standard input open: when he is gone, save and leave."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    gc.freeze()  # what is imported stays: to look through it once more, at the end, would take half a second
    sys.exit(cli.run(main))
