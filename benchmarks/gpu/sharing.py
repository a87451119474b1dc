"""Processes that share one GPU, each with a trial of its own, for part 4.

``python -m benchmarks.gpu.sharing DEVICE`` is one of them. For each line of JSON on its input, a list of the fields of
a ``Row``, a way and seconds, it makes the trainer, writes "ready", waits for a line, and writes its steps a second.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.gpu import machine
from benchmarks.trainers import Row, Trainer

ROOT = Path(__file__).parents[2]
_WARM_UP = 5
_IN_FLIGHT = 10  # steps between two waits for the device

Process = subprocess.Popen[str]


class Sharers:
    """Processes that have torch loaded, and wait."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes

    def steps_a_second(self, num: int, row: Row, way: str, seconds: float) -> float:
        """What ``num`` of them reach together.

        Raises:
            RuntimeError: one of them is gone.
        """
        chosen = self._processes[:num]
        for process in chosen:
            _tell(process, json.dumps([asdict(row), way, seconds]))
        for process in chosen:
            _hear(process)
        for process in chosen:
            _tell(process, "go")
        return sum(float(_hear(process)) for process in chosen)


@contextmanager
def sharers(num: int, device: torch.device) -> Iterator[Sharers]:
    """As many processes, which end with the context."""
    command = [sys.executable, "-m", "benchmarks.gpu.sharing", str(device)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        processes: list[Process] = []
        for _ in range(num):
            process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), **pipes)  # type: ignore[call-overload]
            stack.callback(process.kill)
            processes.append(process)
        yield Sharers(processes)


def _tell(process: Process, line: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    except BrokenPipeError as error:
        raise RuntimeError("a process that shares the device is gone: its error is above") from error


def _hear(process: Process) -> str:
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise RuntimeError("a process that shares the device is gone: its error is above")
    return line.strip()


def _serve(device: torch.device) -> None:
    for line in sys.stdin:
        fields, way, seconds = json.loads(line)
        trainer = Trainer(Row(**fields), way)
        for _ in range(_WARM_UP):
            trainer.step()
        _wait_for(device)
        print("ready", flush=True)
        sys.stdin.readline()
        print(_rate(trainer, seconds), flush=True)
        del trainer


def _rate(trainer: Trainer, seconds: float) -> float:
    begin, num = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(_IN_FLIGHT if trainer.device.type == "cuda" else 1):
            trainer.step()
            num += 1
        _wait_for(trainer.device)
    return num / (time.perf_counter() - begin)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    chosen = torch.device(sys.argv[1])
    with machine.interpreted_kernels() if chosen.type == "cpu" else ExitStack():
        torch.set_num_threads(1)
        _serve(chosen)
