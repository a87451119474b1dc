"""The parts of the run sheet, and how ``--parts`` chooses among them."""

from collections.abc import Sequence
from typing import NamedTuple

SMOKE_SECONDS, ALL_SECONDS = 175.0, 475.0  # of a whole run; with the runner's own they stay below 3 and 8 minutes


class Part(NamedTuple):
    """A module of this package with a function ``run``, and its share of the seconds of a run."""

    number: int
    name: str
    smoke_seconds: float
    all_seconds: float

    @property
    def rows_file(self) -> str:
        """Where its results go."""
        return f"{self.number}_{self.name}.jsonl"


PARTS = (
    Part(1, "tests", 60, 100),
    Part(2, "updates", 25, 45),
    Part(3, "steps", 40, 130),
    Part(4, "many_trials", 30, 80),
    Part(5, "study", 20, 120),
)


class Choice(NamedTuple):
    """Which parts run, whether each is only tried, and how long the run may take."""

    parts: Sequence[Part]
    smoke: bool

    @property
    def seconds(self) -> float:
        """For all chosen parts together."""
        return SMOKE_SECONDS if self.smoke else ALL_SECONDS

    def limit(self, part: Part, left: float) -> float:
        """Seconds for a part of those left: its share, so what earlier parts did not use goes to the later ones."""
        waiting = self.parts[self.parts.index(part) :]
        return left * self._weight(part) / sum(map(self._weight, waiting))

    def _weight(self, part: Part) -> float:
        return part.smoke_seconds if self.smoke else part.all_seconds


def choose(text: str) -> Choice:
    """The parts that ``smoke``, ``all``, or numbers and names with commas between them stand for, in their order.

    Raises:
        ValueError: it names something else; the message has the valid choices.
    """
    if text in ("smoke", "all"):
        return Choice(PARTS, text == "smoke")
    by_name = {key: part for part in PARTS for key in (str(part.number), part.name)}
    words = [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in by_name]:
        valid = ", ".join(f"{part.number} ({part.name})" for part in PARTS)
        raise ValueError(f"{unknown[0]!r}: must be smoke, all, or some of {valid}, with commas between them")
    wanted = {by_name[word] for word in words}
    return Choice([part for part in PARTS if part in wanted], smoke=False)
