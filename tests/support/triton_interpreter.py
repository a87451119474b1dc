"""The Triton form of a masked step, run by Triton's interpreter on CPU tensors, beside the specification."""

import dataclasses
import functools
import importlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from suite.methods.update import plain
from suite.methods.update.signs import Signs, unpacked

CONSTANT = 0.05  # sqrt(2 / 800)
SETTINGS: dict[str, Any] = {
    "sparsity": 0.5,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "rank_by": "scores",
}
ADDRESS = np.dtype(np.uint64)
_FORM = "suite.methods.update.triton"
_KERNELS = "suite.methods.update.kernels"
Shapes = Sequence[tuple[int, ...]]


def _is_ours(name: str) -> bool:
    """Modules that are not the same with the interpreter; Triton's compiled ones can be loaded only once."""
    if name == "triton._C" or name.startswith("triton._C."):
        return False
    return name in (_FORM, _KERNELS, "triton", "support.order_kernels") or name.startswith((f"{_KERNELS}.", "triton."))


def _take_out() -> dict[str, Any]:
    package: Any = importlib.import_module("suite.methods.update")
    for name in ("triton", "kernels"):
        package.__dict__.pop(name, None)
    return {name: sys.modules.pop(name) for name in list(sys.modules) if _is_ours(name)}


@contextmanager
def interpreted() -> Iterator[Any]:
    """``suite.methods.update.triton`` with kernels that the interpreter runs; after it, all is as it was.

    Triton decides what a kernel is when a function is decorated, its own library of such functions included. So both
    are imported afresh, with the variable set, and are taken out again.
    """
    if find_spec("triton") is None:
        pytest.skip("no Triton (pip install triton)")
    package: Any = importlib.import_module("suite.methods.update")
    before = _take_out()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            form = importlib.import_module(_FORM)
            assert type(form.kernels.update).__name__ == "InterpretedFunction"
            _make_faster(patch)
            yield form
    finally:
        # Under another name they end with the process as modules do, else Triton's C++ says at exit what it lost.
        sys.modules.update({f"interpreted.{name}": module for name, module in _take_out().items()})
        sys.modules.update(before)
        for name in ("triton", "kernels"):
            if f"{package.__name__}.{name}" in before:
                setattr(package, name, before[f"{package.__name__}.{name}"])


def _make_faster(patch: pytest.MonkeyPatch) -> None:
    """Leave out what the interpreter repeats at each operation, which is most of its time."""
    interpreter: Any = importlib.import_module("triton.runtime.interpreter")
    _patch_once(patch, interpreter)
    dtype_of = functools.cache(interpreter._get_np_dtype)  # it makes a table each time; pointers cannot be its keys
    patch.setattr(interpreter, "_get_np_dtype", lambda kind: ADDRESS if kind.scalar.is_ptr() else dtype_of(kind.scalar))
    # It works out whether integers overflow, and asserts it in debug mode only.
    assert not interpreter.interpreter_builder.options.debug
    options = dataclasses.replace(interpreter.interpreter_builder.options, sanitize_overflow=False)
    patch.setattr(interpreter.interpreter_builder, "options", options)


def _patch_once(patch: pytest.MonkeyPatch, interpreter: Any) -> None:
    """The interpreter makes Triton's language its own at each call of each function."""
    patch_lang, done = interpreter._patch_lang, set()
    keep = SimpleNamespace(restore=lambda: None)

    def patch_lang_once(function: Any) -> Any:
        if id(function.__globals__) not in done:
            patch_lang(function)
            done.add(id(function.__globals__))
        return keep

    patch.setattr(interpreter, "_patch_lang", patch_lang_once)


