"""A Ray of our own, from its start to its end. Does not import it: ``suite.sweep.tune`` does."""

import contextlib
import math
import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from suite import machine, own_code, scratch, stopping
from suite.config import InputError, Trial
from suite.launch.sweep_job import RAY_ADDRESS
from suite.sweep import ray_monitor

_OBJECT_STORE_BYTES = 100 * 2**20  # nothing large passes through Ray
_STARTS = 3  # tries
_LONGEST_TMPDIR = 20  # Ray makes sockets 87 characters further down, and the path of one may have 107


@contextlib.contextmanager
def started(ray: Any, cpus: int | None = None) -> Iterator[Path]:
    """A Ray of our own, its files in a folder that is removed at the end.

    Args:
        ray: the module.
        cpus: that trials may use at once; None: all that this process may use.

    Raises:
        RayStartError: it did not start, however often that was tried.
    """
    folder = scratch.make("suite-ray-", at_most=_LONGEST_TMPDIR)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _start(ray, folder, cpus or machine.num_cpus())
        if threading.current_thread() is threading.main_thread():  # Ray's own answer to TERM is a stack trace
            signal.signal(signal.SIGTERM, stopping.as_ctrl_c)
        yield folder
    finally:
        ray.shutdown()
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
        scratch.remove(folder)


def _start(ray: Any, folder: Path, cpus: int) -> None:
    """Start Ray, again where it fails: on a machine that is busy its servers may come too late for each other."""
    from suite.terminal import console

    there = os.environ.get(RAY_ADDRESS)  # of the job that we are in
    for left in reversed(range(_STARTS)):
        own = {
            "num_cpus": cpus,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_temp_dir": str(folder / f"r{left}"),  # Ray opens it to everybody: the folder above stays ours
        }
        before = ray_monitor.children()
        try:
            with _hidden_from_children(signal.SIGHUP), own_code.inherited(), _few_servers(ray), _apart(ray):
                ray.init(
                    address=there or "local",
                    log_to_driver=False,
                    logging_level="CRITICAL",
                    job_config=ray.job_config.JobConfig(_client_job=True),  # else workers import from our folder first
                    **({} if there else own),
                )
            return
        except Exception as error:  # of many kinds, as one of its servers dies
            why = " ".join(str(error).split())[:200]
            ray.shutdown()
            ray_monitor.kill_children_but(before)
            if not left:
                raise ray_monitor.RayStartError(why) from None
            console.print(f"Ray did not start: {why}: trying again")


@contextlib.contextmanager
def _few_servers(ray: Any) -> Iterator[None]:
    """A Ray that starts now has no server but the two that it needs, and their agents.

    Its autoscaler, log monitor and API server (which counts usage, without the dashboard) would serve nobody.
    ``ray.init`` cannot leave them out, and waits for the last. Another release of Ray may start all of them.
    """
    parameter, services = ray._private.parameter, ray._private.services
    if not (hasattr(parameter, "RayParams") and hasattr(services, "start_api_server")):
        yield
        return
    before = parameter.RayParams, services.start_api_server
    parameter.RayParams = partial(parameter.RayParams, no_monitor=True, include_log_monitor=False)
    services.start_api_server = lambda *about, **more: ("", None)  # its address, its process
    try:
        yield
    finally:
        parameter.RayParams, services.start_api_server = before


@contextlib.contextmanager
def _apart(ray: Any) -> Iterator[None]:
    """A Ray that starts now runs in sessions of its own, and leaves our answer to TERM alone.

    `timeout` and batch systems send TERM to our whole process group. Ray's servers would end before trials are saved.
    """
    services, utils = ray._private.services, ray._private.utils
    if not hasattr(services, "ConsolePopen") or not utils.detect_fate_sharing_support():  # else nobody would end them
        yield
        return
    before = services.ConsolePopen, utils.set_sigterm_handler
    services.ConsolePopen = partial(services.ConsolePopen, start_new_session=True)
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        services.ConsolePopen, utils.set_sigterm_handler = before


@contextlib.contextmanager
def _hidden_from_children(number: signal.Signals) -> Iterator[None]:
    """Processes that start now never get this signal, which a terminal sends to all of us; we get it afterwards.

    Without this, Ray's servers end when the terminal closes, and its workers with them, before trials are saved.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_here(trials: dict[str, Trial], cpus: int | None) -> None:
    """Raise InputError where a trial asks for more than this machine has, of ``cpus`` CPUs, has; Ray need not run."""
    gpus = machine.num_gpus()
    check_resources({"CPU": cpus or machine.num_cpus(), "GPU": math.inf if gpus is None else gpus}, trials)


def check_resources(there: dict[str, float], trials: dict[str, Trial]) -> None:
    """Raise InputError where a trial asks for more than there is."""
    for trial in trials.values():
        for kind, asked in (("CPU", trial.num_cpus), ("GPU", trial.resources.gpus)):
            if asked > there.get(kind, 0):
                raise InputError(
                    f"resources.{kind.lower()}s: {asked:g}: this machine has {there.get(kind, 0):g}; "
                    f"set --set resources.{kind.lower()}s={there.get(kind, 0):g} or run where there are more"
                )
