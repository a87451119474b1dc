"""Errors in the theorem's norm, against networks evaluated on many points."""

from collections.abc import Callable

import numpy as np
import pytest

from analysis.theory import targets

Function = Callable[..., targets.Array]


def test_targets_have_norm_one() -> None:
    random = np.random.default_rng(0)
    for kind in targets.KINDS:
        target = targets.draw(kind, (3, 2, 4), random)
        assert [layer.shape for layer in target.layers] == [(2, 3), (4, 2)]
        assert [np.linalg.norm(layer) for layer in target.layers] == pytest.approx([1, 1])
    first, second = target.layers  # extreme: one path
    assert np.count_nonzero(first) == np.count_nonzero(second) == np.count_nonzero(second @ first) == 1


def test_error_norm_by_hand() -> None:
    # One output: input 1 is off by 3 where positive, by 1 where negative; input 2 by -2 where positive, by 0.5 else.
    assert targets.error_norm(np.array([[[3.0, 1.0], [-2.0, 0.5]]])) == 3.5
    # Two outputs, one input: lengths 5 and 1.
    assert targets.error_norm(np.array([[[3.0, 0.0]], [[4.0, 1.0]]])) == 5.0


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 1), (3, 2), (4, 3)])
def test_error_norm_is_the_largest_of_dense_samples(inputs: int, outputs: int, box: Function) -> None:
    random = np.random.default_rng(inputs)
    errors = random.normal(size=(outputs, inputs, 2))
    target = targets.Target((random.normal(size=(outputs, inputs)),))
    x = box(20_000, inputs)
    off = np.maximum(x, 0) @ errors[..., 0].T + np.maximum(-x, 0) @ errors[..., 1].T
    sampled = np.linalg.norm(off, axis=1).max()
    exact = float(targets.error_norm(errors))
    assert sampled <= exact + 1e-12
    assert exact <= targets.lower_bound(target, errors.ravel(), targets.surface_points(inputs, 10, random)) + 1e-12
    assert exact == pytest.approx(targets.upper_bound(target, errors.ravel()))
    if inputs <= 2:
        assert exact <= 1.05 * sampled
    batch = targets.error_norm(np.stack([errors, 2 * errors]))
    assert batch.tolist() == pytest.approx([exact, 2 * exact])


def test_two_layers_lie_between_their_bounds(box: Function, relu_network: Function) -> None:
    """The network of errors is built of units, two a place, and evaluated."""
    random = np.random.default_rng(5)
    points = targets.surface_points(2, 500, random)
    for _ in range(20):
        target = targets.draw("random", (2, 3, 2), random)
        errors = random.normal(scale=0.1, size=len(target.wanted))
        x = box(2000, 2)
        f, g = x, x
        for number, (layer, off) in enumerate(zip(target.layers, target.split(errors), strict=True)):
            eye = np.eye(layer.shape[1])
            f = f @ layer.T
            g = relu_network(g, np.concatenate([eye, -eye]), np.hstack([layer + off[..., 0], -layer + off[..., 1]]))
            if number == 0:
                f, g = np.maximum(f, 0), np.maximum(g, 0)
        sampled = np.linalg.norm(f - g, axis=1).max()
        lower, upper = targets.lower_bound(target, errors, points), targets.upper_bound(target, errors)
        assert sampled <= upper
        assert 0.97 * sampled <= lower <= upper
    assert lower > 0.01


def test_without_errors_nothing_is_off(box: Function) -> None:
    target = targets.draw("random", (2, 3, 1), np.random.default_rng(0))
    none = np.zeros(len(target.wanted))
    assert targets.upper_bound(target, none) == 0
    assert targets.lower_bound(target, none, box(50, 2)) < 1e-15