def equal_bits(a: Tensor, b: Tensor) -> bool:
    """Equal bit for bit, in whatever memory format; one NaN is as good as another, -0 differs from +0."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, b = (torch.where(x.isnan(), math.nan, x).contiguous().view(-1).view(torch.uint8) for x in (a, b))
    return torch.equal(a, b)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def special_floats(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """Few values, so many ties, and every special one, in any order."""
    pool = torch.tensor([math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 0.5, 3.0e38])
    return pool[torch.randint(len(pool), shape, generator=torch.Generator().manual_seed(seed))]


class PairedLayers:
    """The same layers twice: one set goes by the specification, the other by Triton's form."""

    def __init__(
        self,
        form: Any,
        shapes: Shapes,
        *,
        packed: bool = False,
        laid: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        scores: Callable[[tuple[int, ...]], Tensor] | None = None,
        thetas: Callable[[tuple[int, ...]], Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
        **settings: Any,
    ) -> None:
        self.form, self.shapes, self.laid, self.dtype = form, list(shapes), laid, dtype
        self.settings = {**SETTINGS, **settings}
        self.generator = torch.Generator().manual_seed(0)
        self.thresholds: dict[Any, Any] = {}
        uniform = [torch.empty(shape).uniform_(-0.1, 0.1, generator=self.generator) for shape in shapes]
        signs = [torch.where(torch.randn(s, generator=self.generator) < 0, -CONSTANT, CONSTANT) for s in shapes]
        first = uniform if scores is None else [scores(shape) for shape in shapes]
        theta = signs if thetas is None else [thetas(shape) for shape in shapes]
        self.state = [self._copy(first, theta, packed) for _ in range(2)]

    def _copy(self, scores: list[Tensor], thetas: list[Tensor], packed: bool) -> list[list[Any]]:
        laid = [self.laid(score.clone()) for score in scores]
        mine = [self.laid(theta.clone()) for theta in thetas]
        params = [torch.full_like(score, 7.0, dtype=self.dtype) for score in laid]
        return [
            params,
            [Signs.packed(theta, CONSTANT) for theta in mine] if packed else mine,
            laid,
            [torch.zeros_like(score) for score in laid],
        ]

    @property
    def plan(self) -> Any:
        return self.thresholds["plan"]

    def searched(self) -> list[bool]:
        """For each layer, whether the last step searched all of it: histograms are zeroed first, filled by that."""
        return (self.plan.histograms != 0).any(1).tolist()

    def grads(self) -> list[Tensor]:
        return [0.02 * torch.randn(shape, generator=self.generator) for shape in self.shapes]

    def step(
        self, grads: Sequence[Tensor] | None = None, *, which: Sequence[int] | None = None, **settings: Any
    ) -> None:
        """One step of both, with ``grads`` or random ones; all that is left must be equal."""
        grads = [grad.to(self.dtype) for grad in self.grads()] if grads is None else grads
        which = range(len(self.shapes)) if which is None else which
        settings = {**self.settings, **settings}
        for masked_sgd_, state, thresholds in zip(
            (plain.masked_sgd_, self.form.masked_sgd_), self.state, ({}, self.thresholds), strict=True
        ):
            params, thetas, scores, momenta = [[tensors[i] for i in which] for tensors in state]
            masked_sgd_(params, [grads[i] for i in which], thetas, scores, momenta, thresholds, **settings)
        self.check()

    def check(self) -> None:
        for kind, wanted, got in zip(("param", "theta", "score", "momentum"), *self.state, strict=True):
            for i, (a, b) in enumerate(zip(wanted, got, strict=True)):
                assert equal_bits(unpacked(a), unpacked(b)), f"{kind} of layer {i}, {self.shapes[i]}"
        if self.thresholds.get("plan"):
            assert not self.plan.counts.any()
            assert not self.plan.sync.any()


def some_in_band(twins: PairedLayers) -> Tensor:
    """How many of each layer's ranks the bands, as they stand, hold; what is pruned of them is not asked."""
    num = []
    for score, (middle, half) in zip(twins.state[1][2], twins.plan.bands.tolist(), strict=True):
        rank = score if twins.settings["rank_by"] == "scores" else score.abs()
        num.append(int(((rank >= middle - half) & (rank <= middle + half)).sum()))
    return torch.tensor(num)
