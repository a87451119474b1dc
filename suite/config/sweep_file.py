"""Sweep files: from YAML to trials. Every mistake is found at once, as `file: key path: value: rule`."""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator

from suite.config.combination import FlatSettings, InvalidValue, Key, Leaf, nest, overlay
from suite.config.error_messages import InputError, choices, explain, short
from suite.config.grid import expand, lists_in, num_combinations
from suite.config.ranges import Range
from suite.config.search import RangeReader, Search, SearchSettings, draw, has_ranges, num_drawn
from suite.config.trial import Scheduler, SchedulerSettings, Settings, Trial
from suite.config.yaml_text import parse

MAX_TRIALS = 100_000
_ABSENT = object()
_TOP_BLOCKS = ("search", "scheduler")
_SEARCH: TypeAdapter[SearchSettings | None] = TypeAdapter(Search)
_WRONG = SearchSettings(name="random", num_trials=1)
_ID = "trial_id"
_TEST = ("evaluate_test",)
_SHIPPED = Path(__file__).parents[1] / "sweeps"  # where the wheel puts the sweeps


class SweepFile(Settings):
    """The top level of a sweep file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    description: str = ""
    settings: Literal["paper", "tuned"] | None = None  # where learning rates come from: told over its tables
    search: Search = None
    scheduler: Scheduler = SchedulerSettings()
    base: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Any] | list[dict[str, Any]]

    @field_validator("scheduler")
    @classmethod
    def _stops_in_searches(cls, scheduler: SchedulerSettings, info: ValidationInfo) -> SchedulerSettings:
        if scheduler.name != "fifo" and info.data.get("search", "wrong itself") is None:
            raise ValueError("needs search: a trial that is stopped early never stands in a comparison")
        return scheduler


@dataclass(frozen=True)
class Sweep:
    """A sweep, expanded: its trials by trial_id, in the order of the file.

    ``label`` names its files: the name, with the options of the command line where it was given any. ``searched`` are
    the settings that had ranges, as ``method.lr``; ``ranges_by_trial`` has the ranges of each trial.
    """

    name: str
    label: str
    description: str
    path: Path
    trials: dict[str, Trial]
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    search: SearchSettings | None = None
    searched: tuple[str, ...] = ()
    ranges_by_trial: dict[str, dict[str, Range]] = field(default_factory=dict)
    settings: Literal["paper", "tuned"] | None = None


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


def load_sweep(path: str | Path, only: Sequence[str] = (), overrides: Sequence[str] = ()) -> Sweep:
    """Read and expand a sweep file.

    Args:
        path: the file; where there is none, a sweep of this file name that comes with the suite.
        only: ``KEY=VALUE`` filters; a trial must pass all of them.
        overrides: ``KEY=VALUE`` settings laid over every trial; an axis set so collapses.

    Raises:
        InputError: with one line for each mistake.
    """
    path, text = _read(Path(path))
    filters = [Option.read("--only", item) for item in only]
    settings = [Option.read("--set", item) for item in overrides]
    raw = parse(text, str(path))
    if not isinstance(raw, dict):
        raise InputError(f"{path}: {short(raw)}: a sweep file must be a mapping with name, base and grid")
    problems = _check_top(raw)
    flats = _combine(raw, settings, problems)
    admitted = [flat for flat in flats if all(f.admits(flat) for f in filters)]
    trials, first = _validate(admitted, problems, unique=not settings)
    if problems:
        raise InputError(*(f"{path}: {problem}" for problem in dict.fromkeys(problems)))
    for option in filters:
        trials = option.filter_trials(trials, flats)
    top = SweepFile.model_validate(raw)
    ranges_by_trial = {i: ranges for i in trials if (ranges := _sources(first[i]))}
    searched = tuple(dict.fromkeys(key for ranges in ranges_by_trial.values() for key in ranges))
    label = _label(top.name, only, overrides)
    return Sweep(
        top.name,
        label,
        top.description,
        path,
        trials,
        top.scheduler,
        top.search,
        searched,
        ranges_by_trial,
        top.settings,
    )


def load_trial(path: Path) -> Trial:
    """Read the settings of one trial, from a JSON or YAML file, or from a ``result.json``.

    Raises:
        InputError: with one line for each mistake.
    """
    raw = parse(_read(path)[1], str(path))
    if not isinstance(raw, dict):
        raise InputError(f"{path}: {short(raw)}: must be a mapping: the settings of one trial")
    return trial_from(raw["config"] if "trial_id" in raw and "config" in raw else raw, str(path))


def trial_from(raw: dict[str, Any], where: str) -> Trial:
    """One trial from its settings, which stand ``where``.

    Raises:
        InputError: with one line for each mistake.
    """
    problems = [f"{key}: a list: one trial has one value; lists belong into a sweep" for key in lists_in(raw, "")]
    trials = {} if problems else _validate([_tidy(expand(raw, "", [])[0])], problems, unique=False)[0]
    if problems:
        raise InputError(*(f"{where}: {problem.lstrip('.')}" for problem in problems))
    return next(iter(trials.values()))


def find_trial(trial_id: str, folder: Path) -> Trial:
    """The trial of this id, or of the only id that begins so, in the sweeps that were run: files of ``folder``.

    Raises:
        InputError: there is none, or more than one.
    """
    known = {i: trial for path in sorted(folder.glob("*.yaml")) for i, trial in load_sweep(path).trials.items()}
    found = [i for i in known if i.startswith(trial_id)]
    if len(found) == 1:
        return known[found[0]]
    said = f"begins {len(found)} of them" if found else "is none of them, and no file"
    raise InputError(f"{trial_id}: {said}: {len(known)} trials stand in {folder}/*.yaml; --results says where that is")


def _read(path: Path) -> tuple[Path, str]:
    shipped = {file.name: file for file in _SHIPPED.rglob("*.yaml")}
    path = path if path.exists() else shipped.get(path.name, path)
    try:
        return path, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        there = sorted({*shipped, *(file.name for file in path.parent.glob("*.yaml"))})
        raise InputError(f"{path}: no such file; there are: {', '.join(there) or 'no .yaml files'}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None


def _label(name: str, only: Sequence[str], overrides: Sequence[str]) -> str:
    """A file name for what the options leave of a sweep; a hash stands for what it has to leave out."""
    full = "-".join([name, *(f"only-{option}" for option in only), *(f"set-{option}" for option in overrides)])
    plain = re.sub(r"[^\w.=,-]+", "", full)[:100]
    return plain if plain == full else f"{plain}-{hashlib.sha256(full.encode()).hexdigest()[:6]}"


def _check_top(raw: dict[str, Any]) -> list[str]:
    try:
        SweepFile.model_validate(raw)
        return []
    except ValidationError as error:
        problems = []
        for e in error.errors():
            if e["loc"][0] == "grid" and e["type"] != "missing":
                problems.append(f"grid: {short(raw['grid'])}: must be a block or a list of blocks; keys must be words")
            elif e["loc"][0] == "base":
                problems.append(f"base: {short(raw['base'])}: must be a block; keys must be words")
            elif line := explain(e if e["loc"][0] in _TOP_BLOCKS else {**e, "loc": e["loc"][:1]}, SweepFile, raw, {}):
                problems.append(line)
        return problems


def _combine(raw: dict[str, Any], settings: list[Option], problems: list[str]) -> list[FlatSettings]:
    base, grid = raw.get("base", {}), raw.get("grid")
    blocks = [("grid", grid)] if isinstance(grid, dict) else [(f"grid[{i}]", b) for i, b in enumerate(grid or [])]
    if grid is None or not isinstance(base, dict) or not all(isinstance(block, dict) for _, block in blocks):
        return []
    search = _search(raw)
    base, blocks, settings = _read_ranges(base, blocks, settings, search, problems)
    problems += [f"{place}: lists are axes: they belong under grid" for place in lists_in(base, "base")]
    if not blocks:
        problems.append("grid: []: must have at least one block")
    num = sum(num_combinations(block) for _, block in blocks) * math.prod(len(option.values) for option in settings)
    if _too_many(num, problems):
        return []
    below = _tidy(expand(base, "base", [])[0])  # its empty lists are told above
    flats = [overlay(below, _tidy(flat)) for place, block in blocks for flat in expand(block, place, problems)]
    for option in settings:
        above = [_tidy({option.key: Leaf(value, option.flag)}) for value in option.values]
        flats = [overlay(flat, leaf) for flat in flats for leaf in above]
    return flats if search is None else _searching(flats, search, problems)


def _too_many(num: int, problems: list[str]) -> bool:
    if num > MAX_TRIALS:
        problems.append(f"grid: {num} trials: must be at most {MAX_TRIALS}")
    return num > MAX_TRIALS


def _search(raw: dict[str, Any]) -> SearchSettings | None:
    """How a sweep searches; where that is wrong itself, the least that keeps other lines from following from it."""
    try:
        return _SEARCH.validate_python(raw["search"]) if "search" in raw else None
    except ValidationError:
        return _WRONG


def _read_ranges(
    base: Any, blocks: list[tuple[str, Any]], settings: list[Option], search: SearchSettings | None, problems: list[str]
) -> tuple[Any, list[tuple[str, Any]], list[Option]]:
    reader = RangeReader(search is not None and search.name == "random", problems)
    base, blocks = reader.read(base, "base"), [(place, reader.read(block, place)) for place, block in blocks]
    settings = [
        replace(option, values=[_alone(option, value, reader) for value in option.values]) for option in settings
    ]
    if reader.allowed and not reader.found and search is not _WRONG:
        problems.append('search: "random": draws nothing: no setting is a range, as in lr: {loguniform: [0.01, 1]}')
    return base, blocks, settings


def _alone(option: Option, value: Any, reader: RangeReader) -> Any:
    """A value of ``--set``, which goes over a trial whole: a range cannot stand in it."""
    read = reader.read(value, option.flag, option.key)
    if not has_ranges(read) or isinstance(read, Range):
        return read
    reader.problems.append(f"{option.flag}: {short(value)}: has a range in it: set it alone, by its own key")
    return InvalidValue()


def _searching(flats: list[FlatSettings], search: SearchSettings, problems: list[str]) -> list[FlatSettings]:
    """The combinations with what is drawn; a search looks at no test image."""
    if _too_many(sum(num_drawn(flat, search) for flat in flats), problems):
        return []
    flats = [{_TEST: Leaf(False, "search"), **flat} for flat in draw(flats, search)]
    problems += [
        f"{flat[_TEST].place}: true: must be false: no test image is looked at in a search"
        for flat in flats
        if flat[_TEST].value is True
    ]
    return flats


def _tidy(flat: FlatSettings) -> FlatSettings:
    """Without the nothing of an empty block; ``dataset: digits`` as ``dataset: {name: digits}``."""
    flat = {key: leaf for key, leaf in flat.items() if key}
    if ("dataset",) in flat and isinstance(flat["dataset",][0], str):
        flat["dataset", "name"] = flat.pop(("dataset",))
    return flat


def _validate(
    flats: list[FlatSettings], problems: list[str], unique: bool
) -> tuple[dict[str, Trial], dict[str, FlatSettings]]:
    """The trials by their ids, and the first combination of each."""
    trials: dict[str, Trial] = {}
    first: dict[str, FlatSettings] = {}
    for flat in flats:
        raw = nest(flat)
        try:
            trial = Trial.model_validate(raw)
        except ValidationError as error:
            problems += filter(None, (explain(e, Trial, raw, flat) for e in error.errors()))
            continue
        trial_id = trial.trial_id  # costs more than all else here
        if unique and trial_id in trials and not _by_chance(first[trial_id], flat):
            problems.append(f"{_difference(first[trial_id], flat)}: the same trial stands twice in the grid")
        trials[trial_id] = trial
        first.setdefault(trial_id, flat)
    return trials, first


def _sources(flat: FlatSettings) -> dict[str, Range]:
    return {".".join(key): leaf.drawn_from for key, leaf in flat.items() if leaf.drawn_from}


def _by_chance(one: FlatSettings, other: FlatSettings) -> bool:
    """The same trial twice, as draws have it: from other ranges, or one combination of the file drawn again."""
    places = [{key: leaf.place for key, leaf in flat.items()} for flat in (one, other)]
    return (bool(_sources(one)) and places[0] == places[1]) or _sources(one) != _sources(other)


def _difference(one: FlatSettings, other: FlatSettings) -> str:
    differing = (key for key in other if key in one and one[key] != other[key])
    places = (f"{one[key].place} and {other[key].place}: {short(other[key].value)}" for key in differing)
    return next(places, "grid")


def _lookup(settings: dict[str, Any], key: Key) -> Any:
    value: Any = settings
    for part in key:
        value = value.get(part, _ABSENT) if isinstance(value, dict) else _ABSENT
    return value["name"] if isinstance(value, dict) and "name" in value else value
