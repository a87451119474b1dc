"""Run sweeps from Python, as in a notebook."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from suite import own_code
from suite.api.sweeps import SweepSource, load_sweep
from suite.config import REGISTRY, InputError
from suite.config.sweep_file import Sweep

if TYPE_CHECKING:
    import pandas as pd

_BAD_INPUT, _STOPPED = 2, 130  # exit statuses


def run(
    sweep: SweepSource,
    results: str | os.PathLike[str] = "results",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    retry_failed: bool = False,
    cpus: int | None = None,
    launcher: str | None = None,
    profile: str | None = None,
    quiet: bool = False,
) -> "pd.DataFrame":
    """Run the trials of a sweep that are missing, as ``python -m suite.sweep`` does, and return all results.

    The command runs in a process of its own. It prints here, and this process may have a Ray of its own. Ctrl-C, or the
    notebook's stop button, saves the trials that run; the same call resumes them.

    Args:
        sweep: as for ``load_sweep``. A mapping that has changed is the same sweep while it has the same name.
        results: folder of the records; made where it is missing.
        data_dir: folder of data sets.
        download: download data sets that are missing.
        retry_failed: run failed trials again.
        cpus: cores for trials on this machine; None: all that this process may use.
        launcher: ``inline``, ``local`` or ``slurm``.
        profile: of the cluster, with ``slurm``.
        quiet: print nothing but mistakes.

    Returns:
        The data frame that ``results`` returns. A trial that failed is a row with that ``status``.

    Raises:
        InputError: with one line for each mistake.
        KeyboardInterrupt: the sweep was stopped. Finished trials are kept.
    """
    from suite.api.frames import results as read_results

    given = {"--results": results, "--data-dir": data_dir, "--cpus": cpus, "--launcher": launcher, "--profile": profile}
    flags = [text for flag, value in given.items() if value is not None for text in (flag, os.fspath(str(value)))]
    flags += ["--download"] * download + ["--retry-failed"] * retry_failed
    found = load_sweep(sweep, data_dir=data_dir)
    _check_plugins(found)
    flags += [text for option in found.only for text in ("--only", option)]
    flags += [text for option in found.overrides for text in ("--set", option)]
    with _file_of(found) as file:
        status, said = _call([str(file), *flags], quiet)
    if status == _BAD_INPUT:
        raise InputError(*(line.replace(str(file), str(found.path)) for line in said.splitlines()))
    sys.stderr.write(said)
    if status == _STOPPED:
        raise KeyboardInterrupt
    return read_results(found, results)


def _check_plugins(sweep: Sweep) -> None:
    """Raise InputError where the command would find other source of plugins than the sweep was loaded with."""
    if edited := REGISTRY.edited_files():
        raise InputError(*(f"{file}: was edited since it was loaded: call suite.use_plugins again" for file in edited))
    if any(trial.plugins and trial.trial_id != trial_id for trial_id, trial in sweep.trials.items()):
        raise InputError(f"{sweep.path}: was loaded with other source of its plugins: load it again")


@contextmanager
def _file_of(sweep: Sweep) -> Iterator[Path]:
    """The file of a sweep; one that lies in no file gets one for as long as it runs.

    Raises:
        InputError: the file was edited since it was loaded.
    """
    if sweep.path.is_file():
        if sweep.path.read_bytes() != sweep.text.encode():
            raise InputError(f"{sweep.path}: was edited since it was loaded: load it again")
        yield sweep.path
        return
    with tempfile.TemporaryDirectory(prefix="suite-sweep-") as folder:
        file = Path(folder, f"{sweep.name}.yaml")  # of one name always: so results know it for the same sweep
        file.write_text(sweep.text, encoding="utf-8")
        yield file


def _call(arguments: list[str], quiet: bool) -> tuple[int, str]:
    """The exit status of the sweep command, and its standard error; its output goes where this process prints."""
    command = [sys.executable, "-m", "suite.sweep", *arguments]
    shown = None if sys.stdout.isatty() else subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command,
            env={**os.environ, **own_code.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else shown,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
        ) as child,
    ):
        status = _follow(child)
        errors.seek(0)
        return status, errors.read()


def _follow(child: "subprocess.Popen[str]") -> int:
    """Print what a sweep says until it ends. Ctrl-C asks it to stop: HUP, since it may have got Ctrl-C itself."""
    while True:
        try:
            for line in child.stdout or ():
                print(line, end="")
            return child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGHUP)
