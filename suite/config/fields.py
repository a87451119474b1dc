"""What the settings classes say of their fields: what can change numbers, and how far a setting can go."""

from functools import reduce
from typing import Any

from suite.config.settings import Settings


def numeric_settings(settings: Settings) -> dict[str, Any]:
    """The settings that can change numbers, nested, those at their defaults too: what tells series apart."""
    kept = (key for key, field in type(settings).model_fields.items() if not _marked(field.json_schema_extra))
    found = {key: getattr(settings, key) for key in kept}
    return {key: numeric_settings(value) if isinstance(value, Settings) else value for key, value in found.items()}


def legal_range(settings: Settings, key: str) -> tuple[float | None, float | None]:
    """The least and the largest number that a setting may have, as of ``method.lr``, or comes near; None: no bound."""
    *blocks, name = key.split(".")
    block: Settings = reduce(getattr, blocks, settings)
    schema = type(block).model_json_schema()["properties"][name]
    rules = {word: value for option in (schema, *schema.get("anyOf", ())) for word, value in option.items()}
    return rules.get("minimum", rules.get("exclusiveMinimum")), rules.get("maximum", rules.get("exclusiveMaximum"))


def _marked(extra: object) -> bool:
    """The field is marked as one that cannot change numbers."""
    return isinstance(extra, dict) and extra.get("identity") is False
