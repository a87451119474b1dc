"""Grids: every list is an axis; a block is the product of its axes, a list of blocks their union.

A combination is kept flat, each setting with its value and the place in the file where it stands, so that a
mistake found later can say where it was made.
"""

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from suite.search import Range

Key = tuple[str, ...]


class Leaf(NamedTuple):
    """A value, the place in the file where it stands, and the range that it was drawn from."""

    value: Any
    place: str
    drawn_from: "Range | None" = None


Flat = dict[Key, Leaf]


class NoValue:
    """Stands for the value that an empty axis or a wrong range does not have, so that the rest is still checked."""


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


def expand(value: Any, place: str, problems: list[str]) -> list[Flat]:
    """All combinations of the lists in ``value``; what is wrong is added to ``problems``."""
    if isinstance(value, list):
        if not value:
            problems.append(f"{place}: []: an axis must have at least one value")
            return [{(): Leaf(NoValue(), place)}]
        return [flat for i, item in enumerate(value) for flat in expand(item, f"{place}[{i}]", problems)]
    if not isinstance(value, dict) or not value:
        return [{(): Leaf(value, place)}]
    axes = [
        [{(str(key), *rest): leaf for rest, leaf in flat.items()} for flat in expand(item, f"{place}.{key}", problems)]
        for key, item in value.items()
    ]
    return [{key: leaf for part in parts for key, leaf in part.items()} for parts in itertools.product(*axes)]


def lay_over(below: Flat, above: Flat) -> Flat:
    """``above`` over ``below``: a value hides what stands at its key, under it and in its place."""
    hidden = {key for key in below for top in above if key[: len(top)] == top or top[: len(key)] == key}
    return {**{key: leaf for key, leaf in below.items() if key not in hidden}, **above}


def nest(flat: Flat) -> dict[str, Any]:
    """The nested settings of one combination."""
    root: dict[str, Any] = {}
    for key, leaf in flat.items():
        node = root
        for part in key[:-1]:
            node = node.setdefault(part, {})
        node[key[-1]] = leaf.value
    return root


def place_of(key: Iterable[str], flat: Flat) -> str:
    """Where in the file a key stands; for a block, where it begins; for the whole trial, its block of the grid."""
    key = tuple(key)
    if key in flat:
        return flat[key].place
    for inner, leaf in flat.items():
        if key and inner[: len(key)] == key:
            return leaf.place.removesuffix("." + ".".join(inner[len(key) :]))
    blocks = [leaf.place.split(".")[0] for leaf in flat.values() if leaf.place.startswith("grid")]
    return ".".join(key) or (blocks[0] if blocks else "base" if flat else "top level")


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as flat keys, named as in the YAML: ``method.lr``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
