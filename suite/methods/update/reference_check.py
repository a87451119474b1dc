"""Whether a fast form of the masked step leaves the bits that ``plain`` leaves, on the machine it is to run on."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from suite.methods.update import plain
from suite.methods.update.plain import Redraw, Thresholds
from suite.methods.update.signs import Signs, unpacked

Backend = Callable[..., None]

_FAN_IN = 50
_EXAMPLES = (  # shapes of layers; the thresholds of small ones miss their band often
    ((1,), (300,), (64, 48), (8, 6, 3, 3)),
    ((300,), (64, 48), (4, 8, 3, 3)),  # sizes that four divides are read otherwise
)


def matches_reference(
    form: Backend,
    device: torch.device,
    *,
    packed: bool = False,
    dtype: torch.dtype = torch.float32,
    redraws: bool = True,
    **settings: Any,
) -> bool:
    """Whether a form leaves the bits that ``plain`` leaves, over a few steps of small layers, a redraw among them."""
    return all(
        _after(form, shapes, device, packed, dtype, redraws, **settings)
        == _after(plain.masked_sgd_, shapes, device, packed, dtype, redraws, **settings)
        for shapes in _EXAMPLES
    )


def _after(
    form: Backend,
    shapes: Sequence[Sequence[int]],
    device: torch.device,
    packed: bool,
    dtype: torch.dtype,
    redraws: bool,
    **settings: Any,
) -> bytes:
    """All numbers that a form leaves."""
    generator = torch.Generator().manual_seed(1)
    draws = [[torch.randn(tuple(shape), generator=generator, dtype=dtype) for shape in shapes] for _ in range(6)]
    scores, *grads = [[tensor.to(device) for tensor in tensors] for tensors in draws]
    constant = math.sqrt(2 / _FAN_IN)
    dense = [torch.where(tensor < 0, -1, 1).to(dtype).mul_(constant) for tensor in grads[0]]
    thetas = [Signs.packed(tensor, constant) for tensor in dense] if packed else dense
    params, momenta = [[torch.zeros_like(score) for score in scores] for _ in range(2)]
    distribution = settings.pop("distribution", "signed_constant" if packed else "kaiming_uniform")
    redraw = Redraw(1, 0.3, 5, distribution, [_FAN_IN] * len(shapes), list(range(len(shapes))), sparsity=0.55)
    thresholds: Thresholds = {}
    for step, some in enumerate(grads):
        again = redraw if redraws and step == 2 else None
        form(params, some, thetas, scores, momenta, thresholds, sparsity=0.6, redraw=again, **settings)
    left = (*params, *map(unpacked, thetas), *scores, *momenta)
    return b"".join(tensor.cpu().numpy().tobytes() for tensor in left)
