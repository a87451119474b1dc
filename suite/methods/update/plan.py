"""What the kernels for GPUs need of a list of layers: where the tensors lie, their chunks, their bands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from suite.config import RankBy
from suite.methods.update.layout import have_same_strides, inner_sizes
from suite.methods.update.plain import Theta, Thresholds, num_pruned
from suite.methods.update.signs import Signs, storage_of

BLOCK = 2048  # weights of one program of the pass
SEARCHED = 4096  # weights that a program which searches looks at in one go
PROGRAMS_PER_PHASE = 128  # programs in each phase of a search over whole layers: about one for each multiprocessor
PHASES = 9  # one for each digit of a place, and one that writes
_BAND_ROOM = 32  # of so many weights one may lie in the band
_NARROW = 0.004  # half a first band, in standard deviations of the ranks: 0.2 % to 0.3 % of a layer
_LARGEST = (
    2**31 - PROGRAMS_PER_PHASE * SEARCHED
)  # weights in a layer: positions are 32 bits wide, and so are steps past the end

_captured: list[Any] = []  # what graphs read at each replay: kept for good, as nobody says when a graph is gone


@dataclass
class Plan:
    """About 8 KiB a layer on the device, made once for a list of layers."""

    table: Tensor  # int64 (5, layers): where parameters, gradients, thetas, scores and momenta lie
    addresses: tuple[int, ...]  # what is in the table
    spare: tuple[Tensor, Tensor] | None  # for a step that is captured: pinned memory, and a table of its own
    chunk_layer: Tensor
    chunk_start: Tensor
    sizes: Tensor
    channels: Tensor
    pixels: Tensor
    wanted: Tensor
    constants: Tensor
    bands: Tensor  # float32 (layers, 2): middle and half width
    counts: Tensor  # int32 (layers, 2): below the band, and in it; 0 between steps
    histograms: Tensor
    sync: Tensor
    band_start: Tensor
    band_room: Tensor
    room: int
    divides: bool  # whether four divides every size
    wide: bool = False  # whether four numbers can be read at once: addresses are multiples of their size too


def plan_for(
    params: Sequence[Tensor],
    thetas: Sequence[Theta],
    scores: Sequence[Tensor],
    momenta: Sequence[Tensor],
    thresholds: Thresholds,
    sparsity: float,
    rank_by: RankBy,
) -> tuple[Plan | None, tuple[int, ...]]:
    """The plan of the last step where it still holds, else a new one, None where the kernels cannot take these lists;
    and the addresses of parameters, thetas, scores and momenta.

    Raises:
        RuntimeError: a new plan is needed while a CUDA graph is captured.
    """
    tensors = [*params, *(storage_of(theta) for theta in thetas), *scores, *momenta]
    addresses = tuple(tensor.data_ptr() for tensor in tensors)
    constants = tuple(theta.constant for theta in thetas if isinstance(theta, Signs))
    formats = tuple((score.shape, score.stride()) for score in scores)
    key = (addresses, formats, constants, sparsity, rank_by)
    if thresholds.get("key") != key:
        if _is_capturing(scores[0].device):
            raise RuntimeError(
                "a masked step can be captured in a CUDA graph after one such step outside of it: take one"
            )
        fit = _are_fit(params, thetas, scores, momenta)
        thresholds["plan"] = _new_plan(thetas, scores, sparsity, rank_by) if fit else None
        thresholds["key"] = key
    return thresholds["plan"], addresses


def table_of(plan: Plan, addresses: tuple[int, ...], grads: Sequence[Tensor]) -> Tensor:
    """The table on the device, with the addresses of this step's gradients; nothing waits.

    Raises:
        RuntimeError: a second step is captured without one outside between them.
    """
    num = len(grads)
    every = (*addresses[:num], *(grad.data_ptr() for grad in grads), *addresses[num:])
    plan.wide = plan.divides and all(address % 16 == 0 for address in every)
    if _is_capturing(plan.table.device):
        return _captured_table(plan, every)
    if plan.addresses != every:
        plan.addresses = every
        source = torch.tensor(every, dtype=torch.int64).view(5, num)
        plan.table.copy_(source.pin_memory() if plan.table.is_cuda else source, non_blocking=True)
    if plan.spare is None:
        plan.spare = _spare(plan.table)
    return plan.table


def _captured_table(plan: Plan, addresses: tuple[int, ...]) -> Tensor:
    if plan.spare is None:
        raise RuntimeError("a masked step was captured in a CUDA graph: take one outside before another is captured")
    source, table = plan.spare
    plan.spare = None
    _captured.append((plan, source, table))
    source.copy_(torch.tensor(addresses, dtype=torch.int64).view_as(source))
    table.copy_(source, non_blocking=True)
    return table


def _spare(table: Tensor) -> tuple[Tensor, Tensor] | None:
    return (torch.zeros_like(table, device="cpu").pin_memory(), torch.zeros_like(table)) if table.is_cuda else None


def _is_capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _are_fit(
    params: Sequence[Tensor], thetas: Sequence[Theta], scores: Sequence[Tensor], momenta: Sequence[Tensor]
) -> bool:
    """Whether the kernels can take these lists: float32 on one device, each layer's tensors alike in memory."""
    dtypes = {tensor.dtype for tensors in (params, thetas, scores, momenta) for tensor in tensors}
    devices = {tensor.device for tensor in (*params, *map(storage_of, thetas), *scores, *momenta)}
    if dtypes != {torch.float32} or len(devices) > 1 or len({type(theta) for theta in thetas}) > 1:
        return False
    layers = zip(params, thetas, scores, momenta, strict=True)
    return all(
        s.numel() < _LARGEST and inner_sizes(s) != (0, 0) and have_same_strides(p, t, s, m) for p, t, s, m in layers
    )


