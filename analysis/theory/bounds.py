"""Widths that are enough: what Theorem 4.1 states, and a bound that is proved here.

The target is f(x) = F_l s(F_{l-1} ... s(F_1 x)), s the ReLU, layer i of d_i outputs, each F_i of Frobenius norm at most
1; the random network g has twice as many layers, of widths d~, weights uniform on [-1, 1], each with R values to choose
from. Wanted is ||f(x) - g(x)||_2 <= eps for all ||x||_inf <= 1, with probability at least 1 - delta over the draws.
Source of the statement: Chijiwa et al. (NeurIPS 2021), theorem 4.1.

**The bound proved here** (l = 1). Give each input i and sign s its own n units. A unit sees input i alone, by a weight
u of sign s: it adds v |u| ReLU(s x_i) to output j. The target has w = s F_ji there. Let e = eps / (d_0 sqrt(d_1)). If
for each (i, s, j) some unit has | |u| v - w | <= e, then each output is off by at most d_0 e (of each input one sign is
active, and |x_i| <= 1), hence ||f - g||_2 <= sqrt(d_1) d_0 e = eps. A unit has that if one of its R values of u lies
within e/2 of s (inside [-1, 1] an interval of length e/2, probability e/4) and one of its R values of v within e/2 of w
(an interval of length at least e/2 that lies in [-1, 1], probability at least e/4): then | |u| v - w | <=
|v| | |u| - 1 | + |v - w| <= e. That u serves all outputs at once, so they may share units. Both happen with probability
at least q = (1 - m)^2, m = (1 - e/4)^R, independently from unit to unit, so all n units of one (i, s, j) fail with
probability at most (1 - q)^n = (m (2 - m))^n. With d' = delta / (2 d_0 d_1) and a union over all (i, s, j),
n >= log(1 / d') / -log(m (2 - m)) units for each input and sign are enough: width 2 d_0 n. (e above 2 is taken as 2.)
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
    log_missed = draws * math.log1p(-_each(inputs, outputs, eps))
    log_fail = log_missed + math.log(2 - math.exp(log_missed))  # stays exact where hardly any unit fails
    return max(1, math.ceil(-_log(inputs, outputs, delta) / log_fail))


def proved_threshold(inputs: int, outputs: int, *, eps: float, delta: float) -> int:
    """So many draws make one unit for each input and sign enough, by the bound above."""
    fail = delta / (2 * inputs * outputs)
    missed = -math.expm1(math.log1p(-fail) / 2)  # of one weight, where (1 - missed)^2 = 1 - fail
    return math.ceil(math.log(missed) / math.log1p(-_each(inputs, outputs, eps)))


def _each(inputs: int, outputs: int, eps: float) -> float:
    """The probability e/4 that one value of u, or of v, is near enough."""
    return min(eps / (inputs * math.sqrt(outputs)), 2.0) / 4


def _log(inputs: int, outputs: int, delta: float, depth: int = 1) -> float:
    return math.log(2 * depth * inputs * outputs / delta)
