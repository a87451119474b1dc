"""The plans of sweeps that were run: ``RESULTS/sweeps/LABEL.yaml``, each with the file that it came from.

A name belongs to one sweep in a results folder. A file that was edited is the same sweep: it has the same path, or most
of its trials are in the plan.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

from suite.config import InputError, Trial, kept_plan
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import plugin_source
from suite.records.atomic import write_text_atomic

_HEAD = 65_536  # bytes that hold the first line of a plan: a path


def keep(sweep: Sweep, root: Path) -> None:
    """Keep the plan of a sweep in the results folder ``root``: its trials, each with all its settings.

    Raises:
        InputError: as ``check``.
    """
    check(sweep, root)
    path = _path(sweep, root)
    source = (_source(path) if _is_ours(sweep.path, path, root) else None) or os.path.abspath(sweep.path)
    about: dict[str, Any] = {"name": sweep.name, "description": sweep.description, "settings": sweep.settings}
    about |= {"search": "grid"} if sweep.search else {}  # its draws are in the trials
    about |= {"scheduler": sweep.scheduler.model_dump(mode="json")}
    trials = [trial.model_dump(mode="json") for trial in sweep.trials.values()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, kept_plan.text_of(about, trials, source, _plugins(sweep)))


def _plugins(sweep: Sweep) -> list[dict[str, Any]]:
    """The plugins that trials of a sweep use, each once."""
    of_names = {(trial.dataset.name, trial.model.name, trial.method.name): trial for trial in sweep.trials.values()}
    used = dict.fromkeys(use for trial in of_names.values() for use in plugin_source.used_by(trial))
    return [use.model_dump() for use in used]


def find_trial(trial_id: str, root: Path) -> Trial:
    """The trial of this id, or of the only id that begins so, in the plans of the results folder ``root``.

    Raises:
        InputError: there is none, or more than one; a plan that may have it cannot be read.
    """
    known: dict[str, Trial] = {}
    problems: list[str] = []
    for path in sorted((root / "sweeps").glob("*.yaml")):
        try:
            known |= load_sweep(path, is_plan=True).trials
        except InputError as error:
            problems += error.problems
    found = [i for i in known if i.startswith(trial_id)]
    if len(found) == 1 and (found[0] == trial_id or not problems):
        return known[found[0]]
    if problems:
        raise InputError(*problems)
    said = f"begins {len(found)} of them" if found else "is none of them, and no file"
    raise InputError(
        f"{trial_id}: {said}: {len(known)} trials stand in {root}/sweeps/*.yaml; --results says where that is"
    )


def check(sweep: Sweep, root: Path) -> None:
    """Refuse a sweep whose name is that of another one in the results folder ``root``.

    Raises:
        InputError: with the files of both.
    """
    path = _path(sweep, root)
    if not os.path.isfile(path) or _is_ours(sweep.path, path, root):
        return
    source = _source(path)
    if source is not None and os.path.isfile(sweep.path) and _is_same(sweep.path, source):
        return
    kept: set[str] = set()
    with contextlib.suppress(InputError):  # made with settings of another version
        kept = set(load_sweep(path, is_plan=True).trials)
    common = len(kept & sweep.trials.keys())
    if 2 * common > min(len(kept), len(sweep.trials)) or not (kept or source):
        return
    raise InputError(
        f"{sweep.path}: name: {sweep.name}: is the name of another sweep in {root}: {source or path}, with "
        f"{len(kept)} trials, {common} of them in this one: give this one another name, or --results another folder"
    )


def _path(sweep: Sweep, root: Path) -> Path:
    return root / "sweeps" / f"{sweep.label}.yaml"


def _source(path: Path) -> str | None:
    """The file that a kept plan came from; None where it does not say."""
    with contextlib.suppress(OSError, UnicodeDecodeError), path.open("rb") as file:
        return kept_plan.source_of(file.readline(_HEAD).decode())
    return None


def _is_same(file: Path, source: str) -> bool:
    """The source itself, or what has become of it in a folder that was moved."""
    if os.path.realpath(file) == os.path.realpath(source):
        return True
    return not os.path.lexists(source) and os.path.basename(source) == file.name


def _is_ours(file: Path, plan: Path, root: Path) -> bool:
    """The plan itself, or a copy that a job was given."""
    real = Path(os.path.realpath(file))
    of_jobs = [os.path.realpath(root / name) for name in ("driver", "trials")]
    return real == Path(os.path.realpath(plan)) or any(map(real.is_relative_to, of_jobs))
