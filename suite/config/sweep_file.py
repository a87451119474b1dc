"""Sweep files: from YAML to trials. Every mistake is found at once, as `file: key path: value: rule`."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from suite.config import duplicates, in_memory, kept_plan, own_content, shipped, yaml_text
from suite.config.combination import FlatSettings, InvalidValue, Leaf, nest, overlay, place_of
from suite.config.error_messages import explain, nearest, short
from suite.config.errors import InputError
from suite.config.grid import expand, lists_in, num_combinations
from suite.config.options import Option, label_of
from suite.config.own_content import ContentOf
from suite.config.ranges import Range
from suite.config.registry import check_there
from suite.config.search import RangeReader, Search, SearchSettings, draw, has_ranges, num_drawn
from suite.config.sweep_settings import SweepFile
from suite.config.trial import SchedulerSettings, Trial
from suite.config.yaml_text import Document

MAX_TRIALS = 100_000
_TOP_BLOCKS = ("search", "scheduler")
_SEARCH: TypeAdapter[SearchSettings | None] = TypeAdapter(Search)
_WRONG = SearchSettings(name="random", num_trials=1)
_TEST = ("evaluate_test",)
_MOST_BYTES = 20_000_000
_MOST_TOLD = 100  # mistakes
_MOST_EXPLAINED = 1000  # one mistake can be in many trials
_MANY = 10**100


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
    text: str = ""  # of the file, which may have been a pipe
    only: tuple[str, ...] = ()  # the options of the command line
    overrides: tuple[str, ...] = ()


def load_sweep(
    path: str | Path,
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    *,
    is_plan: bool = False,
    contents: ContentOf | None = None,
) -> Sweep:
    """Read and expand a sweep file.

    Args:
        path: the file; where there is none, a sweep of this file name that comes with the suite.
        only: ``KEY=VALUE`` filters; a trial must pass all of them.
        overrides: ``KEY=VALUE`` settings laid over every trial; an axis set so collapses.
        is_plan: it was kept by us, and may be of any size.
        contents: finds the content of the user's own images, where the file does not say it.

    Raises:
        InputError: with one line for each mistake; a plan has trials of a plugin that is missing.
    """
    path = shipped.resolve(Path(path), shipped.SWEEPS)
    text = _text(path, math.inf if is_plan else _MOST_BYTES)
    check_there(kept_plan.plugins_of(text), str(path))
    document = _document(text, path, math.inf if is_plan else yaml_text.MAX_VALUES)
    return _expand(document, text, path, only, overrides, contents)


def sweep_from(
    raw: Mapping[str, Any],
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    *,
    contents: ContentOf | None = None,
) -> Sweep:
    """Expand what a sweep file would hold; arguments and errors as ``load_sweep``, which names no file then."""
    text = in_memory.text_of(raw)
    return _expand(Document(json.loads(text)), text, Path(in_memory.IN_MEMORY), only, overrides, contents)


def _expand(
    document: Document,
    text: str,
    path: Path,
    only: Sequence[str],
    overrides: Sequence[str],
    contents: ContentOf | None,
) -> Sweep:
    filters = [Option.read("--only", item) for item in only]
    settings = [Option.read("--set", item) for item in overrides]
    raw = document.value
    if not isinstance(raw, dict):
        raise InputError(f"{path}: {short(raw)}: a sweep file must be a mapping with name, base and grid")
    problems = _check_top(raw)
    flats = _combine(raw, settings, problems)
    admitted = [flat for flat in flats if all(f.admits(flat) for f in filters)]
    trials, first = _validate(admitted, problems, contents, unique=not settings)
    if problems:
        raise InputError(*_located(problems, document, path))
    for option in filters:
        trials = option.filter_trials(trials, flats)
    top = SweepFile.model_validate(raw)
    ranges_by_trial = {i: ranges for i in trials if (ranges := duplicates.sources(first[i]))}
    searched = tuple(dict.fromkeys(key for ranges in ranges_by_trial.values() for key in ranges))
    of_options = kept_plan.source_of(text) is not None and path.stem.startswith(f"{top.name}-")
    label = label_of(path.stem if of_options else top.name, only, overrides)  # a plan of options keeps their label
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
        text,
        tuple(only),
        tuple(overrides),
    )


def load_trial(path: Path, contents: ContentOf | None = None) -> Trial:
    """Read the settings of one trial, from a JSON or YAML file, or from a ``result.json``.

    Args:
        path: the file.
        contents: as for ``load_sweep``.

    Raises:
        InputError: with one line for each mistake.
    """
    document = _document(_text(path), path)
    raw = document.value
    if not isinstance(raw, dict):
        raise InputError(f"{path}: {short(raw)}: must be a mapping: the settings of one trial")
    in_result = "trial_id" in raw and "config" in raw
    if in_result and isinstance(used := raw.get("plugins"), list):
        check_there([each for each in used if isinstance(each, dict)], str(path))
    if in_result:
        return trial_from(raw["config"], str(path))
    return trial_from(raw, str(path), document, contents)


def trial_from(
    raw: dict[str, Any], where: str, document: Document | None = None, contents: ContentOf | None = None
) -> Trial:
    """One trial from its settings, which stand ``where``, on the lines of ``document``.

    Raises:
        InputError: with one line for each mistake.
    """
    problems = [f"{key}: a list: one trial has one value; lists belong into a sweep" for key in lists_in(raw, "")]
    trials = {} if problems else _validate([_tidy(expand(raw, "", [])[0])], problems, contents, unique=False)[0]
    if problems:
        raise InputError(*_located([p.lstrip(".") for p in problems], document or Document(raw), where))
    return next(iter(trials.values()))


def _text(path: Path, most: float = _MOST_BYTES) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
            if most == math.inf or content.startswith(kept_plan.HEADER.encode()):
                content += file.read()
        if len(content) > most and not content.startswith(kept_plan.HEADER.encode()):
            raise InputError(f"{path}: more than {_MOST_BYTES // 10**6} MB: is no sweep file")
        return content.decode("utf-8")
    except FileNotFoundError:
        there = [file.name for file in path.parent.glob("*.yaml")] if os.path.isdir(path.parent) else []
        near = nearest(path.name, [*there, *(file.name for file in shipped.SWEEPS.files.values())])
        raise InputError(f"{path}: no such file; there are: {near or 'no .yaml files'}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None


def _document(text: str, path: Path, most_values: float = yaml_text.MAX_VALUES) -> Document:
    kept = kept_plan.read(text)
    return yaml_text.read(text, str(path), is_file=True, most_values=most_values) if kept is None else Document(kept)


def _located(problems: Sequence[str], document: Document, file: str | Path) -> list[str]:
    """The mistakes, each once and with its line."""
    found = list(dict.fromkeys(problems))
    more = [f"{file}: and {len(found) - _MOST_TOLD:,} more mistakes"] if len(found) > _MOST_TOLD else []
    return [document.located(problem, str(file)) for problem in found[:_MOST_TOLD]] + more


def _check_top(raw: dict[str, Any]) -> list[str]:
    try:
        SweepFile.model_validate(raw)
        return []
    except ValidationError as error:
        problems = []
        for e in error.errors()[:_MOST_EXPLAINED]:
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
        shown = num if num < _MANY else "far too many"
        problems.append(f"grid: {shown} trials: must be at most {MAX_TRIALS}")
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
    flats: list[FlatSettings], problems: list[str], contents: ContentOf | None, unique: bool
) -> tuple[dict[str, Trial], dict[str, FlatSettings]]:
    """The trials by their ids, and the first combination of each."""
    trials: dict[str, Trial] = {}
    first: dict[str, FlatSettings] = {}
    twice: dict[str, str] = {}  # by the places: one line for all trials that have them
    explained = 0
    for flat in flats:
        raw = nest(flat)
        try:
            trial = Trial.model_validate(raw)
        except ValidationError as error:
            errors = error.errors()[: _MOST_EXPLAINED - explained]
            problems += filter(None, (explain(e, Trial, raw, flat) for e in errors))
            explained += len(errors)
            if explained >= _MOST_EXPLAINED:
                break
            continue
        try:
            trial = own_content.filled_in(trial, contents)
        except InputError as error:
            problems += (f"{place_of(('dataset',), flat)}: {problem}" for problem in error.problems)
            continue
        trial_id = trial.trial_id  # costs more than all else here
        if unique and trial_id in trials and not duplicates.by_chance(first[trial_id], flat):
            places = duplicates.places(first[trial_id], flat)
            twice.setdefault(places, f"{places}: the same trial stands twice in the grid: {duplicates.in_grid(flat)}")
        trials[trial_id] = trial
        first.setdefault(trial_id, flat)
    problems += twice.values()
    return trials, first
