"""Mistakes in words: one line each, as `key path: value: rule`, with the nearest valid name."""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from suite.config.combination import FlatSettings, InvalidValue, Key, place_of
from suite.config.registry import DATASETS, METHODS, MODELS, REGISTRY
from suite.config.trial import Trial

_BLOCKS: dict[Any, Mapping[str, type[BaseModel]]] = {"dataset": DATASETS, "model": MODELS, "method": METHODS}
_MOST_NAMES = 10
_WORDS = {
    "Input should be a valid dictionary or object to extract fields from": "must be a block, as {name: ...}",
    "Input should be a valid dictionary or instance of": "must be a block of settings:",
    "Input should": "must",
    "String should": "must",
    "Value error, ": "",
}


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
        if kind == "union_tag_not_found":
            return f"{place_of(key, flat)}: name: is missing; valid: {', '.join(_BLOCKS[key[0]])}"
        key = (*key, "name") if (*key, "name") in flat else key
        if problem := REGISTRY.problem(key[0], given):
            return f"{place_of(key, flat)}: {short(given)}: {problem}"
        return f"{place_of(key, flat)}: {short(given)}: not a {key[0]}; {choices(given, list(_BLOCKS[key[0]]))}"
    if kind == "extra_forbidden":
        owner, fields = _owner(key, top, raw)
        moved = _elsewhere(key, top, raw)
        hint = f"did you mean {moved}? valid: {', '.join(fields)}" if moved else choices(key[-1], fields)
        return f"{place_of(key, flat)}: {short(value)}: not a setting{owner}; {hint}"
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
    """The valid names, the nearest one first: ``method.lr`` for ``lr``."""
    near = [name for name in names if name.rpartition(".")[2] == given] or get_close_matches(str(given), names, n=1)
    return (f"did you mean {' or '.join(near)}? " if near else "") + f"valid: {', '.join(names)}"


def nearest(given: object, names: Iterable[str]) -> str:
    """The names that are most like a given one, at most ten."""
    there = sorted(set(names))
    near = get_close_matches(str(given), there, n=_MOST_NAMES, cutoff=0.5)
    shown = [*near, *(name for name in there if name not in near)][:_MOST_NAMES]
    return ", ".join(shown) + (f" and {len(there) - len(shown)} more" if len(there) > len(shown) else "")


def short(value: object) -> str:
    """A value as it stands in the file, cut to 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _elsewhere(key: Key, top: type[BaseModel], raw: dict[str, Any]) -> str:
    """Where a setting belongs that is in the wrong block: ``lr`` of the trial is ``method.lr``."""
    if top is not Trial:
        in_base = "base" in top.model_fields and key[0] in Trial.model_fields
        return f"base.{key[0]}" if in_base and len(key) == 1 else ""
    blocks = {name: classes.get(_name_in(raw, name)) for name, classes in _BLOCKS.items() if name != key[0]}
    owners = [name for name, cls in blocks.items() if cls and key[-1] in cls.model_fields]
    there = [f"{name}.{key[-1]}" for name in owners]
    return " or ".join([key[-1], *there] if len(key) > 1 and key[-1] in Trial.model_fields else there)


def _name_in(raw: dict[str, Any], block: str) -> str:
    given = raw.get(block)
    return str(given.get("name")) if isinstance(given, dict) else ""


def _owner(key: Key, top: type[BaseModel], raw: dict[str, Any]) -> tuple[str, list[str]]:
    if len(key) == 1:
        return "", list(top.model_fields)
    if key[0] in _BLOCKS:
        name = raw[key[0]]["name"]
        return f" of {name}", list(_BLOCKS[key[0]][name].model_fields)
    inner = top.model_fields[key[0]].annotation
    classes = [cls for cls in (inner, *get_args(inner)) if isinstance(cls, type) and issubclass(cls, BaseModel)]
    return f" of {key[0]}", [name for cls in classes for name in cls.model_fields]
