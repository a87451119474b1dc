"""Ranges of a search: what a setting is drawn from, and how."""

import math
import random
from dataclasses import dataclass
from typing import Any, Literal

Side = Literal["lower", "upper"]


KINDS = ("uniform", "loguniform", "choice")


EDGE = 0.05  # the share of a range, at each end, whose values say that it should go on


@dataclass(frozen=True)
class Range:
    """What a setting is drawn from: the two ends of an interval, or the values of a choice."""

    kind: str
    values: tuple[Any, ...]

    @property
    def written(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {self.kind: list(self.values)}

    @property
    def ends(self) -> tuple[float, float] | None:
        """The lowest and the highest number; None for a choice of other things, or of one number."""
        numbers = all(map(is_number, self.values)) and len(set(self.values)) > 1
        return (min(self.values), max(self.values)) if numbers else None

    def draw(self, label: str) -> Any:
        """The value that belongs to a label: the same one everywhere, of three significant digits."""
        share = random.Random(label).random()  # noqa: S311 - no secret
        if self.kind == "choice":
            return self.values[int(share * len(self.values))]
        low, high = (math.log(end) if self.kind == "loguniform" else float(end) for end in self.values)
        value = low * (1 - share) + high * share  # a difference of the ends may be too large for a float
        value = math.exp(value) if self.kind == "loguniform" else value
        return min(max(float(f"{value:.3g}"), float(self.values[0])), float(self.values[1]))

    def edge(self, value: Any) -> Side | None:
        """The edge on which a value lies: the last number of a choice, or the outer twentieth of an interval."""
        if self.ends is None or not is_number(value):
            return None
        (low, high), width = self.ends, 0.0 if self.kind == "choice" else EDGE
        if self.kind == "loguniform":
            low, high, value = math.log(low), math.log(high), math.log(value)
        if value <= low * (1 - width) + high * width:
            return "lower"
        return "upper" if value >= low * width + high * (1 - width) else None


def is_number(value: Any) -> bool:
    """A number of a sweep file: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
