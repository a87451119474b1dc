"""Grids: every list is an axis; a block is the product of its axes, a list of blocks their union."""

import itertools
import math
from typing import Any

from suite.config.combination import FlatSettings, InvalidValue, Leaf


def num_combinations(value: Any) -> int:
    """How many combinations ``expand`` would give."""
    if isinstance(value, list):
        return sum(map(num_combinations, value)) or 1
    return math.prod(map(num_combinations, value.values())) if isinstance(value, dict) else 1


def lists_in(value: Any, place: str) -> list[str]:
    """The places of all lists in a value."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in lists_in(item, f"{place}.{key}")]
    return [place] if isinstance(value, list) else []


def expand(value: Any, place: str, problems: list[str]) -> list[FlatSettings]:
    """All combinations of the lists in ``value``; what is wrong is added to ``problems``."""
    if isinstance(value, list):
        if not value:
            problems.append(f"{place}: []: an axis must have at least one value")
            return [{(): Leaf(InvalidValue(), place)}]
        return [flat for i, item in enumerate(value) for flat in expand(item, f"{place}[{i}]", problems)]
    if not isinstance(value, dict) or not value:
        return [{(): Leaf(value, place)}]
    axes = [
        [{(str(key), *rest): leaf for rest, leaf in flat.items()} for flat in expand(item, f"{place}.{key}", problems)]
        for key, item in value.items()
    ]
    return [{key: leaf for part in parts for key, leaf in part.items()} for parts in itertools.product(*axes)]


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as flat keys, named as in the YAML: ``method.lr``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
