"""The formulas, by hand; and the proved bound, on real networks masked as its proof says."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from analysis.theory import bounds, targets
from analysis.theory.exact_probabilities import failure_of_two

Function = Callable[..., targets.Array]


def test_the_theorem_by_hand() -> None:
    # l = 1, d_0 = 2, d_1 = 4, eps = 1, R = 1: 64 * 4 * 4 / 1 * log(16 / delta), and delta = 16 / e makes the log 1.
    assert bounds.theorem_units(2, 4, eps=1, delta=16 / math.e, draws=1) == pytest.approx(1024, abs=1)
    # Twice the depth: 4 times, and the log has twice its argument: delta = 32 / e.
    assert bounds.theorem_units(2, 4, eps=1, delta=32 / math.e, draws=1, depth=2) == pytest.approx(4096, abs=1)
    assert bounds.theorem_units(2, 4, eps=1, delta=16 / math.e, draws=16) in (4, 5)
    assert bounds.theorem_threshold(2, 4, eps=0.5, delta=16 / math.e) == pytest.approx(8 * 2 / 0.5 * 2)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (4, 1), (3, 5)])
def test_above_its_threshold_the_theorem_asks_for_one_unit(inputs: int, outputs: int, depth: int) -> None:
    threshold = bounds.theorem_threshold(inputs, outputs, eps=0.1, delta=0.05, depth=depth)
    units = [
        bounds.theorem_units(inputs, outputs, eps=0.1, delta=0.05, draws=math.floor(threshold) + more, depth=depth)
        for more in (0, 1)
    ]
    assert units == [2, 1]


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (4, 1), (3, 5)])
def test_at_its_threshold_the_proved_bound_asks_for_one_unit(inputs: int, outputs: int) -> None:
    threshold = bounds.proved_threshold(inputs, outputs, eps=0.1, delta=0.05)
    units = [bounds.proved_units(inputs, outputs, eps=0.1, delta=0.05, draws=threshold - less) for less in (0, 1)]
    assert units == [1, 2]


def test_the_proved_bound_by_hand() -> None:
    # e = 2, so each value is near enough with probability 1/2; R = 1: q = 1/4, and (3/4)^n <= 0.2 / 2 from n = 9.
    assert bounds.proved_units(1, 1, eps=2, delta=0.2, draws=1) == math.ceil(math.log(0.1) / math.log(0.75)) == 9
    assert bounds.proved_units(1, 1, eps=50, delta=0.2, draws=1) == 9  # no error beyond 2 helps
    assert bounds.proved_units(1, 1, eps=0.1, delta=1e-300, draws=100_000) == 1  # 1 - q is below 2^-53


@pytest.mark.parametrize("kind", targets.KINDS)
@pytest.mark.parametrize("draws", [1, 4, 60])
def test_the_proof_holds_on_real_networks(
    kind: targets.Kind, draws: int, box: Function, relu_network: Function
) -> None:
    """The proof's own masks; outputs share units. Failures: at most delta of the networks, up to 4 sigma."""
    inputs, outputs, eps, delta, trials = 2, 2, 0.8, 0.3, 80
    units = bounds.proved_units(inputs, outputs, eps=eps, delta=delta, draws=draws)
    random, x = np.random.default_rng(draws), box(100, inputs)
    failed = 0
    for _ in range(trials):
        (layer,) = targets.draw(kind, (inputs, outputs), random).layers
        w_in, w_out = _masked(layer, units, draws, random)
        worst = np.linalg.norm(relu_network(x, w_in, w_out) - x @ layer.T, axis=1).max()
        failed += worst > eps
    assert failed <= trials * delta + 4 * math.sqrt(trials * delta * (1 - delta))


def _masked(
    layer: targets.Array, units: int, draws: int, random: np.random.Generator
) -> tuple[targets.Array, targets.Array]:
    """A network of width 2 d_0 n, masked: each place keeps the unit whose chosen u and v are best."""
    outputs, inputs = layer.shape
    w_in, w_out = np.zeros((2 * inputs * units, inputs)), np.zeros((outputs, 2 * inputs * units))
    for block, (i, sign) in enumerate((i, sign) for i in range(inputs) for sign in (1, -1)):
        own = slice(block * units, (block + 1) * units)
        u = random.uniform(-1, 1, (units, draws))
        w_in[own, i] = np.take_along_axis(u, np.abs(u - sign).argmin(axis=1)[:, None], axis=1)[:, 0]
        reached = np.maximum(sign * w_in[own, i], 0)
        for j in range(outputs):
            v = random.uniform(-1, 1, (units, draws))
            wanted = sign * layer[j, i]
            best = np.take_along_axis(v, np.abs(v - wanted).argmin(axis=1)[:, None], axis=1)[:, 0]
            unit = np.abs(reached * best - wanted).argmin()
            w_out[j, block * units + unit] = best[unit]
    return w_in, w_out


def test_the_threshold_is_too_optimistic_for_tiny_delta_only() -> None:
    excess = []
    for delta in (0.05, 1e-30):
        draws = math.floor(bounds.theorem_threshold(1, 1, eps=0.1, delta=delta)) + 1
        assert bounds.theorem_units(1, 1, eps=0.1, delta=delta, draws=draws) == 1
        excess.append(failure_of_two(0.1, draws) / delta)
    assert excess[0] < 1 < excess[1]
