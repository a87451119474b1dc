"""Run one trial as a group of processes on this machine, and start it again where one of them is killed.

The processes meet through a file in a private folder and talk over the loopback interface: nothing listens elsewhere.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from suite import environment, own_code
from suite.config import InputError, Trial
from suite.launch import logging_to
from suite.launch.attempts import remove_attempts
from suite.launch.lease import TakenOver
from suite.launch.metrics_follower import MetricsFollower
from suite.records import (
    EpochMetrics,
    Result,
    attempt_number,
    newest_attempt,
    newest_checkpoint,
    read_failure,
    read_result,
    write_failure,
)
from suite.stopping import EXIT_TAKEN_OVER, EXIT_UNFINISHED, Stopped, StopRequest

MOST_RESTARTS = 3  # in a row, without a newer checkpoint
_GRACE_SECONDS = 5.0  # for the others, once a rank is gone
_STOP_SECONDS = 60.0  # to save and leave
_POLL_SECONDS, _LOOK_SECONDS = 0.05, 0.5
_BAD_INPUT = 2
_MAX_ERROR_LINES = 20  # lines of what a rank said
_LOOPBACK = {"linux": "lo"}.get(sys.platform, "lo0")
log = logging.getLogger(__name__)


def run(
    trial: Trial,
    folder: Path,
    *,
    data_dir: Path | None,
    on_epoch: Callable[[EpochMetrics], None] = lambda line: None,
    should_stop: Callable[[], bool] = lambda: False,
    take_over: bool = False,
) -> Result:
    """Train one trial in ``trial.processes`` processes, or go on with it.

    Raises:
        Stopped: as asked; saved.
        TakenOver: by another process; Busy: another process runs it.
        InputError: what a rank found wrong with its input.
        RuntimeError: the trial raised, or its processes died four times without a newer checkpoint; its folder says so.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    followed, fruitless = MetricsFollower(folder, on_epoch, _LOOK_SECONDS), 0
    with StopRequest(should_stop) as stop, logging_to(folder):
        while True:
            before, number = newest_checkpoint(folder), _next_attempt(folder)
            with tempfile.TemporaryDirectory(prefix="suite-ranks-") as scratch, _Ranks(Path(scratch)) as ranks:
                ranks.start(trial, folder, data_dir, take_over)
                ranks.wait(stop, followed)
            if (result := read_result(folder)) is not None:
                remove_attempts(folder)  # rank 0 may have been killed just before it did
                return result
            ranks.raise_rank_errors(trial, folder, number)
            if stop.requested:
                raise Stopped(ranks.last_words())
            fruitless = 0 if newest_checkpoint(folder) > before else fruitless + 1
            if fruitless > MOST_RESTARTS:
                what = f"{ranks.why}; given up after {MOST_RESTARTS} restarts without a newer checkpoint"
                raise _failed(trial, folder, what, number)
            log.warning("%s: starting again from the newest checkpoint", ranks.why)
            take_over = False


