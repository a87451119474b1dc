"""What ``python -m suite.train`` does: runs one trial, or one rank of it, and prints its records."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from suite import launch
from suite.config import InputError, Trial, sweep_file
from suite.data.known_ids import KnownIds
from suite.launch import inline
from suite.launch.attempts import remove_attempts
from suite.launch.lease import TakenOver, is_running
from suite.records import FAILURE, EpochMetrics, Result, file_errors, kept_plans, line_text, read_result
from suite.records.data_content import Contents
from suite.records.ledger import Ledger, other_images, other_plugins, same_settings
from suite.stopping import EXIT_TAKEN_OVER, EXIT_UNFINISHED, Stopped
from suite.train import distributed


def run(args: argparse.Namespace) -> int:
    """Run one trial, printing its records as they come; returns the exit status."""
    try:
        return _run_or_show(args)
    except OSError as error:
        if not file_errors.is_of_files(error):
            raise
        raise file_errors.unfinished(error) from error


def _run_or_show(args: argparse.Namespace) -> int:
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
    if other := other_plugins(result, trial):
        raise InputError(f"{folder}: holds a result {other}: move it away, or give another folder")
    if not is_running(folder):
        remove_attempts(folder)  # of an owner that was killed just before it did
    return result


def _trial(args: argparse.Namespace) -> Trial:
    if Path(args.trial).exists() or args.trial.endswith(".json"):
        return sweep_file.load_trial(Path(args.trial), Contents(args.data_dir))
    return kept_plans.find_trial(args.trial, args.results)


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
