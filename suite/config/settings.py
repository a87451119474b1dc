"""The base of all settings, their types, and which of them belong to a trial's identity. Loads no torch."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

NOT_IDENTITY: dict[str, Any] = {"identity": False}  # of a setting that cannot change numbers

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, nothing is converted, nothing changes later.

    The string below each setting describes it: ``docs/reference/settings.md`` is made of these strings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    # JSON tells -0.0 from 0.0, and so would trial_id.
    _one_zero = field_validator("*")(lambda value: 0.0 if isinstance(value, float) and value == 0 else value)


class NamedSettings(Settings):
    """Settings of a method, a network or a data set. The field ``name`` of a subclass is a ``Literal`` of its names.

    ``IMPLEMENTATION`` says what does it, as ``"package.module:Name"``, loaded when first used. In a plugin of one file
    it may be the object itself. Raise ``RESULTS_VERSION`` of a plugin when a change of its code alters numbers: each
    trial that uses it then gets a new id.
    """

    IMPLEMENTATION: ClassVar[Any] = None
    RESULTS_VERSION: ClassVar[int] = 1

    if TYPE_CHECKING:
        name: str


def identity(settings: Settings) -> dict[str, Any]:
    """The settings that can change numbers, without those at their defaults: adding a key renames nothing."""
    out: dict[str, Any] = {}
    for key, field in type(settings).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("identity") is False:
            continue
        value = _identity_of(getattr(settings, key))
        if field.is_required() or value != _identity_of(field.default):
            out[key] = value
    return out


def _identity_of(value: Any) -> Any:
    return identity(value) if isinstance(value, Settings) else value


def named(value: Any) -> Any:
    """A block that is given by its name alone: ``dataset: digits`` is ``dataset: {name: digits}``."""
    return {"name": value} if isinstance(value, str) else value


def names_of(cls: type[NamedSettings]) -> tuple[str, ...]:
    """The names that a block of such settings may have."""
    field = cls.model_fields.get("name")
    return get_args(field.annotation) if field else ()
