"""Mistakes in words: one line each, as `key path: value: rule`, with the nearest valid name."""

import json
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from suite.config.combination import FlatSettings, InvalidValue, Key, place_of
from suite.config.trial import DATASETS, METHODS, MODELS

_BLOCKS = {"dataset": DATASETS, "model": MODELS, "method": METHODS}
_WORDS = {
    "Input should be a valid dictionary or object to extract fields from": "must be a block, as {name: ...}",
    "Input should be a valid dictionary or instance of": "must be a block of settings:",
    "Input should": "must",
    "String should": "must",
    "Value error, ": "",
}


class InputError(Exception):
    """Mistakes the user can mend: printed one a line, without a traceback; exit status 2."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def explain(error: ErrorDetails, top: type[BaseModel], raw: dict[str, Any], flat: FlatSettings) -> str | None:
    """One error of pydantic over the settings ``raw`` of class ``top``; None where it follows from another."""
    value, kind = error["input"], error["type"]
    if isinstance(value, InvalidValue):
        return None
    # Pydantic puts the name of the chosen block into a location: leave it out.
    key = tuple(str(part) for i, part in enumerate(error["loc"]) if not (i == 1 and error["loc"][0] in _BLOCKS))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        given = value.get("name") if isinstance(value, dict) else value
        if isinstance(given, InvalidValue):
            return None
        key = (*key, "name") if (*key, "name") in flat else key
        return f"{place_of(key, flat)}: {short(given)}: not a {key[0]}; {choices(given, list(_BLOCKS[key[0]]))}"
    if kind == "extra_forbidden":
        owner, fields = _owner(key, top, raw)
        return f"{place_of(key, flat)}: {short(value)}: not a setting{owner}; {choices(key[-1], fields)}"
    if kind == "missing":
        return f"{place_of(key[:-1], flat)}: {key[-1]}: is missing and has no default"
    rule = error["msg"]
    for theirs, ours in _WORDS.items():
        rule = rule.replace(theirs, ours)
    if (leaf := flat.get(key)) and leaf.drawn_from:  # one line for all that is drawn from a range
        value = leaf.drawn_from.written
        rule += ", which choice draws" if kind == "int_type" and leaf.drawn_from.kind != "choice" else ""
    return f"{place_of(key, flat)}: {short(value)}: {rule}"


def choices(given: object, names: list[str]) -> str:
    """The valid names, the nearest one first."""
    near = get_close_matches(str(given), names, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"valid: {', '.join(names)}"


def short(value: object) -> str:
    """A value as it stands in the file, cut to 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _owner(key: Key, top: type[BaseModel], raw: dict[str, Any]) -> tuple[str, list[str]]:
    if len(key) == 1:
        return "", list(top.model_fields)
    if key[0] in _BLOCKS:
        name = raw[key[0]]["name"]
        return f" of {name}", list(_BLOCKS[key[0]][name].model_fields)
    inner = top.model_fields[key[0]].annotation
    classes = [cls for cls in (inner, *get_args(inner)) if isinstance(cls, type) and issubclass(cls, BaseModel)]
    return f" of {key[0]}", [name for cls in classes for name in cls.model_fields]
