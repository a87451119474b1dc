"""Sweeps that no file holds: the text that a file would have."""

import json
from collections.abc import Mapping
from typing import Any

from suite.config.error_messages import short
from suite.config.errors import InputError

IN_MEMORY = "<dict>"  # the file of such a sweep, in messages


def text_of(raw: Mapping[str, Any]) -> str:
    """The sweep as JSON, which is YAML. Ranges and what numpy holds become lists and numbers.

    Raises:
        InputError: it holds a value that no sweep file can hold.
    """
    try:
        return json.dumps(dict(raw), indent=1, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{IN_MEMORY}: {error}: must be mappings, lists, texts, numbers, true, false, None") from None


def _plain(value: Any) -> Any:
    if isinstance(value, range):
        return list(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{short(str(value))} is of type {type(value).__name__}")
