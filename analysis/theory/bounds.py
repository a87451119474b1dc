"""Widths that are enough: what Theorem 4.1 states, and a bound that is proved here.

The target is f(x) = F_l s(F_{l-1} ... s(F_1 x)), s the ReLU, layer i of d_i outputs, each F_i of Frobenius norm at most
1; the random network g has twice as many layers, of widths d~, weights uniform on [-1, 1], each with R values to choose
from. Wanted is ||f(x) - g(x)||_2 <= eps for all ||x||_inf <= 1, with probability at least 1 - delta over the draws.
Source of the statement: Chijiwa et al. (NeurIPS 2021), theorem 4.1.

**The bound proved here** (l = 1). Give each input i and sign s its own n units. A unit sees input i alone: u ReLU(s x_i)
|u|, so it adds v u s-part to output j. Let e = eps / (d_0 sqrt(d_1)). If for each (i, s, j) some unit has
|u v - w| <= e, w the target's weight with its sign, then each output is off by at most d_0 e (of each input one sign is
active, and |x_i| <= 1), hence ||f - g||_2 <= sqrt(d_1) d_0 e = eps. A unit has that if one of its R values of u lies
within e/2 of 1 (on the right side: an interval of length e/2 in [-1, 1], probability e/4) and one of its R values of v
within e/2 of w (an interval of length at least e/2 that lies in [-1, 1], probability at least e/4): then |u v - w| <=
|v| |u - 1| + |v - w| <= e. Both happen with probability at least q = (1 - (1 - e/4)^R)^2, independently from unit to
unit, so all n units of one (i, s, j) fail with probability at most (1 - q)^n. With d' = delta / (2 d_0 d_1) and a union
over all (i, s, j), n >= log(1 / d') / -log(1 - q) units for each input and sign are enough: width 2 d_0 n.
"""

import math


def theorem_units(inputs: int, outputs: int, *, eps: float, delta: float, draws: int, depth: int = 1) -> int:
    """Units for each input and sign that the theorem asks for; its width is 2 x inputs as many."""
    needed = 64 * depth**2 * inputs**2 * outputs / (eps**2 * draws**2) * _log(inputs, outputs, delta, depth)
    return math.ceil(needed)


def theorem_threshold(inputs: int, outputs: int, *, eps: float, delta: float, depth: int = 1) -> float:
    """Above so many draws the theorem says that one unit for each input and sign is enough."""
    return 8 * depth * inputs / eps * math.sqrt(outputs * _log(inputs, outputs, delta, depth))


def proved_units(inputs: int, outputs: int, *, eps: float, delta: float, draws: int) -> int:
    """Units for each input and sign that are enough by the bound above."""
    hit = hit_probability(eps / (inputs * math.sqrt(outputs)), draws)
    return max(1, math.ceil(math.log(delta / (2 * inputs * outputs)) / math.log1p(-hit)))


def proved_threshold(inputs: int, outputs: int, *, eps: float, delta: float) -> int:
    """So many draws make one unit for each input and sign enough, by the bound above."""
    fail = delta / (2 * inputs * outputs)
    each = eps / (inputs * math.sqrt(outputs)) / 4
    return math.ceil(math.log(-math.expm1(math.log1p(-fail) / 2)) / math.log1p(-each))


def hit_probability(error: float, draws: int) -> float:
    """A lower bound q of the probability that a unit can be chosen to be within ``error`` of a weight."""
    missed = draws * math.log1p(-min(error, 2.0) / 4)
    return math.expm1(missed) ** 2


def product_probability(weight: float, error: float) -> float:
    """The probability that u v lies within ``error`` of ``weight``, u and v uniform on [-1, 1]: exact.

    The product z has density -log|z| / 2 on [-1, 1], hence P(z <= t) = (1 + t - t log|t|) / 2.
    """
    return _below(weight + error) - _below(weight - error)


def failure_at_threshold(delta: float, *, eps: float, draws: float) -> float:
    """A lower bound of the probability that one unit fails, for a target with one entry 1 and d_0 = d_1 = 1.

    Some v must be at least 1 - eps, for |u| <= 1: no draw is, with probability (1 - eps / 2)^R.
    """
    return math.exp(draws * math.log1p(-eps / 2))


def _below(value: float) -> float:
    if abs(value) >= 1:
        return 1.0 if value > 0 else 0.0
    return (1 + value - (value * math.log(abs(value)) if value else 0.0)) / 2


def _log(inputs: int, outputs: int, delta: float, depth: int) -> float:
    return math.log(2 * depth * inputs * outputs / delta)
