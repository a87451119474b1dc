"""One combination of a grid's settings, kept flat: each value with the place in the file where it was written.

A mistake that is found later can then name the line of the file that made it.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from suite.config.ranges import Range

Key = tuple[str, ...]


class Leaf(NamedTuple):
    """A value, the place in the file where it stands, and the range that it was drawn from."""

    value: Any
    place: str
    drawn_from: Range | None = None


FlatSettings = dict[Key, Leaf]


class InvalidValue:
    """Stands for the value that an empty axis or a wrong range does not have, so that the rest is still checked."""


def overlay(below: FlatSettings, above: FlatSettings) -> FlatSettings:
    """``above`` over ``below``: a value hides what stands at its key, under it and in its place."""
    hidden = {key for key in below for top in above if key[: len(top)] == top or top[: len(key)] == key}
    return {**{key: leaf for key, leaf in below.items() if key not in hidden}, **above}


def nest(flat: FlatSettings) -> dict[str, Any]:
    """The nested settings of one combination."""
    root: dict[str, Any] = {}
    for key, leaf in flat.items():
        node = root
        for part in key[:-1]:
            node = node.setdefault(part, {})
        node[key[-1]] = leaf.value
    return root


def place_of(key: Iterable[str], flat: FlatSettings) -> str:
    """Where in the file a key stands; for a block, where it begins; for the whole trial, its block of the grid."""
    key = tuple(key)
    if key in flat:
        return flat[key].place
    for inner, leaf in flat.items():
        if key and inner[: len(key)] == key:
            return leaf.place.removesuffix("." + ".".join(inner[len(key) :]))
    blocks = [leaf.place.split(".")[0] for leaf in flat.values() if leaf.place.startswith("grid")]
    return ".".join(key) or (blocks[0] if blocks else "base" if flat else "top level")
