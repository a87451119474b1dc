"""The keys at the top of a sweep file."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from suite.config.search import Search
from suite.config.settings import Settings
from suite.config.trial import Scheduler, SchedulerSettings


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError("must be at most 64 of A-Z, a-z, 0-9, _, . and -, the first one a letter or digit")
    return name


class SweepFile(Settings):
    """The top level of a sweep file."""

    name: Annotated[str, AfterValidator(_file_name)]
    """Name of the sweep, of its report folder and of its MLflow experiment: letters, digits, ``.``, ``_`` and ``-``."""

    description: str = ""
    """What the sweep is for; shown in reports and in MLflow."""

    settings: Literal["paper", "tuned"] | None = None
    """Where learning rates come from; stated above the tables."""

    search: Search = None
    """How settings are searched: a block, or its name alone; unset: the sweep is a comparison."""

    scheduler: Scheduler = SchedulerSettings()
    """Which trials are stopped early: a block, or its name alone; ``asha`` needs ``search``."""

    base: dict[str, Any] = Field(default_factory=dict)
    """Settings of every trial; lists are not allowed here."""

    grid: dict[str, Any] | list[dict[str, Any]]
    """Settings in which each list is an axis: a block is the product of its axes, a list of blocks their union."""

    @field_validator("scheduler")
    @classmethod
    def _stops_in_searches(cls, scheduler: SchedulerSettings, info: ValidationInfo) -> SchedulerSettings:
        if scheduler.name != "fifo" and info.data.get("search", "wrong itself") is None:
            raise ValueError("needs search: a trial that is stopped early never stands in a comparison")
        return scheduler
