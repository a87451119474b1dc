"""Load sweeps from Python, as in a notebook."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.config import InputError, plugin_files, sweep_file
from suite.config.data_dir import resolve_data_dir
from suite.config.sweep_file import Sweep
from suite.records.data_content import Contents

SweepSource = Sweep | Mapping[str, Any] | str | os.PathLike[str]


def load_sweep(
    sweep: SweepSource,
    *,
    only: str | Sequence[str] = (),
    overrides: str | Sequence[str] = (),
    data_dir: str | os.PathLike[str] | None = None,
) -> Sweep:
    """Read a sweep and expand it to trials. Nothing is run.

    Args:
        sweep: a path, the name of a sweep that comes with the suite, or a mapping with what a sweep file holds. A
            sweep that is loaded already is returned as it is.
        only: ``KEY=VALUE`` filters, as of ``--only``: a trial must pass all of them.
        overrides: ``KEY=VALUE`` settings, as of ``--set``, that every trial gets.
        data_dir: folder of data sets, where ``arrays`` and ``folder`` are looked for.

    Returns:
        The sweep. ``sweep.trials`` has its trials by trial_id.

    Raises:
        InputError: with one line for each mistake.
    """
    return load(sweep, Contents(resolve_data_dir(None if data_dir is None else Path(data_dir))), only, overrides)


def load(
    sweep: SweepSource, contents: Contents, only: str | Sequence[str] = (), overrides: str | Sequence[str] = ()
) -> Sweep:
    """As ``load_sweep``, with what finds the content of the user's own images."""
    filters, settings = ([each] if isinstance(each, str) else each for each in (only, overrides))
    if isinstance(sweep, Sweep):
        if filters or settings:
            raise InputError("only, overrides: are for a sweep that is not loaded yet: pass its file or mapping")
        return sweep
    if isinstance(sweep, Mapping):
        return sweep_file.sweep_from(sweep, filters, settings, contents=contents)
    return sweep_file.load_sweep(os.fspath(sweep), filters, settings, contents=contents)


def use_plugins(*files: str | os.PathLike[str]) -> None:
    """Let sweeps use the methods, networks and data sets in these files, as ``--plugin`` does; of none: in no file.

    Those of installed packages need no such call. The code in the files runs. Call it again when you have edited one,
    and load sweeps again that use it.

    Args:
        files: of Python. They replace those of earlier calls.

    Raises:
        InputError: one cannot be loaded, or has a name that is taken. Those of earlier calls stay in use.
    """
    plugin_files.use([Path(file) for file in files])
