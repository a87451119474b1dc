"""Sparsity over the updates of an optimizer: a pure function of their number."""

from typing import Any, TypedDict, get_args

from suite.config import ScheduleShape

SHAPES: tuple[ScheduleShape, ...] = get_args(ScheduleShape)
RULE = (
    "must be None or a dict of shape, start, begin_update and end_update: shape one of "
    f"{', '.join(SHAPES)}, start in [0, 1), whole numbers 0 <= begin_update < end_update"
)


class SparsitySchedule(TypedDict):
    """The masks that update number t writes remove p(t): ``start`` up to ``begin_update``, and the group's ``sparsity``
    from ``end_update`` on. In between, with f, the part of the updates between both that are done: ``linear``
    start + (sparsity - start) f; ``cubic`` sparsity + (start - sparsity) (1 - f)^3; ``geometric``
    1 - (1 - start)^(1 - f) (1 - sparsity)^f. ``constant`` is ``sparsity`` at all times.
    """

    shape: ScheduleShape
    start: float
    begin_update: int
    end_update: int


def sparsity_at(update: int, schedule: SparsitySchedule | None, end: float) -> float:
    """p(t) of the masks that update number ``update`` writes (0: the first masks); ``end`` is where it ends."""
    if schedule is None or schedule["shape"] == "constant" or update >= schedule["end_update"]:
        return end
    start, begin = schedule["start"], schedule["begin_update"]
    if update <= begin:
        return start
    done = (update - begin) / (schedule["end_update"] - begin)
    if schedule["shape"] == "linear":
        return start + (end - start) * done
    if schedule["shape"] == "cubic":
        return end + (start - end) * (1 - done) ** 3
    kept: float = (1 - start) ** (1 - done) * (1 - end) ** done
    return 1 - kept


def is_schedule(value: Any) -> bool:
    """Whether it is a schedule, or None."""
    if value is None:
        return True
    if not isinstance(value, dict) or value.keys() != SparsitySchedule.__annotations__.keys():
        return False
    begin, end = value["begin_update"], value["end_update"]
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (begin, end))
    return value["shape"] in SHAPES and 0 <= value["start"] < 1 and whole and 0 <= begin < end