class _Ranks:
    """The processes of one attempt; none outlives the block in which they are used."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._processes: list[subprocess.Popen[bytes]] = []
        self._rank_outputs: list[str] = []
        self.why = ""  # the attempt ended

    def __enter__(self) -> "_Ranks":
        return self

    def __exit__(self, *error: object) -> None:
        for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
            self._send(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                for process in self._processes:
                    process.wait(seconds)
        for process in self._processes:
            if process.stdin:
                process.stdin.close()

    def start(self, trial: Trial, folder: Path, data_dir: Path | None, take_over: bool) -> None:
        """Start all ranks."""
        config = self._scratch / "trial.json"
        config.write_text(json.dumps(trial.model_dump(mode="json")))
        command = [sys.executable, "-m", "suite.train", str(config), "--folder", str(folder)]
        command += ["--data-dir", str(data_dir.absolute())] if data_dir else []
        command += ["--take-over"] if take_over else []
        for rank in range(trial.processes):
            given = _environment(rank, trial.processes, self._scratch / "meeting")
            self._processes.append(_start(command, self._output_path(rank), given))

    def wait(self, stop: StopRequest, followed: MetricsFollower) -> None:
        """Return when all have ended; where one is gone or a stop is asked for, the others have some time."""
        deadline, told = float("inf"), False
        while None in (codes := [process.poll() for process in self._processes]):
            if stop.requested and not told:
                told, deadline = True, min(deadline, time.monotonic() + _STOP_SECONDS)
                self._send(signal.SIGTERM)
            if any(code is not None for code in codes):  # they end together, or something is wrong
                self.why = self.why or self._first_to_end()
                deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
            if time.monotonic() > deadline:
                self._send(signal.SIGKILL)
            followed.poll_metrics()
            time.sleep(_POLL_SECONDS)
        self.why = self.why or self._first_to_end()
        followed.poll_metrics(now=True)
        self._rank_outputs = [
            _once(self._output_path(rank).read_text(errors="replace")) for rank in range(len(self._processes))
        ]
        print(*self._rank_outputs, sep="", end="", file=sys.stderr)

    def raise_rank_errors(self, trial: Trial, folder: Path, number: int) -> None:
        """Raise where the attempt was taken over, or the trial itself or its input is at fault."""
        codes = [process.returncode for process in self._processes]
        if EXIT_TAKEN_OVER in codes:
            raise TakenOver(self._rank_outputs[codes.index(EXIT_TAKEN_OVER)].strip())
        if _BAD_INPUT in codes:
            raise InputError(*self._rank_outputs[codes.index(_BAD_INPUT)].splitlines()[-_MAX_ERROR_LINES:])
        if 1 in codes:
            failure = read_failure(folder)
            said = self._rank_outputs[codes.index(1)]
            raise RuntimeError(failure.error) if failure else _failed(trial, folder, said, number)

    def last_words(self) -> str:
        """What rank 0 said as it stopped: it knows from where the trial resumes."""
        said = self._rank_outputs[0].splitlines()
        if self._processes[0].returncode == EXIT_UNFINISHED and said:
            return said[-1]
        return f"stopped; {self.why}: the same command resumes from the newest checkpoint"

    def _output_path(self, rank: int) -> Path:
        return self._scratch / f"rank-{rank}.txt"

    def _first_to_end(self) -> str:
        """Which rank ended first, and how: a signal says more than what it did to the others."""
        ended = [(rank, p.returncode) for rank, p in enumerate(self._processes) if p.returncode is not None]
        rank, code = min(ended, key=lambda end: (end[1] >= 0, end[1] == 0, end[0]))
        if code < 0:
            return f"rank {rank} was ended by {signal.Signals(-code).name}"
        return f"rank {rank} was asked to stop" if code == EXIT_UNFINISHED else f"rank {rank} left with status {code}"

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)


def _once(text: str) -> str:
    """Without lines that say what the line before said: a library may say it a thousand times."""
    return "".join(line for line, _ in groupby(text.splitlines(keepends=True)))


def _next_attempt(folder: Path) -> int:
    newest = newest_attempt(folder)
    return attempt_number(newest) + 1 if newest else 1


def _failed(trial: Trial, folder: Path, what: str, number: int) -> RuntimeError:
    """The error of attempt ``number`` at a trial, kept in its folder: it does not count where another has followed."""
    error = RuntimeError(what.strip()[-2000:])
    write_failure(folder, trial.trial_id, error, number)
    return error


def _start(command: list[str], said: Path, given: dict[str, str]) -> subprocess.Popen[bytes]:
    with said.open("wb") as file:
        return subprocess.Popen(
            command,
            env=given,
            stdin=subprocess.PIPE,  # its end tells a rank that we are gone
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,  # Ctrl-C is for us; we ask the ranks
        )


def _environment(rank: int, processes: int, meeting: Path) -> dict[str, str]:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    return {
        **environment.cleaned(os.environ, "ranks", "python", "numbers", "threads"),
        **{name: str(value) for name, value in place.items()},
        "SUITE_RENDEZVOUS": str(meeting),
        "GLOO_SOCKET_IFNAME": _LOOPBACK,
        "NCCL_SOCKET_IFNAME": _LOOPBACK,
        **own_code.environment(),
    }
