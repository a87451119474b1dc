"""How one trial is run: ``inline`` in this process, ``local`` as a group of processes here, ``slurm`` as a job."""

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from suite import machine
from suite.config import InputError, Trial
from suite.records import LOG, EpochMetrics, Result
from suite.slurm import request
from suite.slurm.profile import Profile
from suite.slurm.site import Site

LAUNCHERS = ("inline", "local", "slurm")
log = logging.getLogger("suite")
RAISED = {"raised": True}  # marks records of an error that is raised too


class Launcher(Protocol):
    """The ``run`` of each module here."""

    def __call__(
        self,
        trial: Trial,
        folder: Path,
        *,
        data_dir: Path | None,
        on_epoch: Callable[[EpochMetrics], None],
        should_stop: Callable[[], bool],
        take_over: bool = False,
    ) -> Result:
        """Run a trial, or go on with it, in its folder."""


def get(name: str | None, trial: Trial, site: Site | None = None) -> Launcher:
    """The launcher of a trial: by default inline for one process, local for more. ``site`` belongs to slurm.

    Raises:
        InputError: as ``check``.
    """
    check(name, trial, site.profile if site else None)
    name = name or _default(trial)
    run: Any = importlib.import_module(f"suite.launch.{name}").run  # only inline needs torch
    launcher: Launcher = partial(run, site=site) if name == "slurm" else run
    return launcher


def check(name: str | None, trial: Trial, profile: Profile | None = None) -> None:
    """Raise InputError where the launcher cannot run as many processes as the trial has, or not on this system."""
    name = name or _default(trial)
    if name == "inline" and trial.processes > 1:
        raise InputError(f"--launcher inline: runs 1 process, the trial has processes: {trial.processes}; use local")
    if name == "local":
        machine.require_linux(
            f"--launcher local: processes: {trial.processes}", "trials of one process run inline everywhere"
        )
    if name == "slurm":
        if profile is None:
            raise InputError("--launcher slurm: runs the trials of a sweep: python -m suite.sweep with --profile")
        request.check_fits(trial, profile)


def check_cpus(cpus: int | None, launcher: str | None) -> None:
    """Raise InputError where trials cannot be kept to so many CPUs of this machine."""
    there = machine.num_cpus()
    if cpus is not None and launcher == "slurm":
        raise InputError(f"--cpus {cpus}: is about trials on this machine; a profile has max_live_jobs")
    if cpus is not None and not 1 <= cpus <= there:
        raise InputError(f"--cpus {cpus}: must be from 1 to {there}, the CPUs that this process may use")


def _default(trial: Trial) -> str:
    return "inline" if trial.processes == 1 else "local"


class _TrialLog(logging.Handler):
    """Appends to a file while its disk lets it: the console has each line, too, and the trial is worth more."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(self.format(record) + "\n")


@contextlib.contextmanager
def logging_to(folder: Path) -> Iterator[None]:
    """What is worth telling about a trial is kept beside its records, if there is anything."""
    handler = _TrialLog(folder / LOG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
