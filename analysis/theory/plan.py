"""What ``python -m analysis.theory`` computes, and how much of it. Loads no numpy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What is computed. ``widths``: d_0, d_1 of the figures' targets; ``shapes``: those of the table, l = 1 and 2.

    ``weight_errors`` and ``weights`` are those of the table of single weights.
    """

    seed: int = 0
    trials: int = 400
    eps: float = 0.1
    delta: float = 0.05
    widths: tuple[int, int] = (4, 1)
    draws: tuple[int, ...] = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200)
    errors: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
    shapes: tuple[tuple[int, ...], ...] = ((1, 1), (2, 1), (4, 1), (4, 4), (2, 2, 1))
    shape_draws: tuple[int, ...] = (1, 10)
    weight_errors: tuple[float, ...] = (0.1, 0.01, 0.001, 0.0001)
    weights: tuple[float, ...] = (0.25, 0.5, 1.0)
    deltas: tuple[float, ...] = (0.5, 0.05, 1e-5, 1e-10, 1e-15, 1e-20, 1e-25, 1e-30, 1e-40)
