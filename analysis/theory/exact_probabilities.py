"""Exact probabilities of a unit's product |u| v, u and v uniform on [-1, 1]: for widths too large to be drawn."""

import math

import numpy as np
import numpy.typing as npt
from scipy import integrate, special

from analysis.theory.targets import Array

_HALVINGS = 60
_NODES = 200  # of a Gauss-Legendre rule


def product_probability(weight: npt.ArrayLike, error: npt.ArrayLike) -> Array:
    """The probability that u v lies within ``error`` of ``weight``: exact, element by element.

    The product z has density -log|z| / 2 on [-1, 1], hence P(z <= t) = (1 + t - t log|t|) / 2.
    """
    weight, error = np.asarray(weight, dtype=np.float64), np.asarray(error, dtype=np.float64)
    return _below(weight + error) - _below(weight - error)


def closest_errors(wanted: Array, units: int, uniform: Array) -> Array:
    """Errors of masks (a), one draw a weight, drawn from their exact law instead of unit by unit.

    A unit comes within t of w with probability p(t) = P(|u v - w| <= t) / 2, for u must have the place's sign. The
    closest of n has P(distance <= t) = 1 - (1 - p(t))^n, which is inverted; it lies above w with the share that the
    density of u v has there. Where it is farther than 0 is, no unit is kept.

    Args:
        wanted: (places,).
        units: n, a place.
        uniform: (trials, places, 2), uniform on [0, 1): for the distance and for the side.

    Returns:
        (trials, places)
    """
    share = -np.expm1(np.log1p(-uniform[..., 0]) / units)
    low, high = np.zeros_like(share), np.full_like(share, 2.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        near = product_probability(wanted, middle) / 2 < share
        low, high = np.where(near, middle, low), np.where(near, high, middle)
    with np.errstate(invalid="ignore"):  # 0 / 0 where the distance is not used
        above = _density(wanted + high) / (_density(wanted + high) + _density(wanted - high))
    side = np.where(uniform[..., 1] < above, high, -high)
    return np.where(high < np.abs(wanted), side, -wanted)


def missed_one(eps: float, draws: float) -> float:
    """The probability that no |u| v of one unit, with R values each, is 1 - ``eps`` or more: exact.

    The largest u has P(u <= t) = G(t) = ((1 + t) / 2)^R, and so has the largest v. With c = 1 - eps all products stay
    below c if u <= c, or u = t and v <= c / t: G(c) + the integral of G'(t) G(c / t) from c to 1. (0 < eps < 1.)
    """
    least = 1 - eps

    def missed(t: float) -> float:
        logs = (draws - 1) * math.log((1 + t) / 2) + draws * math.log((1 + least / t) / 2)
        return draws / 2 * math.exp(logs)

    integral, _ = integrate.quad(missed, least, 1, epsabs=0, epsrel=1e-10)
    return math.exp(draws * math.log((1 + least) / 2)) + float(integral)


def success_of_one(eps: float, draws: int, units: int) -> float:
    """The probability that masks (a) of n units a place reach an extreme target: exact, for 0 < eps < 1.

    Two places want +-1, and each misses where all its units do; all others want 0, which keeps no unit.
    """
    return (1 - missed_one(eps, draws) ** units) ** 2


def units_for_one(eps: float, delta: float, draws: int) -> int:
    """The smallest n for which masks (a) reach an extreme target: 1 - delta = (1 - missed^n)^2."""
    fail = -math.expm1(math.log1p(-delta) / 2)
    return max(1, math.ceil(math.log(fail) / math.log(missed_one(eps, draws))))


def missed_both(eps: float, draws: float) -> float:
    """The probability that one unit with R values each can serve neither x > 0 nor x < 0 of f(x) = x: exact.

    Let a, b be the largest u and the largest -u, all u in [-b, a]: P(a <= s, b <= t) = ((s + t) / 2)^R, and the same
    for v. With c = 1 - eps, x > 0 is missed where the largest v is below c / a, and x < 0 where the largest -v is below
    c / b; at a <= c, or b <= c, any v misses. Summed over a and b below c, one above, both above. (0 < eps < 1.)
    """
    least = 1 - eps
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    a, weights = least + eps * (nodes + 1) / 2, weights * eps / 2
    b = a[:, None]
    one = draws * np.log((1 + least / a) / 2) + (draws - 1) * np.log((a + least) / 2)
    both = draws * np.log(least * (1 / a + 1 / b) / 2) + (draws - 2) * np.log((a + b) / 2)
    above_one = draws * weights @ np.exp(one)  # a or b, which are alike: draws / 2 each
    above_both = draws * (draws - 1) / 4 * weights @ np.exp(both) @ weights
    return float(least**draws + above_one + above_both)


def failure_of_two(eps: float, draws: float) -> float:
    """The probability that no mask of two units (width 2 d_0) is good, for d_0 = d_1 = 1 and f(x) = x: exact.

    For eps < 1 each sign of x needs a unit, so one unit serves x > 0 and the other x < 0. Let f be the probability that
    one unit cannot serve x > 0 (``missed_one``; the same for x < 0), and g that it can serve neither (``missed_both``).
    Either unit may take either side: the failure is 1 - 2 (1 - f)^2 + (1 - 2 f + g)^2 = 2 f^2 + g (2 - 4 f + g).
    """
    missed, neither = missed_one(eps, draws), missed_both(eps, draws)
    return 2 * missed**2 + neither * (2 - 4 * missed + neither)


def optimistic_below(eps: float) -> float:
    """Below this delta the theorem's threshold is always too low for f(x) = x and width 2 (0 < eps < 1).

    The theorem asks for the first whole R above its threshold. That R is asked for at delta from 2 exp(-(R eps / 8)^2)
    to 2 exp(-((R - 1) eps / 8)^2), and is too low where delta is below ``failure_of_two``, which falls more slowly. So
    from some R on it is too low at all of its delta, and at some of those of the R before.
    """

    def largest(draws: int) -> float:
        return math.log(2) - ((draws - 1) * eps / 8) ** 2

    def always(draws: int) -> bool:
        return math.log(failure_of_two(eps, draws)) > largest(draws)

    low, high = 1, 2
    while not always(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if always(middle) else (middle, high)
    return max(failure_of_two(eps, low), math.exp(largest(high)))


def _below(value: Array) -> Array:
    value = np.clip(value, -1, 1)
    below: Array = (1 + value - special.xlogy(value, np.abs(value))) / 2
    return below


def _density(value: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.where(np.abs(value) < 1, -np.log(np.abs(value)) / 2, 0.0)
