"""A plan that was kept: the trials of a sweep, each with all its settings. It is a sweep file too.

Its first line names the file that was planned, a second one the plugins of its trials, if they use any. The rest is
JSON, which is YAML: ten thousand trials are read at once.
"""

import json
from collections.abc import Sequence
from typing import Any

HEADER = "# planned from: "
_PLUGINS = "# plugins: "
_HEAD_LINES = 2


def text_of(
    about: dict[str, Any], trials: Sequence[dict[str, Any]], source: str, plugins: Sequence[dict[str, Any]] = ()
) -> str:
    """The text of a plan: what a sweep file has above its grid, the trials, and the plugins that they use."""
    head = f"{HEADER}{json.dumps(source)}\n" + (f"{_PLUGINS}{json.dumps(plugins)}\n" if plugins else "")
    above = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in about.items())
    lines = ",\n".join(map(json.dumps, trials))
    return f'{head}{{{above}"grid": [\n{lines}\n]}}\n'


def source_of(text: str) -> str | None:
    """The file that was planned; None for any other sweep file, and for a plan of an earlier version."""
    found = _noted(text, HEADER)
    return found if isinstance(found, str) else None


def plugins_of(text: str) -> list[dict[str, Any]]:
    """The plugins that the trials of a plan use; none for any other sweep file."""
    found = _noted(text, _PLUGINS) if text.startswith(HEADER) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _noted(text: str, begins: str) -> Any:
    """What a line above the plan says, None where there is no such line."""
    for line in text.split("\n", _HEAD_LINES)[:_HEAD_LINES]:
        if line.startswith(begins):
            try:
                return json.loads(line.removeprefix(begins))
            except (ValueError, RecursionError):
                return None
    return None


def read(text: str) -> dict[str, Any] | None:
    """The values of a plan; None for any other text, and for a plan that was edited since."""
    if not text.startswith(HEADER):
        return None
    try:
        found = json.loads(text[text.index("\n{") :])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
