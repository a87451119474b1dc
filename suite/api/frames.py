"""Results of sweeps as data frames: a row for each trial, or for each of its epochs."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from suite.api.sweeps import SweepSource, load
from suite.config import InputError, Trial
from suite.config.data_dir import resolve_data_dir
from suite.config.grid import flatten
from suite.records import Outcome, Summary, data_content, read_metrics
from suite.records.data_content import Contents
from suite.records.ledger import Ledger
from suite.sweep.plan import make_plan

_ELSEWHERE = {"trial_id", "status", "config", "metrics", "stored", "test_correct", "attempts"}  # or of no use in a row
_PROVENANCE = [name for name in Outcome.model_fields if name not in _ELSEWHERE]


def results(sweep: SweepSource, results: str | os.PathLike[str] = "results") -> pd.DataFrame:
    """Return a row for each trial of a sweep, in the order of the sweep.

    The columns are ``trial_id`` and ``status``; the settings, named as in sweep files (``method.lr``); the metrics
    (``val/top1``, ``test/top1``; accuracies are shares in [0, 1]); the bytes of stored networks (``bytes.ticket``); and
    where the result comes from (``seconds``, ``device``, ``code_id``, ``versions.torch``, ...). A value that a trial
    does not have is missing. ``status`` is one of ``done``, ``diverged``, ``stopped``, ``failed``, ``unfinished`` and
    ``missing``.

    Args:
        sweep: as for ``load_sweep``.
        results: folder of the records.

    Raises:
        InputError: with one line for each mistake; there is no such folder; a record cannot be used.
    """
    found = load(sweep, Contents(resolve_data_dir(None), Path(results, data_content.CACHE)))
    entries = make_plan(found, _ledger(found, results)).found
    rows = [
        {"trial_id": i, "status": entries[i].state, **_settings(trial), **_numbers(entries[i].summary)}
        for i, trial in found.trials.items()
    ]
    return pd.DataFrame(rows)


def epochs(sweep: SweepSource, results: str | os.PathLike[str] = "results") -> pd.DataFrame:
    """Return a row for each epoch of each trial that has begun, those that are unfinished or failed too.

    The columns are ``trial_id``; the settings that differ between trials of the sweep, named as in sweep files; and
    what ``metrics.jsonl`` holds: ``epoch``, counted from 0, and metrics.

    Args:
        sweep: as for ``load_sweep``.
        results: folder of the records.

    Raises:
        InputError: with one line for each mistake; there is no such folder; a record is garbled.
    """
    found = load(sweep, Contents(resolve_data_dir(None), Path(results, data_content.CACHE)))
    ledger = _ledger(found, results)
    lines = [read_metrics(ledger.folder(trial_id)) for trial_id in found.trials]
    repeated = np.repeat(np.arange(len(lines)), [len(each) for each in lines])
    settings = _varying(found.trials)
    settings.insert(0, "trial_id", list(found.trials))
    numbers = pd.DataFrame([line for each in lines for line in each])
    return pd.concat([settings.iloc[repeated].reset_index(drop=True), numbers], axis="columns")


def _ledger(sweep: Any, folder: str | os.PathLike[str]) -> Ledger:
    if not os.path.isdir(folder):
        raise InputError(f"{os.fspath(folder)}: no such folder: name one with the results of sweeps, or run the sweep")
    return Ledger(Path(folder), sweep.scheduler)


def _settings(trial: Trial) -> dict[str, Any]:
    return flatten(trial.model_dump(mode="json"))


def _varying(trials: Mapping[str, Trial]) -> pd.DataFrame:
    """The settings that are not the same in all trials."""
    frame = pd.DataFrame(map(_settings, trials.values()))
    return frame.loc[:, [not _is_constant(frame[name]) for name in frame]]


def _is_constant(values: Iterable[Any]) -> bool:
    return len({repr(value) for value in values}) == 1


def _numbers(summary: Summary | None) -> dict[str, Any]:
    """The metrics and the provenance of a result, flat."""
    if summary is None:
        return {}
    about = {name: getattr(summary, name) for name in _PROVENANCE}
    about["plugins"] = ", ".join(map(str, summary.plugins))
    return {
        **summary.metrics,
        **{f"bytes.{each.form}": each.bytes for each in summary.stored},
        **flatten(about),
        "record_bytes": summary.record_bytes,
    }
