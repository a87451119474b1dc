"""Which seeds a number comes from, as the CSV files have them."""

from collections.abc import Iterable, Sequence

from analysis.parts.cells import Cell


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
