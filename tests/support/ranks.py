"""Real processes as the ranks of a group, and the small trials that tests of several processes are made with."""

import importlib
import inspect
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from support import trial_processes
from support.forked import PYTHON_PATH, ROOT, ForkedProcess, fork_server

from suite.config import Trial
from suite.train import distributed
from suite.train.distributed import Group

LOOPBACK = {"linux": "lo"}.get(sys.platform, "lo0")
CPU = torch.device("cpu")
STARTERS = ("RANK", "LOCAL_", "WORLD_SIZE", "MASTER_", "SLURM_", "TORCHELASTIC_", "SUITE_", "GROUP_", "ROLE_")
METHODS: dict[str, dict[str, Any]] = {
    "weights": {"lr": 0.02},
    "edge_popup": {"lr": 0.3, "sparsity": 0.5},
    "iterand": {"lr": 0.3, "sparsity": 0.3, "rerandomize_every": 5},
}
VOLATILE_FIELDS = trial_processes.VOLATILE_FIELDS | {"git_commit"}  # somebody may commit between two runs
_meetings = itertools.count()
Process = subprocess.Popen[bytes] | ForkedProcess


def settings_of(method: str, **changes: Any) -> dict[str, Any]:
    """The settings of a trial that takes a moment: 20 updates an epoch, the last on 41 images."""
    settings = {
        "dataset": {"name": "digits"},
        "model": {"name": "conv2", "width_mult": 0.0625},
        "method": {"name": method, **METHODS[method]},
        "seed": 3,
        "epochs": 2,
        "global_batch_size": 64,
    }
    return {**settings, **changes}


def trial_of(method: str, **changes: Any) -> Trial:
    return Trial.model_validate(settings_of(method, **changes))


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in VOLATILE_FIELDS}


def environment(**more: object) -> dict[str, str]:
    """That of this process without what starters of processes leave in it, and with more."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STARTERS)}
    return {**kept, "PYTHONPATH": PYTHON_PATH, **{name: str(value) for name, value in more.items()}}


def on_ranks(world_size: int, function: Callable[..., Any], scratch: Path, **arguments: Any) -> list[Any]:
    """Call a function of a module of tests in ``world_size`` new processes, and return what it gave on each.

    It may return tensors, numbers, texts, and lists and dictionaries of them; ``arguments`` go there as JSON.
    """
    number = next(_meetings)
    found = [scratch / f"returned-{number}-{rank}.pt" for rank in range(world_size)]
    places = [
        environment(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=world_size, GLOO_SOCKET_IFNAME=LOOPBACK)
        | {distributed.RENDEZVOUS: str(scratch / f"meeting-{number}")}
        for rank in range(world_size)
    ]
    module = ".".join(Path(inspect.getfile(function)).relative_to(ROOT / "tests").with_suffix("").parts)
    target = ["support.ranks", module, function.__name__, json.dumps(arguments)]

    def start(rank: int, null: IO[bytes], said: IO[bytes]) -> ForkedProcess:
        return fork_server().start([*target, str(found[rank])], places[rank], ROOT, [null, said, said])

    _run_together(start, world_size, scratch)
    return [torch.load(path, weights_only=True) for path in found]


def run_together(commands: Sequence[Sequence[str]], environments: Sequence[dict[str, str]], folder: Path) -> None:
    """Run Python once with each command, all at a time. Where one fails, the others are not waited for."""

    def start(number: int, null: IO[bytes], said: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, *commands[number]]
        return subprocess.Popen(command, env=environments[number], cwd=ROOT, stdin=null, stdout=said, stderr=said)

    _run_together(start, len(commands), folder)


def _run_together(start: Callable[..., Process], count: int, folder: Path, *, timeout: float = 120) -> None:
    paths = [folder / f"said-{number}.txt" for number in range(count)]
    processes = []
    with open(os.devnull, "rb") as null:
        for number, path in enumerate(paths):
            with path.open("wb") as said:
                processes.append(start(number, null, said))
    end = time.monotonic() + timeout
    try:
        while any(process.poll() is None for process in processes):
            if any(process.returncode for process in processes):
                end = min(end, time.monotonic() + 5)
            if time.monotonic() > end:
                break
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    words = "\n".join(path.read_text() for path in paths)
    assert [process.returncode for process in processes] == [0] * count, words


@contextmanager
def join_group() -> Iterator[Group]:
    """Be one of the ranks which ``on_ranks`` started; as often as wanted."""
    rank_info = distributed.rank_info_from_env()
    with fresh_rendezvous(), distributed.process_group(rank_info, CPU) as group:
        yield group


@contextmanager
def fresh_rendezvous() -> Iterator[None]:
    """A meeting place of its own, and afterwards no group, whatever ended it: so that one process can join twice."""
    before = os.environ[distributed.RENDEZVOUS]
    os.environ[distributed.RENDEZVOUS] = f"{before}-{next(_meetings)}"
    try:
        yield
    finally:
        os.environ[distributed.RENDEZVOUS] = before
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _main(module: str, name: str, arguments: str, path: str) -> None:
    returned = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    torch.save(returned, path)


if __name__ == "__main__":
    _main(*sys.argv[1:])
