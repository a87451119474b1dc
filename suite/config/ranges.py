"""Ranges of a search: what a setting is drawn from, and how."""

import math
import random
from dataclasses import dataclass
from typing import Any, Literal

Side = Literal["lower", "upper"]


KINDS = ("uniform", "loguniform", "choice")


ENOUGH = 50  # numbers of three digits in a range, for its draws to have three
FINEST = 3  # decimal places below the power of ten in a range's width, where it holds fewer
EDGE = 0.05  # the share of a range, at each end, whose values say that it should go on


_MANY = 10**6  # more than all numbers of three digits that a float can hold


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
        """The value that belongs to a label: the same one everywhere, and rounded as far as the range allows."""
        share = random.Random(label).random()  # noqa: S311 - no secret
        if self.kind == "choice":
            return self.values[int(share * len(self.values))]
        low, high = (math.log(end) if self.kind == "loguniform" else float(end) for end in self.values)
        value = low * (1 - share) + high * share  # a difference of the ends may be too large for a float
        value = math.exp(value) if self.kind == "loguniform" else value
        return min(max(self._rounded(value), float(self.values[0])), float(self.values[1]))

    def _rounded(self, value: float) -> float:
        """To three significant digits; in a range too narrow for those, to 1/1000 of its width or finer."""
        low, high = map(float, self.values)
        if _short_numbers_up_to(high) - _short_numbers_up_to(low) >= ENOUGH:
            return float(f"{value:.3g}")
        return round(value, FINEST - math.floor(math.log10(high - low)))

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


def _short_numbers_up_to(number: float) -> float:
    """A count of the numbers of three significant digits up to ``number``, from an arbitrary first one of its sign.

    Between the signs there are more than between any two of one.
    """
    if number == 0:
        return 0
    mantissa, exponent = f"{abs(number):.9e}".split("e")
    return math.copysign(_MANY + 900 * int(exponent) + 100 * float(mantissa), number)


def is_number(value: Any) -> bool:
    """A number of a sweep file: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
