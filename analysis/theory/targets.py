"""Targets, and how far a masked network is from one, in the theorem's norm: max ||f(x) - g(x)||_2 over ||x||_inf <= 1.

A masked network gives each weight w of the target two *places*, one for each sign of its input: the places want w and
-w, g has other numbers there, and ``errors`` are g's minus the wanted ones. One layer of g is then
y -> (W + E+) ReLU(y) + (-W + E-) ReLU(-y).
"""

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Kind = Literal["random", "extreme"]
KINDS: tuple[Kind, ...] = ("random", "extreme")


@dataclass(frozen=True)
class Target:
    """f(x) = F_l s(... s(F_1 x)); ``layers`` are the F_i, (d_i, d_{i-1}), of Frobenius norm 1."""

    layers: tuple[Array, ...]

    @property
    def wanted(self) -> Array:
        """What the places want, flat: by layer, output, input and sign."""
        return np.concatenate([np.stack([layer, -layer], axis=2).ravel() for layer in self.layers])

    def split(self, errors: Array) -> list[Array]:
        """Errors (..., places) by layer: (..., outputs, inputs, 2)."""
        sizes = [2 * layer.size for layer in self.layers]
        parts = np.split(errors, np.cumsum(sizes)[:-1], axis=-1)
        return [part.reshape(*part.shape[:-1], *f.shape, 2) for part, f in zip(parts, self.layers, strict=True)]


def draw(kind: Kind, widths: tuple[int, ...], random: np.random.Generator) -> Target:
    """A target of layer widths d_0 ... d_l: of random directions, or a single entry +-1 a layer, on one path."""
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    if kind == "random":
        normal = [random.standard_normal(shape) for shape in shapes]
        return Target(tuple(layer / np.linalg.norm(layer) for layer in normal))
    path, layers = [int(random.integers(width)) for width in widths], [np.zeros(shape) for shape in shapes]
    for layer, (before, after) in zip(layers, itertools.pairwise(path), strict=True):
        layer[after, before] = random.choice([-1.0, 1.0])
    return Target(tuple(layers))


def error_norm(errors: Array) -> Array:
    """The exact norm for one layer: errors (..., outputs, inputs, 2) to (...).

    f - g is linear in each orthant, so ||f(x) - g(x)||_2 is convex there, and largest where each x_i is -1, 0 or 1.
    """
    inputs = errors.shape[-2]
    choices = np.concatenate([errors, np.zeros((*errors.shape[:-1], 1))], axis=-1)
    corners = np.array(list(itertools.product(range(3), repeat=inputs)))
    sums = np.zeros((*errors.shape[:-2], len(corners)))
    for i in range(inputs):
        sums += choices[..., i, :][..., corners[:, i]]
    largest: Array = np.linalg.norm(sums, axis=-2).max(axis=-1)
    return largest


def upper_bound(target: Target, errors: Array) -> float:
    """At least the norm, layer by layer; for one layer it is the norm. ``errors``: (places,).

    With y, y' what f and g have before layer i: F y - G y' = F (y - y') + (F - G) y'. The first part is at most the
    spectral norm of F times what was found so far, the second one ``error_norm`` over the box that holds y'.
    """
    bound, box = 0.0, np.ones((target.layers[0].shape[1], 2))  # how large each input is, where positive and negative
    for layer, off in zip(target.layers, target.split(errors), strict=True):
        bound = float(np.linalg.norm(layer, 2)) * bound + float(error_norm(off * box))
        reached = np.maximum((np.stack([layer, -layer], axis=2) + off) * box, 0.0).max(axis=2).sum(axis=1)
        box = np.stack([reached, np.zeros_like(reached)], axis=1)  # behind a ReLU nothing is negative
    return bound


def lower_bound(target: Target, errors: Array, points: Array) -> float:
    """The largest ||f(x) - g(x)||_2 over ``points`` (points, d_0): at most the norm."""
    f = g = points
    last = len(target.layers) - 1
    for i, (layer, off) in enumerate(zip(target.layers, target.split(errors), strict=True)):
        f = f @ layer.T
        g = np.maximum(g, 0) @ (layer + off[..., 0]).T + np.maximum(-g, 0) @ (-layer + off[..., 1]).T
        if i < last:
            f, g = np.maximum(f, 0), np.maximum(g, 0)
    return float(np.linalg.norm(f - g, axis=1).max())


def surface_points(inputs: int, number: int, random: np.random.Generator) -> Array:
    """Where to look for large errors: all x of -1, 0 and 1, and random ones with ||x||_inf = 1, for f - g scales."""
    corners = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=inputs)))
    points = random.uniform(-1, 1, (number, inputs))
    return np.concatenate([corners, points / np.abs(points).max(axis=1, keepdims=True)])
