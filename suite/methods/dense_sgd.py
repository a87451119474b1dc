"""SGD on weights in the memory of a CPU: bits equal to ``torch.optim.SGD``'s single operations, in less time.

Small tensors go through an operation together, which saves calls; large ones go through memory once, not four times.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64)  # in others, operations on lists round in another way
_LARGE = 1 << 14  # weights of a tensor; below, cutting off its end costs more than it saves
_LINE = 64  # numbers; whole lines of a cache, whatever the processor


def sgd_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    buffers: Sequence[Tensor],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """One step in place, on dense tensors of ``DTYPES`` on the CPU.

    ``buffers`` are the momenta, none where ``momentum`` is 0.
    """
    settings = dict(lr=lr, momentum=momentum, weight_decay=weight_decay)
    columns = [list(params), list(grads), *([list(buffers)] if momentum else [])]
    large = [i for i, param in enumerate(params) if param.numel() >= _LARGE]
    wholes = [whole for i in large if (whole := _cut_to_end(columns, i))]
    if wholes:
        _fused([list(column) for column in zip(*wholes, strict=True)], **settings)
    _by_operations(columns, **settings)


def _cut_to_end(columns: Sequence[list[Tensor]], i: int) -> list[Tensor]:
    """The whole lines of tensors ``i``, if they can be fused, of which the ends alone are left then."""
    tensors = [column[i] for column in columns]
    if not _can_be_fused(tensors):
        return []
    whole = tensors[0].numel() // _LINE * _LINE
    for column, tensor in zip(columns, tensors, strict=True):
        column[i] = tensor.view(-1)[whole:]
    return [tensor.view(-1)[:whole] for tensor in tensors]


def _can_be_fused(tensors: Sequence[Tensor]) -> bool:
    alike = all(tensor.is_contiguous() and tensor.dtype == tensors[0].dtype for tensor in tensors)
    return alike and _fuses_alike(tensors[0].dtype, torch.get_num_threads())


def _by_operations(columns: Sequence[list[Tensor]], *, lr: float, momentum: float, weight_decay: float) -> None:
    """Those of ``torch.optim.SGD``, in its order: on a CPU torch's lists are loops over single operations."""
    params, steps = columns[0], columns[1]
    if weight_decay:
        steps = list(torch._foreach_add(steps, params, alpha=weight_decay))
    if momentum:
        torch._foreach_mul_(columns[2], momentum)
        torch._foreach_add_(columns[2], steps)
        steps = columns[2]
    torch._foreach_add_(params, steps, alpha=-lr)


def _fused(columns: Sequence[list[Tensor]], **settings: float) -> None:
    params, grads, *buffers = columns
    rest: dict[str, Any] = dict(**settings, dampening=0.0, nesterov=False, maximize=False, is_first_step=False)
    torch._fused_sgd_(params, grads, buffers[0] if buffers else [], **rest)


@cache
def _fuses_alike(dtype: torch.dtype, num_threads: int) -> bool:
    """Whether torch's fused operation rounds as the single ones do, on an example of whole cache lines.

    At the end of a line it may not: there its compiler joins the two roundings of the momentum to one.
    """
    example = torch.randn(3, 1 << 15, dtype=dtype, generator=torch.Generator().manual_seed(1))
    results = []
    for form in (_fused, _by_operations):
        tensors = example.clone()
        form([[tensor] for tensor in tensors], lr=0.1, momentum=0.9, weight_decay=5e-4)
        results.append(tensors)
    return torch.equal(*results)
