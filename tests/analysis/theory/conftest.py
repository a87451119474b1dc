"""Real ReLU networks evaluated on points: the slow reference of the theory's tests."""

from collections.abc import Callable

import numpy as np
import pytest

from analysis.theory.targets import Array


@pytest.fixture
def relu_network() -> Callable[[Array, Array, Array], Array]:
    """One hidden layer: x (points, inputs), w_in (hidden, inputs), w_out (outputs, hidden)."""
    return lambda x, w_in, w_out: np.maximum(x @ w_in.T, 0.0) @ w_out.T


@pytest.fixture
def box() -> Callable[[int, int], Array]:
    """Points of the box ||x||_inf <= 1, its vertices among them."""

    def box(points: int, inputs: int) -> Array:
        vertices = np.array(np.meshgrid(*[[-1.0, 1.0]] * inputs)).reshape(inputs, -1).T
        return np.concatenate([vertices, np.random.default_rng(0).uniform(-1, 1, (points, inputs))])

    return box