def _new_plan(thetas: Sequence[Theta], scores: Sequence[Tensor], sparsity: float, rank_by: RankBy) -> Plan:
    device, num = scores[0].device, len(scores)
    sizes = [score.numel() for score in scores]
    chunks = [(layer, start) for layer, size in enumerate(sizes) for start in range(0, size, BLOCK)]
    wanted = [num_pruned(size, sparsity) for size in sizes]
    rooms = [size // _BAND_ROOM + 64 for size in sizes]
    firsts = [sum(rooms[:layer]) for layer in range(num)]

    def ints(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    return Plan(
        table=torch.zeros((5, num), dtype=torch.int64, device=device),
        addresses=(),
        spare=None,
        chunk_layer=ints([layer for layer, _ in chunks]),
        chunk_start=ints([start for _, start in chunks]),
        sizes=ints(sizes),
        channels=ints([inner_sizes(score)[0] for score in scores]),
        pixels=ints([inner_sizes(score)[1] for score in scores]),
        wanted=ints(wanted),
        constants=torch.tensor([t.constant if isinstance(t, Signs) else 0.0 for t in thetas], device=device),
        bands=_first_bands(scores, wanted, rank_by),
        counts=torch.zeros((num, 2), dtype=torch.int32, device=device),
        histograms=torch.zeros((num, 8 * 256), dtype=torch.int32, device=device),
        sync=torch.zeros(2 + PHASES, dtype=torch.int32, device=device),
        band_start=torch.tensor(firsts, dtype=torch.int64, device=device),
        band_room=ints(rooms),
        room=sum(rooms),
        divides=all(size % 4 == 0 for size in sizes),
    )


def _first_bands(scores: Sequence[Tensor], wanted: Sequence[int], rank_by: RankBy) -> Tensor:
    """Nothing is known of a middle; where nothing is pruned it lies below all."""
    widths = torch.stack([(s if rank_by == "scores" else s.abs()).float().std(correction=0) for s in scores]) * _NARROW
    middles = torch.tensor([math.nan if num else -math.inf for num in wanted], device=widths.device)
    widths = torch.where(torch.isfinite(widths) & torch.isnan(middles), widths, 0.0)
    return torch.stack([middles, widths], dim=1).contiguous()
