"""Which seeds a number comes from: in the CSV files, and in words where a paired difference leaves some out."""

from collections.abc import Collection, Iterable, Sequence

from analysis.parts.cells import Cell

Paired = tuple[str, Sequence[Collection[int]]]  # what is compared, and the seeds of each side


def seed_list(seeds: Iterable[int]) -> str:
    """As a CSV file has them: "1 2 3"."""
    return " ".join(map(str, sorted(seeds)))


def curve_seeds(cells: Sequence[Cell], metric: str) -> dict[str, object]:
    """``n`` values and their ``seeds`` over the widths of a series: "1 2 3", or "0.5: 1 2; 1: 1" where they differ."""
    values = {cell.width_mult: cell.values(metric) for cell in sorted(cells, key=lambda cell: cell.width_mult)}
    told = {width: seed_list(own) for width, own in values.items()}
    one = len(set(told.values())) == 1
    seeds = next(iter(told.values())) if one else "; ".join(f"{width:g}: {own}" for width, own in told.items())
    return {"n": sum(map(len, values.values())), "seeds": seeds}


def pairing_notes(paired: Iterable[Paired]) -> list[str]:
    """A line for each pairing that leaves out seeds of one side, with all that are paired so."""
    names: dict[str, list[str]] = {}
    for name, sides in paired:
        common = set(sides[0]).intersection(*sides[1:])
        if all(sides) and any(set(side) != common for side in sides):
            of = " and ".join(map(_words, sides))
            rule = f"paired over seeds {_words(common)} of {of}" if common else f"no seed in common: {of}"
            names.setdefault(rule, []).append(name)
    return [f"{'; '.join(own)}: {rule}." for rule, own in names.items()]


def _words(seeds: Collection[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
