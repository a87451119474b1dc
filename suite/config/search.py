"""Searching for settings: the ranges of a sweep file, and what is drawn from them.

A block that holds ranges stands for ``num_trials`` settings, each run with every value of all axes. They are drawn when
the file is read, from the search's seed and the names of block and setting alone: the order of a file changes nothing,
more trials leave the first ones as they were, and all seeds and widths share them.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, field_validator

from suite.config.combination import FlatSettings, InvalidValue, Key, Leaf
from suite.config.error_messages import choices, short
from suite.config.ranges import KINDS, Range, is_number
from suite.config.registry import DATASETS, METHODS, MODELS
from suite.config.settings import Natural, Settings
from suite.config.trial import Trial

_AXES = (("dataset",), ("seed",), ("model", "width_mult"))  # settings are compared by their means over these


class SearchSettings(Settings):
    """How a sweep searches for settings."""

    name: Literal["grid", "random"]
    """``grid`` compares all combinations; ``random`` draws settings from ranges as ``{loguniform: [0.01, 1]}``."""

    num_trials: Annotated[int, Field(ge=1, le=100_000)] = 20
    """How many settings ``random`` draws for each block that has ranges."""

    seed: Natural = 0
    """Seed of the draws of ``random``."""

    @field_validator("num_trials", "seed")
    @classmethod
    def _draws(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("name") == "grid":
            raise ValueError("belongs to search: random")
        return value


def _named(value: Any) -> Any:
    if value is None:
        raise ValueError("must be grid or random")
    return {"name": value} if isinstance(value, str) else value


Search = Annotated[SearchSettings | None, BeforeValidator(_named)]  # `search: grid`


@dataclass
class RangeReader:
    """Reads the ranges in the blocks of a sweep file; what is wrong with them is added to ``problems``."""

    allowed: bool  # the search draws
    problems: list[str]
    found: list[str] = field(default_factory=list)  # where something stands that is meant as a range

    def read(self, value: Any, place: str, key: Key = (), in_list: bool = False) -> Any:
        """``value`` with a Range, or InvalidValue for a wrong one, in place of each mapping that stands for a range."""
        if _looks_like_range(key, value):
            self.found.append(place)
            rule = self._mistake(key, value, in_list)
            if rule is None:
                [(kind, ends)] = value.items()
                return Range(kind, tuple(ends))
            self.problems.append(f"{place}: {short(value)}: {rule}")
            return InvalidValue()
        if isinstance(value, dict):
            return {name: self.read(item, f"{place}.{name}", (*key, str(name))) for name, item in value.items()}
        if isinstance(value, list):
            return [self.read(item, f"{place}[{i}]", key, True) for i, item in enumerate(value)]
        return value

    def _mistake(self, key: Key, value: dict[str, Any], in_list: bool) -> str | None:
        kind, ends = next(iter(value.items()))
        if len(value) > 1:
            return f"a range must be one of {', '.join(KINDS)}, and nothing else"
        if kind not in KINDS:
            return f"not a kind of range; {choices(kind, list(KINDS))}"
        if not self.allowed:
            return "a range: search: random draws from it, else it must be a value or a list"
        if in_list:
            return "a range must be all of a setting: it cannot stand in a list"
        if key in _AXES or key[-1] == "name":
            return "must be a value or a list: each drawn setting is run with all of them"
        return _choice_mistake(ends) if kind == "choice" else _ends_mistake(kind, ends)


def has_ranges(value: Any) -> bool:
    """There are ranges in a value that was read."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, Range) or any(map(has_ranges, items))


def _looks_like_range(key: Key, value: Any) -> bool:
    if not key or not isinstance(value, dict) or not value:
        return False
    misspelled = len(value) == 1 and isinstance(next(iter(value.values())), list) and key[-1] in _plain()
    return misspelled or any(kind in value for kind in KINDS)


def _choice_mistake(values: Any) -> str | None:
    if not isinstance(values, list) or not values:
        return "choice must be a list of at least one value"
    if any(isinstance(value, dict | list) for value in values):
        return "choice must be a list of plain values; blocks belong into a list without it"
    return None if all(map(_is_finite, values)) else "must be finite numbers"


def _ends_mistake(kind: str, ends: Any) -> str | None:
    if not isinstance(ends, list) or len(ends) != 2 or not all(map(is_number, ends)):
        return f"{kind} must be two numbers, the lowest and the highest"
    if not all(map(_is_finite, ends)):
        return "must be finite numbers"
    if not ends[0] < ends[1]:
        return f"{kind} must be two numbers, the first less than the second"
    return "loguniform must be numbers greater than 0" if kind == "loguniform" and ends[0] <= 0 else None


def _is_finite(value: Any) -> bool:
    try:
        return not is_number(value) or math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def _plain() -> set[str]:
    """The names of all settings of trials that are no blocks, plugins' too."""
    return _plain_settings([Trial, *METHODS.values(), *MODELS.values(), *DATASETS.values()])


def _plain_settings(classes: Sequence[type[BaseModel]]) -> set[str]:
    """The names of all settings that are no blocks."""
    names = set()
    for cls in classes:
        for name, info in cls.model_fields.items():
            if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
                names |= _plain_settings([info.annotation])
            elif name not in ("dataset", "model", "method"):
                names.add(name)
    return names


def num_drawn(flat: FlatSettings, search: SearchSettings) -> int:
    """How many combinations ``draw`` makes of one."""
    return math.prod(search.num_trials for _ in _ranges(flat))


def draw(flats: Sequence[FlatSettings], search: SearchSettings) -> list[FlatSettings]:
    """The combinations with drawn values in place of their ranges: ``num_trials`` for each block that has some."""
    known: dict[Any, list[FlatSettings]] = {}  # the same for all seeds and widths: drawn once
    drawn = []
    for flat in flats:
        parts = []
        for block, leaves in _ranges(flat).items():
            name = flat[*block, "name"].value if (*block, "name") in flat else ""
            case = (str(name), tuple(leaves.items()))
            if case not in known:
                known[case] = [_setting(leaves, f"{search.seed} {name}", i) for i in range(search.num_trials)]
            parts.append(known[case])
        drawn += [{**flat, **dict(itertools.chain(*map(dict.items, part)))} for part in itertools.product(*parts)]
    return drawn


def _setting(leaves: FlatSettings, label: str, i: int) -> FlatSettings:
    return {
        key: Leaf(leaf.value.draw(f"{label} {'.'.join(key)} {i}"), leaf.place, leaf.value)
        for key, leaf in leaves.items()
    }


def _ranges(flat: FlatSettings) -> dict[Key, FlatSettings]:
    """By block: its settings that are ranges."""
    blocks: dict[Key, FlatSettings] = {}
    for key, leaf in flat.items():
        if isinstance(leaf.value, Range):
            blocks.setdefault(key[:-1], {})[key] = leaf
    return blocks
