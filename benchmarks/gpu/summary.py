"""What a run has found, as Markdown: how each part ended, what was not measured and why, and the rows."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.files import rows_of
from benchmarks.gpu.parts import Part

Rows = Sequence[Mapping[str, Any]]


def text(folder: Path, endings: Mapping[Part, tuple[str, float]]) -> str:
    """The summary of the parts that have ended so far: of each, how and after how many seconds."""
    found = {part: list(rows_of(folder / part.rows_file)) for part in endings}
    lines = [
        "# Run sheet",
        "",
        "| part | ended | seconds | rows | not measured | failed |",
        "|---|---|---|---|---|---|",
    ]
    for part, (ending, seconds) in endings.items():
        counts = [sum(row["kind"] == kind for row in found[part]) for kind in ("row", "not measured", "failed")]
        lines.append(f"| {part.number} {part.name} | {ending} | {seconds:.0f} | {' | '.join(map(str, counts))} |")
    for part, rows in found.items():
        lines += ["", f"## {part.number} {part.name}", "", *_remarks(rows, endings[part][0]), *_tables(rows)]
    return "\n".join(lines) + "\n"


def _remarks(rows: Rows, ending: str) -> Iterator[str]:
    if ending != "ended" and rows and rows[-1]["kind"] == "begins":
        yield f"- {ending}: while it measured: {rows[-1]['what']}"
    for row in rows:
        if row["kind"] not in ("row", "begins"):
            yield f"- {row['kind']}: {row['what']}: {row.get('why', '')}"


def _tables(rows: Rows) -> Iterator[str]:
    """A table for each group of rows with the same keys."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["kind"] == "row":
            groups[tuple(key for key in row if key != "kind")].append(row)
    for keys, members in groups.items():
        yield from ("", f"| {' | '.join(keys)} |", f"|{'---|' * len(keys)}")
        yield from (f"| {' | '.join(_cell(row[key]) for key in keys)} |" for row in members)


def _cell(value: Any) -> str:
    said = f"{value:.4g}" if isinstance(value, float) else str(value)
    return said.replace("|", "/").replace("\n", " ")
