"""Sweep files: from YAML to trials. Every mistake is found at once, as `file: key path: value: rule`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from suite.config import InputError, Settings, Trial
from suite.grid import Flat, Key, expand, lay_over, nest
from suite.problems import explain, short

_SHIPPED = Path(__file__).parent / "sweeps"  # where the wheel puts the sweeps


class SweepFile(Settings):
    """The top level of a sweep file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    description: str = ""
    base: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Any] | list[dict[str, Any]]


@dataclass(frozen=True)
class Sweep:
    """A sweep, expanded: its trials by trial_id, in the order of the file."""

    name: str
    description: str
    path: Path
    text: str
    trials: dict[str, Trial]


@dataclass(frozen=True)
class Option:
    """A ``--only`` or ``--set`` of the command line: a dotted key and the values after ``=``."""

    flag: str
    key: Key
    values: list[Any]

    @classmethod
    def parse(cls, flag: str, text: str) -> "Option":
        """Read ``KEY=VALUE``; the value is YAML, a list means any of (``--only``) or each of (``--set``)."""
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InputError(f"{flag}: {text}: must be KEY=VALUE, as in {flag} model.width_mult=0.25")
        parsed = _parse(value, f"{flag} {key}")
        return cls(f"{flag} {key}", tuple(key.split(".")), parsed if isinstance(parsed, list) else [parsed])

    def admits(self, flat: Flat) -> bool:
        """False where the file itself gives another value: such a trial need not even be valid."""
        leaf = flat.get((*self.key, "name")) or flat.get(self.key)
        return leaf is None or leaf[0] in self.values

    def matches_none(self, there: list[Any]) -> InputError:
        """The error for a filter that no trial passes, with the values there are."""
        seen = ", ".join(dict.fromkeys(short(value) for value in there if value is not None))
        rule = f"values there: {seen}" if seen else "no trial of this sweep has such a setting"
        return InputError(f"{self.flag}: {short(self.values)}: matches no trial; {rule}")


def load_sweep(path: str | Path, only: Sequence[str] = (), sets: Sequence[str] = ()) -> Sweep:
    """Read and expand a sweep file.

    Args:
        path: the file; where there is none, a sweep of this file name that comes with the suite.
        only: ``KEY=VALUE`` filters; a trial must pass all of them.
        sets: ``KEY=VALUE`` settings laid over every trial; an axis set so collapses.

    Raises:
        InputError: with one line for each mistake.
    """
    path, text = _read(Path(path))
    filters = [Option.parse("--only", item) for item in only]
    settings = [Option.parse("--set", item) for item in sets]
    raw = _parse(text, str(path))
    if not isinstance(raw, dict):
        raise InputError(f"{path}: {short(raw)}: a sweep file must be a mapping with name, base and grid")
    problems = _check_top(raw)
    flats = _admitted(_combine(raw, settings, problems), filters)
    trials = _validate(flats, problems, unique=not settings)
    if problems:
        raise InputError(*(f"{path}: {problem}" for problem in dict.fromkeys(problems)))
    trials = _filter(trials, filters)
    return Sweep(raw["name"], raw.get("description", ""), path, text, trials)


def _read(path: Path) -> tuple[Path, str]:
    if not path.exists() and (_SHIPPED / path.name).exists():
        path = _SHIPPED / path.name
    try:
        return path, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        there = sorted({p.name for folder in (path.parent, _SHIPPED) for p in folder.glob("*.yaml")})
        raise InputError(f"{path}: no such file; there are: {', '.join(there) or 'no .yaml files'}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None


class _Loader(yaml.SafeLoader):
    """yaml.SafeLoader, but 1e-4 is a number, as in YAML 1.2, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                mark = node.value[i][0].start_mark
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _parse(text: str, place: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader: it builds plain values only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(f"{place}: {where}not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{place}: not YAML: {' '.join(str(error).split())}") from None


def _check_top(raw: dict[str, Any]) -> list[str]:
    try:
        SweepFile.model_validate(raw)
        return []
    except ValidationError as error:
        # An error inside the grid's two forms is said once, for the grid.
        shown = {e["loc"][:1]: explain({**e, "loc": e["loc"][:1]}, SweepFile, raw, {}) for e in error.errors()}
        return [line for line in shown.values() if line]


def _combine(raw: dict[str, Any], settings: list[Option], problems: list[str]) -> list[Flat]:
    base, grid = raw.get("base", {}), raw.get("grid", {})
    blocks = [("grid", grid)] if isinstance(grid, dict) else [(f"grid[{i}]", b) for i, b in enumerate(grid or [])]
    if not isinstance(base, dict) or not all(isinstance(block, dict) for _, block in blocks):
        return []
    if not blocks:
        problems.append("grid: []: must have at least one block")
    below = expand(base, "base", problems)
    if len(below) > 1:
        problems.append("base: holds a list: lists are axes and belong under grid")
    flats = [lay_over(below[0], flat) for place, block in blocks for flat in expand(block, place, problems)]
    for option in settings:
        flats = [lay_over(flat, {option.key: (value, option.flag)}) for flat in flats for value in option.values]
    return flats


def _validate(flats: list[Flat], problems: list[str], unique: bool) -> dict[str, Trial]:
    trials: dict[str, Trial] = {}
    first: dict[str, Flat] = {}
    for flat in flats:
        raw = nest(flat)
        try:
            trial = Trial.model_validate(raw)
        except ValidationError as error:
            problems += filter(None, (explain(e, Trial, raw, flat) for e in error.errors()))
            continue
        if unique and trial.trial_id in trials:
            problems.append(f"{_difference(first[trial.trial_id], flat)}: the same trial stands twice in the grid")
        trials[trial.trial_id] = trial
        first.setdefault(trial.trial_id, flat)
    return trials


def _difference(one: Flat, other: Flat) -> str:
    places = (f"{one[k][1]} and {other[k][1]}: {short(other[k][0])}" for k in other if k in one and one[k] != other[k])
    return next(places, "grid")


def _admitted(flats: list[Flat], filters: list[Option]) -> list[Flat]:
    for option in filters:
        kept = [flat for flat in flats if option.admits(flat)]
        if flats and not kept:
            leaves = (flat.get((*option.key, "name")) or flat.get(option.key) for flat in flats)
            raise option.matches_none([leaf[0] for leaf in leaves if leaf])
        flats = kept
    return flats


def _filter(trials: dict[str, Trial], filters: list[Option]) -> dict[str, Trial]:
    for option in filters:
        values = {trial_id: _lookup(trial.model_dump(), option.key) for trial_id, trial in trials.items()}
        kept = {trial_id: trial for trial_id, trial in trials.items() if values[trial_id] in option.values}
        if not kept:
            raise option.matches_none(list(values.values()))
        trials = kept
    return trials


def _lookup(settings: dict[str, Any], key: Key) -> Any:
    value: Any = settings
    for part in key:
        value = value.get(part) if isinstance(value, dict) else None
    return value["name"] if isinstance(value, dict) and "name" in value else value
