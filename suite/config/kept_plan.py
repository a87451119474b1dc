"""A plan that was kept: the trials of a sweep, each with all its settings. It is a sweep file too.

Its first line names the file that was planned. The rest is JSON, which is YAML: ten thousand trials are read at once.
"""

import json
from collections.abc import Sequence
from typing import Any

HEADER = "# planned from: "


def text_of(about: dict[str, Any], trials: Sequence[dict[str, Any]], source: str) -> str:
    """The text of a plan: what a sweep file has above its grid, and the trials."""
    above = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in about.items())
    lines = ",\n".join(map(json.dumps, trials))
    return f'{HEADER}{json.dumps(source)}\n{{{above}"grid": [\n{lines}\n]}}\n'


def source_of(text: str) -> str | None:
    """The file that was planned; None for any other sweep file, and for a plan of an earlier version."""
    first = text.partition("\n")[0]
    try:
        found = json.loads(first.removeprefix(HEADER)) if first.startswith(HEADER) else None
    except ValueError:
        return None
    return found if isinstance(found, str) else None


def read(text: str) -> dict[str, Any] | None:
    """The values of a plan; None for any other text, and for a plan that was edited since."""
    if not text.startswith(HEADER):
        return None
    try:
        found = json.loads(text.partition("\n")[2])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
