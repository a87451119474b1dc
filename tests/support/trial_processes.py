"""Trials under fire: how they are started and hit, and what must be left of them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.forked import ROOT, ForkedProcess, ForkServer, fork_server

from suite.config import Trial
from suite.records import DENSE, TICKET, newest_attempt, read_metrics, read_result
from suite.records.ledger import Ledger

# Times, rates and memory: what the records of two equal runs may differ in.
VOLATILE_FIELDS = {"seconds", "started_at", "peak_memory_mb", "timestamp", "images_per_second", "wait_share"}
METHODS: dict[str, dict[str, Any]] = {
    "weights": {"lr": 0.1},
    "edge_popup": {"lr": 0.3, "sparsity": 0.5},
    "iterand": {"lr": 0.3, "sparsity": 0.5, "rerandomize_every": 7},
}
LATER_METHODS: dict[str, dict[str, Any]] = {
    "recycle": {"lr": 0.3, "sparsity": 0.5, "recycle_every": 7},
    "biprop": {"lr": 0.3, "sparsity": 0.5},
    "frozen": {"lr": 0.3, "sparsity": 0.5},
    "random_mask": {"lr": 0.1, "sparsity": 0.8},
    "magnitude": {"lr": 0.1, "sparsity": 0.8, "end_epoch": 1, "prune_every": 5},
    "imp": {"lr": 0.1, "sparsity": 0.8, "rounds": 2},
}
LONGEST_SECONDS = 10.0  # that a process may go on after it was hit


def trial_of(method: str, **changes: Any) -> Trial:
    """A small trial that saves itself as often as it can."""
    settings = {
        "dataset": {"name": "digits"},
        "model": {"name": "conv2", "width_mult": 0.125},
        "method": {"name": method, **(METHODS | LATER_METHODS)[method]},
        "seed": 3,
        "epochs": 2,
        "global_batch_size": 64,
        "checkpoint": {"every_seconds": 0, "max_time_share": 1},
    }
    return Trial.model_validate({**settings, **changes})


def start(
    trial: Trial, results: Path, *flags: str, stdout: int = subprocess.DEVNULL, session: bool = False
) -> subprocess.Popen[bytes]:
    """``python -m suite.train``, as a user would: its records go into ``results``."""
    command = [sys.executable, "-m", *_arguments(trial, results, *flags)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (results / "said.txt").open("a") as said:
        return subprocess.Popen(
            command, env=environment, stdout=stdout, stderr=said, cwd=results, start_new_session=session
        )


def fork(trial: Trial, results: Path, *flags: str, server: ForkServer | None = None) -> ForkedProcess:
    """As ``start``, but forked from a process that has the suite loaded: it trains two seconds earlier."""
    arguments = _arguments(trial, results, *flags)
    with open(os.devnull, "r+b") as null, (results / "said.txt").open("ab") as said:
        return (server or fork_server()).start(arguments, dict(os.environ), results, [null, null, said])


def _arguments(trial: Trial, results: Path, *flags: str) -> list[str]:
    config = results / f"{trial.trial_id}.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(trial.model_dump(mode="json")))
    return ["suite.train", str(config), "--results", str(results), *flags]


def folder_of(trial: Trial, results: Path) -> Path:
    """Where ``start`` has its records written."""
    return Ledger(results).folder(trial.trial_id)


def records_of(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Result, stored network and epochs of a finished trial, without times, rates and memory."""
    result = read_result(folder)
    assert result is not None
    (network,) = [folder / name for name in (TICKET, DENSE) if (folder / name).exists()] or [None]
    content = network and hashlib.sha256(network.read_bytes()).hexdigest()
    return without_volatile_fields(result.model_dump()) | {"network": content}, [
        without_volatile_fields(line) for line in read_metrics(folder)
    ]


def without_volatile_fields(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what two equal runs may differ in; how often it is saved is no matter either."""
    kept = {key: value for key, value in record.items() if key not in VOLATILE_FIELDS}
    if "config" in kept:
        kept["config"] = {key: value for key, value in kept["config"].items() if key != "checkpoint"}
    return kept


def unexpected_files(folder: Path) -> list[str]:
    """What a finished trial should not leave."""
    return sorted({path.name for path in folder.iterdir()} - {"result.json", "metrics.jsonl", "log.txt", TICKET, DENSE})


def newest_checkpoint(folder: Path) -> str:
    """Its name, which grows with the steps; empty before the first."""
    attempt = newest_attempt(folder)
    return max((path.name for path in attempt.glob("checkpoint-*.pt")), default="") if attempt else ""


def descendants(pid: int) -> list[int]:
    """All living descendants of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state not in "ZX":
            found.append(int(path.parent.name))
    return sorted(found) + [inner for child in found for inner in descendants(child)]


def alive(pid: int) -> bool:
    """The process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def signal_processes(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_for(what: Callable[[], object], seconds: float = 120.0, every: float = 0.02) -> float:
    """Seconds until something came about; it must."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() < begun + seconds, "did not come about in time"
        time.sleep(every)
    return time.monotonic() - begun
