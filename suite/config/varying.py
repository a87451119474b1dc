"""What tells the trials of a sweep apart: the settings that vary among trials of the same method, network and data."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from suite.config.settings import Settings
from suite.config.trial import Trial

_COLUMNS = ("method.name", "model.name", "model.width_mult", "dataset.name", "seed")  # which have names of their own
_Kind = tuple[str, str, str]


class TrialNames:
    """Short names of the trials of a sweep, which say what varies among them.

    Args:
        trials: by trial_id.
    """

    def __init__(self, trials: Mapping[str, Trial]) -> None:
        self._trials = trials
        self._keys = _varying(trials)
        self._models = len({trial.model.name for trial in trials.values()}) > 1
        self._data = len({trial.dataset.name for trial in trials.values()}) > 1

    def settings(self, trial_id: str) -> str:
        """The settings that vary besides those that every table has: ``sparsity=0.5 lr=0.1``, or an empty text."""
        trial = self._trials[trial_id]
        found = ((key, _value(trial, key)) for key in self._keys[_kind(trial)])
        return " ".join(f"{_short(key)}={value}" for key, value in found)

    def __getitem__(self, trial_id: str) -> str:
        """The name: ``iterand x0.25 seed 1 sparsity=0.5``, with network and data set where the sweep has several."""
        trial = self._trials[trial_id]
        words = [trial.method.name, trial.model.name if self._models else "", f"x{trial.model.width_mult:g}"]
        words += [trial.dataset.name if self._data else "", f"seed {trial.seed}", self.settings(trial_id)]
        return " ".join(filter(None, words))


def _varying(trials: Mapping[str, Trial]) -> dict[_Kind, list[str]]:
    first: dict[_Kind, Trial] = {}
    keys: dict[_Kind, dict[str, None]] = defaultdict(dict)  # in their order
    for trial in trials.values():
        kind = _kind(trial)
        keys[kind] |= dict.fromkeys(_differing(trial, first.setdefault(kind, trial)))
    return {kind: [key for key in found if key not in _COLUMNS] for kind, found in keys.items()}


def _differing(one: Settings, other: Settings, prefix: str = "") -> Iterator[str]:
    """The keys in which two blocks differ, those of blocks in them as in the YAML: ``method.lr``."""
    for key in type(one).model_fields:
        mine, others = getattr(one, key), getattr(other, key)
        if mine == others:
            continue
        if isinstance(mine, Settings) and type(mine) is type(others):
            yield from _differing(mine, others, f"{prefix}{key}.")
        else:
            yield prefix + key


def _kind(trial: Trial) -> _Kind:
    return trial.dataset.name, trial.model.name, trial.method.name


def _value(trial: Trial, key: str) -> Any:
    value: Any = trial
    for name in key.split("."):
        value = getattr(value, name, None)
    return value.model_dump_json() if isinstance(value, Settings) else value


def _short(key: str) -> str:
    *_, name = key.split(".")
    return key if name == "name" else name
