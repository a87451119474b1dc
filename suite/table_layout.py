"""Which columns of a table a narrow terminal shows."""

from collections.abc import Sequence
from dataclasses import dataclass

BETWEEN = 2  # blanks after each column
NOTHING = "-"


@dataclass(frozen=True)
class Column:
    """A column of a table. A terminal that is too narrow drops the one of the highest ``rank`` first, never rank 0."""

    name: str
    rank: int = 0


@dataclass(frozen=True)
class Layout:
    """What is shown of a table.

    ``header`` and ``rows`` hold the columns that fit. ``same`` says what all rows have in common, ``dropped`` names
    the columns that are left out. Where not even those of rank 0 fit, ``fits`` is False: a row is a line of text.
    """

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    same: str = ""
    dropped: str = ""
    fits: bool = True

    @classmethod
    def whole(cls, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> "Layout":
        """All of it, for a reader whose lines have no end: only a column in which no row says anything is left out."""
        said = [i for i, column in enumerate(columns) if column.rank == 0 or any(row[i] for row in rows)]
        return cls(tuple(columns[i].name for i in said), [tuple(row[i] for i in said) for row in rows])

    @classmethod
    def fitted(cls, columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> "Layout":
        """What ``width`` characters have room for."""
        values = [{row[i] for row in rows} for i in range(len(columns))]
        one = [len(found) == 1 < len(rows) or not any(found) for found in values]
        common = [i for i, column in enumerate(columns) if column.rank and one[i]]
        kept = [i for i in range(len(columns)) if i not in common]
        needed = {i: max(len(columns[i].name), *map(len, values[i]), 0) + BETWEEN for i in kept}
        dropped: list[int] = []
        while sum(needed[i] for i in kept) >= width and any(columns[i].rank for i in kept):
            kept.remove(worst := max(kept, key=lambda i: (columns[i].rank, i)))
            dropped.insert(0, worst)
        told = [(columns[i].name, value) for i in common for value in values[i] if value not in ("", NOTHING)]
        return cls(
            tuple(columns[i].name for i in kept),
            [tuple(row[i] for i in kept) for row in rows],
            same=", ".join(f"{name} {value}" for name, value in told),
            dropped=", ".join(columns[i].name for i in sorted(dropped)),
            fits=sum(needed[i] for i in kept) < width,
        )


def fits(table: Sequence[Sequence[str]], width: int) -> bool:
    """A table, its header the first row, fits into so many characters."""
    return sum(max(map(len, column)) + BETWEEN for column in zip(*table, strict=True)) < width
