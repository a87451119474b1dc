"""The arithmetic of one masked step, apart from the keeping of state, in three forms that give equal bits.

``plain`` is the specification, and the form for whatever the others cannot take. ``cpu`` is the form for CPUs: by
``loops`` where they can be compiled, else by ``cpu_blocks``. ``triton`` is the form for GPUs.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from suite.config import Distribution
from suite.methods.update import cpu, plain
from suite.methods.update.cpu_plan import Layers
from suite.methods.update.plain import Theta
from suite.methods.update.reference_check import Backend, matches_reference
from suite.methods.update.signs import Signs

_log = logging.getLogger(__name__)


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


def prepare(
    params: Sequence[Tensor],
    thetas: Sequence[Theta],
    scores: Sequence[Tensor],
    momenta: Sequence[Tensor],
    distribution: Distribution | None,
    **settings: Any,
) -> None:
    """Load or compile what steps over these tensors need, so that the first one does not wait for it.

    ``distribution`` is that of redraws, None where there are none; ``settings`` are those of the step.
    """
    if scores[0].device.type == "cpu":
        cpu.prepare(Layers(params, thetas, scores, momenta), distribution, **settings)


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
