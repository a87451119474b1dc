"""The arithmetic of one masked step, apart from the keeping of state, in three forms that give equal bits.

``plain`` is the specification, and the form for whatever the others cannot take. ``cpu`` is the form for CPUs,
with ``cpu_numba`` where numba is there; ``triton`` is the one for GPUs.
"""

import logging
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from suite.methods.update import cpu, plain
from suite.methods.update.plain import Redraw, Theta, Thresholds
from suite.methods.update.signs import Signs, unpacked

Backend = Callable[..., None]

_log = logging.getLogger(__name__)
_FAN_IN = 50
_EXAMPLES = (  # shapes of layers; the thresholds of small ones miss their band often
    ((1,), (300,), (64, 48), (8, 6, 3, 3)),
    ((300,), (64, 48), (4, 8, 3, 3)),  # sizes that four divides are read otherwise
)


def select_backend(scores: Sequence[Tensor], thetas: Sequence[Theta], **settings: Any) -> Backend:
    """The fastest form of ``plain.masked_sgd_`` for these tensors; ``settings`` are those of the step.

    A kernel for GPUs is used only after it has equalled ``plain`` bit for bit, on that GPU and for that kind of step.
    """
    device = scores[0].device
    if device.type == "cpu":
        return cpu.masked_sgd_
    if device.type != "cuda" or scores[0].dtype != torch.float32:
        return plain.masked_sgd_
    kind = tuple(settings[key] != 0 for key in ("momentum", "weight_decay"))
    return _checked(device, isinstance(thetas[0], Signs), *kind, settings["rank_by"], settings["max_norm"] is not None)


@cache
def _checked(device: torch.device, packed: bool, momentum: bool, decays: bool, rank_by: Any, clips: bool) -> Backend:
    """The Triton form, or ``plain`` and a line in the log that says why."""
    try:
        from suite.methods.update import triton

        settings = dict(lr=0.1, momentum=0.9 * momentum, weight_decay=5e-4 * decays, rank_by=rank_by)
        settings["max_norm"] = 1.0 if clips else None
        if matches_reference(triton.masked_sgd_, device, packed=packed, **settings):
            return triton.masked_sgd_
        _log.warning("Triton's masked step differs from torch's on %s: torch's is used, which is slower", device)
    except Exception as error:  # no Triton, no compiler for it, a GPU that it does not know: torch needs none of these
        _log.warning("no Triton on %s (%s: %s): masked steps are slower", device, type(error).__name__, error)
    return plain.masked_sgd_


def matches_reference(form: Backend, device: torch.device, *, packed: bool = False, **settings: Any) -> bool:
    """Whether a form leaves the bits that ``plain`` leaves, over a few steps of small layers, a redraw among them."""
    return all(
        _after(form, shapes, device, packed, **settings)
        == _after(plain.masked_sgd_, shapes, device, packed, **settings)
        for shapes in _EXAMPLES
    )


def _after(
    form: Backend, shapes: Sequence[Sequence[int]], device: torch.device, packed: bool, **settings: Any
) -> bytes:
    """All numbers that a form leaves."""
    generator = torch.Generator().manual_seed(1)
    draws = [[torch.randn(tuple(shape), generator=generator) for shape in shapes] for _ in range(6)]
    scores, *grads = [[tensor.to(device) for tensor in tensors] for tensors in draws]
    constant = math.sqrt(2 / _FAN_IN)
    dense = [torch.where(tensor < 0, -constant, constant) for tensor in grads[0]]
    thetas = [Signs.packed(tensor, constant) for tensor in dense] if packed else dense
    params, momenta = [[torch.zeros_like(score) for score in scores] for _ in range(2)]
    everywhere = [_FAN_IN] * len(shapes), list(range(len(shapes)))
    redraw = Redraw(1, 0.3, 5, "signed_constant" if packed else "kaiming_uniform", *everywhere)
    thresholds: Thresholds = {}
    for step, some in enumerate(grads):
        again = redraw if step == 2 else None
        form(params, some, thetas, scores, momenta, thresholds, sparsity=0.6, redraw=again, **settings)
    left = (*params, *map(unpacked, thetas), *scores, *momenta)
    return b"".join(tensor.cpu().numpy().tobytes() for tensor in left)
