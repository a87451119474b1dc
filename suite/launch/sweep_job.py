"""SLURM jobs in which the sweep's own command runs: for packed trials, and for the driver of a sweep."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from suite import output
from suite.config import Trial
from suite.launch.allocation import PackAllocation
from suite.launch.job_entry import is_first_task, requeue
from suite.launch.submission import DRIVER_JOB
from suite.records import RESULT, newest_checkpoint, write_text_atomic
from suite.records.ledger import Ledger
from suite.slurm.record import MAX_FRUITLESS_ALLOCATIONS, count_allocation, last_complaint, note_worthless
from suite.slurm.site import exportable_variables
from suite.stopping import StopRequest

RAY_ADDRESS = "SUITE_RAY_ADDRESS"  # environment: a Ray that is there already
_KEPT = (
    "SLURM_JOB_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_CLUSTER_NAME",
)  # leases name the job; a trial is no task of this job's step
_PAUSES = (10.0, 60.0, 0.0)  # after each run of a sweep that did not end well
_POLL_SECONDS = 0.5


@output.tolerant()
def run_pack(
    trials: list[dict[str, Any]], sweep: str, results: str, data_dir: str | None, seconds: float, to_train: float
) -> None:
    """Run trials under a Ray of this job alone, which spans its nodes; every task of the job calls it.

    Args:
        trials: their settings.
        sweep: its name.
        results: where records go.
        data_dir: where data sets lie.
        seconds: that there are for saving, when the job is to stop.
        to_train: seconds from the beginning of an allocation to the signal before its time limit.

    Raises:
        RuntimeError: three allocations in a row have got no trial further, or Ray does not start.
    """
    ledger, ids = Ledger(Path(results)), [Trial.model_validate(settings).trial_id for settings in trials]
    allocation = PackAllocation(to_train, map(ledger.folder, ids))
    if is_first_task():
        _fail_without_progress(ledger, ids)
    with StopRequest() as stop, _ray(stop) as environment:
        if not is_first_task():
            return
        file = _job_folder() / "pack.yaml"
        write_text_atomic(file, yaml.safe_dump({"name": sweep, "grid": trials}, sort_keys=False))
        more = ["--data-dir", data_dir] if data_dir else []
        status = _sweep([str(file), "--results", results, "--part", *more], environment, stop, seconds)
        print(f"the sweep ended with status {status}", flush=True)
    if stop.requested:
        if is_first_task() and (complaint := allocation.complaint()):
            print(complaint, flush=True)
            note_worthless(_job_folder(), complaint)
        requeue(stop.signum, stop)


@output.tolerant()
def run_driver(arguments: list[str], folder: str, seconds: float) -> None:
    """Run the command of a sweep, from which its trials are submitted, until all are final; its end cancels nothing.

    When its time is over it goes back into the queue; where the sweep is killed, or leaves trials unfinished, it is
    begun again, some times.

    Args:
        arguments: of the sweep's command.
        folder: where it was called, if that is seen from here: paths may be relative.
        seconds: that there are to end, when the job is to stop.
    """
    environment = {name: os.environ[name] for name in exportable_variables(os.environ)}
    environment[DRIVER_JOB] = os.environ.get("SLURM_JOB_ID", "")
    if Path(folder).is_dir():
        os.chdir(folder)
    with StopRequest() as stop:
        for pause in _PAUSES:
            status = _sweep(arguments, environment, stop, seconds)
            print(f"the sweep ended with status {status}", flush=True)
            if stop.requested or status == 0:
                break
            _wait_seconds(pause, stop)
    if stop.requested:
        requeue(stop.signum, stop)


def _fail_without_progress(ledger: Ledger, trial_ids: list[str]) -> None:
    state = [newest_checkpoint(ledger.folder(i)) + str((ledger.folder(i) / RESULT).exists()) for i in trial_ids]
    fruitless = count_allocation(_job_folder(), " ".join(state))
    if fruitless >= MAX_FRUITLESS_ALLOCATIONS:
        complaint = last_complaint(_job_folder())
        why = f": {complaint}" if complaint else " that got no trial further"
        raise RuntimeError(f"given up after {fruitless} allocations in a row{why}")


def _sweep(arguments: list[str], environment: dict[str, str], stop: StopRequest, seconds: float) -> int:
    """Run the sweep command; where this job is to stop, so is the sweep, within so many seconds."""
    process = subprocess.Popen([sys.executable, "-m", "suite.sweep", *arguments], env=environment)
    asked = float("inf")
    while process.poll() is None:
        if stop.requested and asked == float("inf"):
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
        if time.monotonic() > asked + seconds:
            process.kill()
        time.sleep(_POLL_SECONDS)
    return process.returncode


@contextmanager
def _ray(stop: StopRequest) -> Iterator[dict[str, str]]:
    """A Ray over all nodes of this job, with a token, ports and a folder of its own; gives the sweep's environment."""
    run = os.environ.get("SLURM_RESTART_COUNT", "0")
    token, address, over = (_job_folder() / f"ray-{what}-{run}" for what in ("token", "address", "over"))
    scratch = Path(tempfile.mkdtemp(prefix="suite-ray-", dir=os.environ["SUITE_SCRATCH"]))
    environment = {name: os.environ[name] for name in [*exportable_variables(os.environ), *_KEPT] if name in os.environ}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    node = None
    try:
        if is_first_task():
            token.touch(mode=0o600)
            token.write_text(secrets.token_hex(32))
            where = f"{socket.gethostbyname(socket.gethostname())}:{_free_port()}"
            # Ray opens its folder to everybody: the one above stays ours. A short name: paths of sockets are limited.
            node = _start_node(
                ["--head", f"--port={where.partition(':')[2]}", f"--temp-dir={scratch}/r"], where, environment
            )
            _wait(lambda: _listens(where), stop, node)
            write_text_atomic(address, where)
            yield {**environment, RAY_ADDRESS: where}
        else:
            _wait(address.exists, stop)
            if not stop.requested:
                node = _start_node([f"--address={address.read_text()}"], None, environment)
            _wait(over.exists, stop, node)
            yield environment
    finally:
        if is_first_task():
            over.touch()
        _end(node)
        shutil.rmtree(scratch, ignore_errors=True)


def _start_node(options: list[str], where: str | None, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    own = socket.gethostbyname(socket.gethostname())
    gpus = os.environ.get("SLURM_GPUS_ON_NODE", "0")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *options]
    command += [f"--node-ip-address={own}", f"--num-cpus={os.environ['SLURM_CPUS_PER_TASK']}", f"--num-gpus={gpus}"]
    command += ["--include-dashboard=false"] if where else []
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def _wait(what: Callable[[], bool], stop: StopRequest, node: subprocess.Popen[bytes] | None = None) -> None:
    while not what() and not stop.requested:
        if node is not None and node.poll() is not None:
            raise RuntimeError(f"Ray ended with status {node.returncode}: what it says stands above")
        time.sleep(_POLL_SECONDS)


def _wait_seconds(seconds: float, stop: StopRequest) -> None:
    end = time.monotonic() + seconds
    _wait(lambda: time.monotonic() > end, stop)


def _listens(where: str) -> bool:
    host, _, port = where.partition(":")
    with suppress(OSError):
        socket.create_connection((host, int(port)), timeout=1).close()
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _end(node: subprocess.Popen[bytes] | None) -> None:
    if node is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(node.pid, number)
        with suppress(subprocess.TimeoutExpired):
            node.wait(10)


def _job_folder() -> Path:
    return Path(os.environ["SUBMITIT_FOLDER"])
