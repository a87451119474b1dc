"""``--only`` and ``--set`` of the command line: which trials of a sweep file are meant, and with which settings."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from suite.config.combination import FlatSettings, Key, nest
from suite.config.error_messages import choices, short
from suite.config.errors import InputError
from suite.config.trial import Trial
from suite.config.yaml_text import parse

_ABSENT = object()
_ID = "trial_id"


@dataclass(frozen=True)
class Option:
    """A ``--only`` or ``--set`` of the command line: a dotted key and the values after ``=``."""

    flag: str
    key: Key
    values: list[Any]

    @classmethod
    def read(cls, flag: str, text: str) -> "Option":
        """Read ``KEY=VALUE``; the value is YAML, a list means any of (``--only``) or each of (``--set``)."""
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InputError(f"{flag}: {text}: must be KEY=VALUE, as in {flag} model.width_mult=0.25")
        # an id may look like a number
        parsed = re.findall(r"\w+", value) if key == _ID else parse(value, f"{flag} {key}")
        if parsed == []:
            raise InputError(f"{flag} {key}: []: must have at least one value")
        if isinstance(parsed, str) and "," in value and parsed == value.strip():
            raise InputError(f"{flag} {key}: {value}: a list has brackets: {key}=[{value}]; a text has quotes")
        return cls(f"{flag} {key}", tuple(key.split(".")), parsed if isinstance(parsed, list) else [parsed])

    def admits(self, flat: FlatSettings) -> bool:
        """False where the file itself gives another value: such a trial need not even be valid."""
        leaf = flat.get((*self.key, "name")) or flat.get(self.key)
        return leaf is None or leaf.value in self.values

    def _value(self, trial_id: str, trial: Trial) -> Any:
        return trial_id if self.key == (_ID,) else _lookup(trial.model_dump(), self.key)

    def filter_trials(self, trials: dict[str, Trial], flats: list[FlatSettings]) -> dict[str, Trial]:
        """The trials that pass this filter; where none does, an InputError says which values there are."""
        kept = {i: trial for i, trial in trials.items() if self._value(i, trial) in self.values}
        if kept:
            return kept
        if self.key == (_ID,):
            raise InputError(f"{self.flag}: {short(self.values)}: matches no trial; --dry-run lists the ids")
        known = [*(nest(flat) for flat in flats), *(trial.model_dump() for trial in trials.values())]
        seen = dict.fromkeys(
            short(value) for value in (_lookup(raw, self.key) for raw in known) if value is not _ABSENT
        )
        keys = sorted({".".join(key) for flat in flats for key in flat} | set(Trial.model_fields))
        there = f"values there: {', '.join(seen)}" if seen else choices(".".join(self.key), keys)
        raise InputError(f"{self.flag}: {short(self.values)}: matches no trial; {there}")


def label_of(name: str, only: Sequence[str], overrides: Sequence[str]) -> str:
    """A file name for what the options leave of a sweep; a hash stands for what it has to leave out."""
    full = "-".join([name, *(f"only-{option}" for option in only), *(f"set-{option}" for option in overrides)])
    plain = re.sub(r"[^\w.=,-]+", "", full)[:100]
    return plain if plain == full else f"{plain}-{hashlib.sha256(full.encode()).hexdigest()[:6]}"


def _lookup(settings: dict[str, Any], key: Key) -> Any:
    value: Any = settings
    for part in key:
        value = value.get(part, _ABSENT) if isinstance(value, dict) else _ABSENT
    return value["name"] if isinstance(value, dict) and "name" in value else value
