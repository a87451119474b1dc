"""Combinations of a sweep that are the same trial: which are a mistake, and where they stand."""

from suite.config.combination import FlatSettings
from suite.config.error_messages import short
from suite.config.ranges import Range


def sources(flat: FlatSettings) -> dict[str, Range]:
    """The ranges of a combination, by setting."""
    return {".".join(key): leaf.drawn_from for key, leaf in flat.items() if leaf.drawn_from}


def by_chance(one: FlatSettings, other: FlatSettings) -> bool:
    """The same trial twice, as draws have it: from other ranges, or one combination of the file drawn again."""
    places = [{key: leaf.place for key, leaf in flat.items()} for flat in (one, other)]
    return (bool(sources(one)) and places[0] == places[1]) or sources(one) != sources(other)


def places(one: FlatSettings, other: FlatSettings) -> str:
    """Where the same trial stands twice: in one block of the grid, or in two."""
    differing = [(one[key].place, leaf.place) for key, leaf in other.items() if key in one and one[key] != leaf]
    first, second = differing[0] if differing else ("grid", "grid")
    blocks = first.split(".")[0], second.split(".")[0]
    return " and ".join((first, second) if blocks[0] == blocks[1] else blocks)


def in_grid(flat: FlatSettings) -> str:
    """What the grid says of a trial."""
    found = {key: leaf for key, leaf in flat.items() if leaf.place.startswith("grid")}
    return ", ".join(f"{'.'.join(key)}={short(leaf.value)}" for key, leaf in found.items())
