"""The arithmetic of one masked step, apart from the keeping of state, in three forms that give equal bits.

``plain`` is the specification, and the form for whatever the others cannot take. ``tracking`` is the form for CPUs,
with ``compiled`` where numba is there; ``triton`` is the one for GPUs.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from suite.methods.update import plain, tracking
from suite.methods.update.plain import Theta
from suite.methods.update.signs import Signs

Form = Callable[..., None]

_log = logging.getLogger(__name__)
_EXAMPLE = ((1,), (300,), (64, 48), (8, 6, 3, 3))  # shapes of layers; thresholds of small ones miss their band often


def form_for(scores: Sequence[Tensor], thetas: Sequence[Theta], **settings: Any) -> Form:
    """The fastest form of ``plain.masked_sgd_`` for these tensors; ``settings`` are those of the step.

    A kernel for GPUs is used only after it has equalled ``plain`` bit for bit, on that GPU and for that kind of step.
    """
    device = scores[0].device
    if device.type == "cpu":
        return tracking.masked_sgd_
    if device.type != "cuda" or scores[0].dtype != torch.float32:
        return plain.masked_sgd_
    kind = tuple(settings[key] != 0 for key in ("momentum", "weight_decay"))
    return _checked(device, isinstance(thetas[0], Signs), *kind, settings["rank_by"], settings["max_norm"] is not None)


@cache
def _checked(device: torch.device, packed: bool, momentum: bool, decays: bool, rank_by: Any, clips: bool) -> Form:
    """The Triton form, or ``plain`` and a line in the log that says why."""
    try:
        from suite.methods.update import triton

        settings = dict(lr=0.1, momentum=0.9 * momentum, weight_decay=5e-4 * decays, rank_by=rank_by)
        settings["max_norm"] = 1.0 if clips else None
        if equal_on_example(triton.masked_sgd_, device, packed=packed, **settings):
            return triton.masked_sgd_
        _log.warning("Triton's masked step differs from torch's on %s: torch's is used, which is slower", device)
    except Exception as error:  # no Triton, no compiler for it, a GPU that it does not know: torch needs none of these
        _log.warning("no Triton on %s (%s: %s): masked steps are slower", device, type(error).__name__, error)
    return plain.masked_sgd_


def equal_on_example(form: Form, device: torch.device, *, packed: bool = False, **settings: Any) -> bool:
    """Whether a form leaves the bits that ``plain`` leaves, over a few steps of a few small layers."""
    results = []
    for candidate in (form, plain.masked_sgd_):
        generator = torch.Generator().manual_seed(1)
        draws = [[torch.randn(shape, generator=generator) for shape in _EXAMPLE] for _ in range(6)]
        scores, *grads = [[tensor.to(device) for tensor in tensors] for tensors in draws]
        dense = [torch.where(tensor < 0, -0.3, 0.3) for tensor in grads[0]]
        thetas = [Signs.packed(tensor, 0.3) for tensor in dense] if packed else dense
        params, momenta = [[torch.zeros_like(score) for score in scores] for _ in range(2)]
        thresholds: dict[Any, Any] = {}
        for some in grads:
            candidate(params, some, thetas, scores, momenta, thresholds, sparsity=0.6, **settings)
        results.append([tensor.cpu().numpy().tobytes() for tensor in (*params, *scores, *momenta)])
    return results[0] == results[1]
