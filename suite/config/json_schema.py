"""The JSON Schema of sweep files, made from the settings classes, for editors that complete and check YAML.

It says what a key can be, not how keys go together: a file that it accepts may still have mistakes, which
``--dry-run`` reports. Whatever the suite accepts, it accepts.
"""

import json
from collections.abc import Mapping
from typing import Any, get_args

from suite.config.descriptions import descriptions
from suite.config.ranges import KINDS
from suite.config.registry import DATASETS, METHODS, MODELS
from suite.config.search import SearchSettings
from suite.config.settings import Settings
from suite.config.sweep_settings import SweepFile
from suite.config.trial import SchedulerSettings, Trial

Schema = dict[str, Any]
_DIALECT = "http://json-schema.org/draft-07/schema#"  # the newest one that editors' YAML servers read whole


def text() -> str:
    """The schema of sweep files as a JSON file."""
    return json.dumps(sweep_file_schema(), indent=1, ensure_ascii=False) + "\n"


def sweep_file_schema() -> Schema:
    """The schema of sweep files."""
    own = {
        "search": _or_name(_object(SearchSettings), ["grid", "random"]),
        "scheduler": _or_name(_object(SchedulerSettings), ["fifo", "asha"]),
        "base": _ref("base"),
        "grid": _axis(_ref("block")),
    }
    top = _object(SweepFile)
    for key, schema in own.items():
        top["properties"][key] = {"description": top["properties"][key]["description"], **schema}
    required = [key for key, field in SweepFile.model_fields.items() if field.is_required()]
    definitions = {**_trial("base", axes=False), **_trial("block", axes=True), "range": _range()}
    return {"$schema": _DIALECT, "title": "A sweep file", **top, "required": required, "definitions": definitions}


def _trial(name: str, *, axes: bool) -> dict[str, Schema]:
    """The definition ``name``, settings of a trial, and those of its blocks.

    No key is required: base and grid complete each other.
    """
    definitions = {name: _object(Trial, axes=axes, ranges=True)}
    for key, classes in (("dataset", DATASETS), ("model", MODELS), ("method", METHODS)):
        definitions[f"{name}.{key}"] = _any_of(classes, axes=axes)
        block = _ref(f"{name}.{key}")
        block = _or_name(block, list(classes)) if key == "dataset" else block
        text = descriptions(Trial)[key]
        definitions[name]["properties"][key] = {"description": text, **(_axis(block) if axes else block)}
    return definitions


def _object(cls: type[Settings], *, axes: bool = False, ranges: bool = False) -> Schema:
    """The block of a settings class, without what is required in it.

    Args:
        cls: the class.
        axes: a list of values may be in place of each value.
        ranges: a range may be in place of each value.
    """
    leaves, texts = cls.model_json_schema(by_alias=False)["properties"], descriptions(cls)
    properties: dict[str, Schema] = {}
    for key, field in cls.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)
        if inner is not None:
            schema = _object(inner, axes=axes, ranges=ranges)
        else:
            schema = {name: part for name, part in leaves[key].items() if name not in ("title", "description")}
            default = {"default": default} if (default := schema.pop("default", None)) is not None else {}
            several = _axis(schema) if axes else schema
            schema = {**(_one_of(several, _ref("range")) if ranges and key != "name" else several), **default}
        properties[key] = {"description": texts.get(key, ""), **schema}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _any_of(classes: Mapping[str, type[Settings]], *, axes: bool) -> Schema:
    """A block of one of several classes; ``name`` says which, and it may be given elsewhere in the file."""
    merged: dict[str, Schema] = {}
    rules: list[Schema] = []
    for cls in dict.fromkeys(classes.values()):
        for key, schema in _object(cls, axes=axes, ranges=True)["properties"].items():
            merged[key] = _either(merged[key], schema) if key in merged else schema
        names = [name for name, each in classes.items() if each is cls]
        is_it: Schema = {"properties": {"name": {"enum": names}}, "required": ["name"]}
        rules.append({"if": is_it, "then": {"propertyNames": {"enum": list(cls.model_fields)}}})
    name: Schema = {"type": "string", "enum": list(classes)}
    merged["name"] = {"description": "Which one it is.", **(_axis(name) if axes else name)}
    return {"type": "object", "properties": merged, "additionalProperties": False, "allOf": rules}


def _either(one: Schema, other: Schema) -> Schema:
    """A setting that two classes have."""
    if one == other:
        return one
    text, more = one["description"], other["description"]
    values = (
        {key: part for key, part in each.items() if key not in ("description", "default")} for each in (one, other)
    )
    return {"description": text if more in text else f"{text} {more}", **_one_of(*values)}


def _or_name(block: Schema, names: list[str]) -> Schema:
    """A block, or its name alone."""
    return {"anyOf": [{"type": "string", "enum": names}, block]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _axis(schema: Schema) -> Schema:
    """A value, or a list of values."""
    return _one_of(schema, {"type": "array", "items": schema, "minItems": 1})


def _one_of(*schemas: Schema) -> Schema:
    """Any of these, which may be unions themselves."""
    flat: list[Schema] = []
    for schema in schemas:
        parts = schema.get("anyOf", [schema])
        flat += [part for part in parts if part not in flat]
    return {"anyOf": flat}


def _range() -> Schema:
    """What ``search: random`` draws from."""
    ends: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    kinds = {kind: {"type": "array", "minItems": 1} if kind == "choice" else ends for kind in KINDS}
    return {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
