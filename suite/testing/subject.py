"""What is under test: one entry that the command names, or every one of the suite."""

import json
import os
from typing import Any, get_args

from pydantic.fields import FieldInfo

from suite.config import REGISTRY
from suite.config.plugins import Kind

VARIABLE = "SUITE_TESTING"  # environment, for the processes that tests start: the name, and settings of it, as JSON
_LEAST = {"Ge": "ge", "Gt": "gt"}


def names(kind: Kind) -> tuple[str, ...]:
    """The names under test."""
    given = os.environ.get(VARIABLE)
    entries = REGISTRY.entries(kind)
    if given is not None:
        wanted = json.loads(given)
        return (wanted["name"],) if wanted["kind"] == kind else ()
    return tuple(name for name, entry in entries.items() if not entry.is_plugin)


def settings(name: str) -> dict[str, Any]:
    """The settings that the command was given for what is under test."""
    wanted = json.loads(os.environ.get(VARIABLE, "{}"))
    return dict(wanted["settings"]) if wanted.get("name") == name else {}


def value_of(field: FieldInfo) -> Any:
    """A legal value of a setting without a default: its example, near the lower end of its range, a choice, or True."""
    if field.examples:
        return field.examples[0]
    for limit in field.metadata:
        if (least := getattr(limit, _LEAST.get(type(limit).__name__, ""), None)) is not None:
            return type(least)(least + 1) if field.annotation is int else float(least) + 0.25
    choices = get_args(field.annotation)
    plain: dict[Any, Any] = {bool: True, int: 1, float: 0.5, str: "x"}
    return choices[0] if choices else plain.get(field.annotation)
