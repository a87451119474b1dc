"""Ranges of a search: what is drawn from them."""

import math
import random
from typing import Any

import pytest

from suite.config.ranges import Range


def test_where_draws_fall() -> None:
    uniform = [Range("uniform", (2, 4)).draw(str(i)) for i in range(2000)]
    assert all(isinstance(value, float) and 2 <= value <= 4 for value in uniform)
    assert abs(sum(uniform) / 2000 - 3) < 5 * 2 / math.sqrt(12 * 2000)
    logs = [math.log10(Range("loguniform", (1e-4, 1)).draw(str(i))) for i in range(2000)]
    assert min(logs) >= -4 and max(logs) <= 0 and abs(sum(logs) / 2000 + 2) < 5 * 4 / math.sqrt(12 * 2000)
    chosen = [Range("choice", ("a", None, True)).draw(str(i)) for i in range(2000)]
    assert all(abs(chosen.count(value) - 2000 / 3) < 5 * math.sqrt(2000 * 2 / 9) for value in ("a", None, True))


@pytest.mark.parametrize("ends", [(0.99991, 0.99999), (-0.1234567, -0.1234566), (1.0004, 1.0005), (-1.7e308, 1.7e308)])
def test_rounding_never_leaves_a_range(ends: tuple[float, float]) -> None:
    kinds = ["uniform", "loguniform"] if ends[0] > 0 else ["uniform"]
    for kind in kinds:
        drawn = [Range(kind, ends).draw(str(i)) for i in range(200)]
        assert all(ends[0] <= value <= ends[1] for value in drawn)


@pytest.mark.parametrize(
    ("kind", "ends", "drawn"),
    [
        ("uniform", (0.25, 0.75), [0.431, 0.489, 0.528, 0.684]),
        ("uniform", (0, 1), [0.362, 0.478, 0.556, 0.868]),
        ("uniform", (-1, 1), [-0.277, -0.0435, 0.112, 0.736]),
        ("uniform", (0.9, 0.99), [0.933, 0.943, 0.95, 0.978]),
        ("uniform", (0.9, 0.95), [0.918, 0.924, 0.928, 0.943]),  # 50 steps: the narrowest
        ("uniform", (2, 4), [2.72, 2.96, 3.11, 3.74]),
        ("uniform", (0.05, 1.04), [0.408, 0.523, 0.6, 0.909]),
        ("uniform", (1e-300, 1e300), [3.62e299, 4.78e299, 5.56e299, 8.68e299]),
        ("uniform", (-0.99, -0.9), [-0.957, -0.947, -0.94, -0.912]),
        ("uniform", (-1.7e308, 1.7e308), [-4.7e307, -7.4e306, 1.9e307, 1.25e308]),
        ("loguniform", (0.001, 1), [0.0122, 0.0272, 0.0465, 0.401]),
        ("loguniform", (1e-4, 3e-2), [0.000787, 0.00153, 0.00238, 0.0141]),
        ("loguniform", (1, 2), [1.28, 1.39, 1.47, 1.82]),
        ("loguniform", (0.1, 10), [0.529, 0.905, 1.29, 5.44]),
    ],
)
def test_wide_ranges_draw_what_they_always_drew(kind: str, ends: tuple[float, float], drawn: list[float]) -> None:
    """Golden: other draws would orphan the trials of every search on disk."""
    assert [Range(kind, ends).draw(str(i)) for i in range(4)] == drawn


@pytest.mark.parametrize(
    "ends",
    [(1000, 1010), (0.99, 0.9999), (0.9, 0.949), (0.97, 1.04), (1e-9, 1.01e-9), (1e9, 1.00001e9), (123456, 123457)],
)
def test_narrow_ranges_draw_values_of_their_own(ends: tuple[float, float]) -> None:
    """No value is rounded by more than 1/2000 of the range, and none has more than two digits too many for that."""
    width = ends[1] - ends[0]
    mirrored = (-ends[1], -ends[0])
    for kind, some in (("uniform", ends), ("uniform", mirrored), ("loguniform", ends)):
        drawn = [Range(kind, some).draw(str(i)) for i in range(500)]
        assert len(set(drawn)) > 380  # of 500 among 1000 at least, about 393 differ
        assert all(some[0] <= value <= some[1] for value in drawn)
        shares = [random.Random(str(i)).random() for i in range(500)]
        if kind == "uniform":
            meant = [some[0] + share * width for share in shares]
        else:
            meant = [some[0] * (some[1] / some[0]) ** share for share in shares]
        assert all(abs(value - each) <= width / 1990 for value, each in zip(drawn, meant, strict=True))
        step = 10.0 ** math.floor(math.log10(width / 1000) - 1)
        assert all(abs(value / step - round(value / step)) < 1e-3 for value in drawn)


def test_a_draw_between_two_neighbours() -> None:
    """The narrowest range there is."""
    low, high = 0.5, math.nextafter(0.5, 1)
    assert {Range("uniform", (low, high)).draw(str(i)) for i in range(50)} <= {low, high}
    assert Range("uniform", (0.0, 5e-324)).draw("0") in (0.0, 5e-324)


def test_draws_have_three_digits() -> None:
    for kind in ("uniform", "loguniform"):
        drawn = [Range(kind, (0.001, 1)).draw(str(i)) for i in range(200)]
        assert all(float(f"{value:.2e}") == value for value in drawn) and len(set(drawn)) > 100


@pytest.mark.parametrize(
    ("kind", "ends", "value", "side"),
    [
        ("uniform", (0, 10), 0.5, "lower"),
        ("uniform", (0, 10), 0.51, None),
        ("uniform", (0, 10), 9.49, None),
        ("uniform", (0, 10), 9.5, "upper"),
        ("loguniform", (1e-4, 1), 1.58e-4, "lower"),
        ("loguniform", (1e-4, 1), 1.59e-4, None),
        ("loguniform", (1e-4, 1), 0.630, None),
        ("loguniform", (1e-4, 1), 0.632, "upper"),
        ("choice", (3, 1, 2), 1, "lower"),
        ("choice", (3, 1, 2), 2, None),
        ("choice", (3, 1, 2), 3, "upper"),
        ("choice", (3,), 3, None),
        ("choice", (3, 3.0), 3, None),
        ("choice", ("a", 1, 2), 2, None),
        ("choice", (False, True), True, None),
    ],
)
def test_edges(kind: str, ends: tuple[Any, ...], value: Any, side: str | None) -> None:
    assert Range(kind, ends).edge(value) == side
