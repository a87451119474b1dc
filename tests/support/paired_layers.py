"""Layers kept twice with equal bits: one copy takes the steps of ``plain``, the other those of ``cpu``."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from suite.methods.update import cpu, plain

INF, NAN = math.inf, math.nan
SETTINGS: dict[str, Any] = dict(sparsity=0.5, lr=0.1, momentum=0.9, weight_decay=5e-4, rank_by="scores")
LISTS = ("params", "thetas", "scores", "momenta")


def raw(tensor: Tensor) -> bytes:
    """The bytes of a tensor in logical order: payloads of NaN and signs of zeros show."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def normal(shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def special(num: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(num,): every kind of number there is, in any order, NaN with payloads among them."""
    if dtype == torch.float32:
        nans = torch.tensor([0x7FC00000, -0x400000, 0x7FC01234, -0x3FEDCC], dtype=torch.int32).view(dtype)
    else:
        nans = torch.tensor([0x7FF8 << 48, -(0x8 << 48), (0x7FF8 << 48) + 0x1234], dtype=torch.int64).view(dtype)
    tiny = torch.finfo(dtype).smallest_normal
    others = [INF, -INF, 0.0, -0.0, 1.0, -1.0, tiny / 4, -tiny / 4, tiny, 0.5, -0.5, torch.finfo(dtype).max / 4]
    pool = torch.cat([nans, torch.tensor(others, dtype=dtype)])
    return pool[torch.randint(len(pool), (num,), generator=torch.Generator().manual_seed(seed))]


class PairedLayers:
    """The lists of ``masked_sgd_``, twice; ``thresholds`` are those that ``cpu`` remembers."""

    def __init__(
        self,
        shapes: Sequence[Sequence[int]],
        *,
        dtype: torch.dtype = torch.float32,
        param_dtype: torch.dtype | None = None,
        scores: Callable[[Sequence[int], int], Tensor] | None = None,
        lay: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        lay_params: Callable[[Tensor], Tensor] | None = None,
        **settings: Any,
    ) -> None:
        self.shapes, self.lay, self.param_dtype = shapes, lay, param_dtype or dtype
        self.settings = {**SETTINGS, **settings}
        self.actual: dict[str, list[Any]] = {
            "thetas": [lay(normal(shape, 100 + i, dtype)) for i, shape in enumerate(shapes)],
            "scores": [
                lay(scores(shape, i).view(*shape) if scores else normal(shape, 200 + i, dtype))
                for i, shape in enumerate(shapes)
            ],
        }
        self.actual["momenta"] = [torch.zeros_like(score) for score in self.actual["scores"]]
        self.actual["params"] = [
            (lay_params or lay)(torch.full(shape, 9.0, dtype=self.param_dtype)) for shape in shapes
        ]
        self.expected = {key: [tensor.clone() for tensor in tensors] for key, tensors in self.actual.items()}
        self.thresholds: dict[Any, Any] = {}
        self.num_steps = 0
        self.generator = torch.Generator().manual_seed(1)

    def grads(self) -> list[Tensor]:
        """Gradients of one step more."""
        dtype = torch.promote_types(self.param_dtype, torch.float32)
        random = [torch.randn(shape, generator=self.generator, dtype=dtype) for shape in self.shapes]
        return [self.lay(grad.to(self.param_dtype)) for grad in random]

    def step(self, grads: Sequence[Tensor] | None = None, **settings: Any) -> None:
        """One step of both, from which nothing may differ; gradients and hints are left as they should be."""
        grads = self.grads() if grads is None else grads
        before = list(map(raw, grads))
        for form, lists, hints in ((plain, self.expected, {}), (cpu, self.actual, self.thresholds)):
            tensors = [lists["params"], grads, lists["thetas"], lists["scores"], lists["momenta"]]
            form.masked_sgd_(*tensors, hints, **{**self.settings, **settings})
        assert list(map(raw, grads)) == before
        self.num_steps += 1
        self.check()

    def check(self) -> None:
        for key in LISTS:
            for i, (actual, expected) in enumerate(zip(self.actual[key], self.expected[key], strict=True)):
                assert raw(actual) == raw(expected), f"step {self.num_steps}: {key}[{i}] of shape {tuple(actual.shape)}"
                assert actual.stride() == expected.stride()

    def run(self, num_steps: int, **settings: Any) -> None:
        for _ in range(num_steps):
            self.step(**settings)
