"""The step of ``cpu`` as one loop over all layers that numba compiles; nothing is compiled at installation.

A loop is used only after it has equalled the step that needs no compiler on an example, bit for bit: a processor
without fused multiply-add, or another rounding of torch, makes it stand back, as a missing numba does.
"""

import logging
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import torch

from suite.methods.update.layers import LayerTensors, SgdSettings, Step, ThresholdBand
from suite.methods.update.signs import Signs, storage_of

_BLOCK = 512  # weights at once: they stay in the first cache of a core, and loads go on beside stores
_BAND_ROOM = 16  # of so many weights one may lie in the band
_EXAMPLE = 20_001

_log = logging.getLogger(__name__)


def step_for(layers: Sequence[LayerTensors], sgd: SgdSettings, reference: Step) -> Step | None:
    """The compiled step for layers of this kind; None where there is none that equals ``reference``."""
    dtypes = {each.dtype for layer in layers for each in layer}
    packed = {isinstance(layer[2], Signs) for layer in layers}
    if len(dtypes) != 1 or len(packed) != 1 or not dtypes <= {torch.float32, torch.float64}:
        return None
    kind = (sgd.absolute, sgd.scale is not None, sgd.weight_decay != 0, sgd.momentum != 0)
    return _checked(dtypes.pop(), packed.pop(), kind, reference)


@cache
def _checked(dtype: torch.dtype, packed: bool, kind: tuple[bool, ...], reference: Step) -> Step | None:
    try:
        step = _step_through(_compile(*kind, packed=packed, real=_REALS[dtype]), _REALS[dtype])
        equal = _equal_on_example(step, reference, dtype, packed, kind)
    except Exception as error:  # whatever a compiler may have to say: the other step needs none
        _log.warning("numba cannot be used (%s: %s): masked steps are slower, with equal results", type(error), error)
        return None
    if not equal:
        _log.warning("numba rounds otherwise than torch on this processor: masked steps are slower, with equal results")
    return step if equal else None


def _step_through(loop: Callable[..., None], real: Any) -> Step:
    def step(
        layers: Sequence[LayerTensors], arounds: Sequence[ThresholdBand], counts: Sequence[int], sgd: SgdSettings
    ) -> Sequence[float]:
        sizes = [layer[3].numel() for layer in layers]
        addresses = [[storage_of(each).data_ptr() for each in layer] for layer in layers]
        constants = [layer[2].constant if isinstance(layer[2], Signs) else 0.0 for layer in layers]
        room = max(sizes) // _BAND_ROOM + 64
        lasts = np.full(len(layers), math.nan)
        loop(
            np.array(addresses),
            np.array(sizes),
            np.array([layer[3].is_contiguous() for layer in layers]),
            np.array(arounds, dtype=real),
            np.array(counts),
            np.array(constants, dtype=real),
            *(real(number) for number in (-sgd.lr, sgd.momentum, sgd.weight_decay, sgd.scale or 0.0)),
            np.empty(room, dtype=np.int64),
            np.empty(room, dtype=real),
            np.empty(room, dtype=real),
            lasts,
        )
        return cast(list[float], lasts.tolist())

    return step


def _equal_on_example(step: Step, reference: Step, dtype: torch.dtype, packed: bool, kind: tuple[bool, ...]) -> bool:
    """Whether both steps leave the same bits, on numbers where a rounding more or less shows."""
    absolute, scaled, decays, has_momentum = kind
    sgd = SgdSettings(0.1, 0.9 * has_momentum, 5e-4 * decays, absolute, 0.37 if scaled else None)
    count = round(_EXAMPLE * (0.315 if absolute else 0.655))  # about as many are below the middle of the band
    results = []
    for form in (step, reference):
        tensors = torch.randn(5, _EXAMPLE, generator=torch.Generator().manual_seed(1), dtype=dtype)
        param, grad, theta, score, buffer = tensors
        score[::1000], score[1::1000] = math.nan, 0.0
        signs = Signs.packed(torch.where(theta < 0, -1, 1).to(dtype).mul_(0.3), 0.3) if packed else theta
        buffer *= 0.1
        found = form([(param, grad, signs, score, buffer)], [ThresholdBand(0.375, 0.405, 0.435)], [count], sgd)
        results.append([found, tensors.numpy().tobytes()])
    return results[0] == results[1] and not math.isnan(results[0][0][0])


_REALS: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


@cache
def _compile(
    absolute: bool, scaled: bool, decays: bool, has_momentum: bool, *, packed: bool, real: Any
) -> Callable[..., None]:
    """The loop for settings of one kind: what a setting leaves out is not in it."""
    import numba
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    jit = numba.njit(nogil=True, error_model="numpy")
    carray = numba.carray

    @intrinsic  # type: ignore[untyped-decorator]
    def fma(_: Any, a: Any, b: Any, c: Any) -> Any:
        """``a * b + c``, rounded once, as torch's ``add(alpha=)``."""
        return a(a, b, c), lambda context, builder, signature, args: builder.fma(*args)

    @intrinsic  # type: ignore[untyped-decorator]
    def pointer(_: Any, address: Any) -> Any:
        """The memory at an address."""
        return types.voidptr(address), lambda context, builder, signature, args: builder.inttoptr(
            args[0], cgutils.voidptr_t
        )

    @jit  # type: ignore[untyped-decorator]
    def unpack(bits: Any, constant: Any, theta: Any) -> None:
        for i in range(theta.size):
            theta[i] = constant if (bits[i >> 3] >> np.uint8(i & 7)) & np.uint8(1) else -constant

    @jit  # type: ignore[untyped-decorator]
    def sgd(grad: Any, theta: Any, score: Any, buffer: Any, rate: Any, momentum: Any, decay: Any, scale: Any) -> None:
        one, zero = theta.dtype.type(1), theta.dtype.type(0)
        for i in range(score.size):
            step, at = grad[i] * theta[i], score[i]
            if absolute:
                step = step * (one if at > zero else (-one if at < zero else zero))
            if scaled:
                step = step * scale
            if decays:
                step = fma(decay, at, step)
            if has_momentum:
                step = buffer[i] * momentum + step
                buffer[i] = step
            score[i] = fma(rate, step, at)

    @jit  # type: ignore[untyped-decorator]
    def select(param: Any, theta: Any, score: Any, is_inside: Any, low: Any, middle: Any, high: Any) -> Any:
        zero, num_below = theta.dtype.type(0), 0
        for i in range(score.size):
            rank = abs(score[i]) if absolute else score[i]
            below = rank < low
            param[i] = zero if rank <= middle else theta[i]
            num_below += below
            is_inside[i] = below ^ (rank <= high)
        return num_below

    @jit  # type: ignore[untyped-decorator]
    def select_in_band(param: Any, position: Any, rank: Any, theta: Any, left: Any, middle: Any, in_order: Any) -> Any:
        """As ``cpu._select_in_band``; NaN where ties must go by an index that is not the memory's order."""
        last, num_equal, num_lower = middle, 0, 0
        if left > 0:
            last = np.partition(rank, left - 1)[left - 1]
            for i in range(rank.size):
                num_lower += rank[i] < last
                num_equal += rank[i] == last
            if num_lower + num_equal > left and not in_order:
                return np.nan
        for i in range(rank.size):
            keep = left == 0 or rank[i] > last
            if left > 0 and rank[i] == last:
                keep = num_lower >= left  # of equal ones the first are pruned
                num_lower += 1
            if keep != (rank[i] > middle):
                param[position[i]] = theta[i] if keep else real(0)
        return last

    @jit  # type: ignore[untyped-decorator]
    def one_pass(
        param: Any,
        grad: Any,
        theta: Any,
        score: Any,
        buffer: Any,
        around: Any,
        constant: Any,
        rate: Any,
        momentum: Any,
        decay: Any,
        scale: Any,
        band_position: Any,
        band_rank: Any,
        band_theta: Any,
    ) -> Any:
        num_below, num = 0, 0
        is_inside = np.zeros(_BLOCK, dtype=np.uint8)
        eight = is_inside.view(np.uint64)
        some = np.empty(_BLOCK, dtype=real)
        for start in range(0, score.size, _BLOCK):
            stop = min(start + _BLOCK, score.size)
            if packed:
                weights = some[: stop - start]
                unpack(theta[start >> 3 :], constant, weights)
            else:
                weights = theta[start:stop]
            sgd(grad[start:stop], weights, score[start:stop], buffer[start:stop], rate, momentum, decay, scale)
            ranks = score[start:stop]
            num_below += select(param[start:stop], weights, ranks, is_inside, around[0], around[1], around[2])
            for word in range((stop - start + 7) >> 3):
                if eight[word]:
                    for i in range(8 * word, min(8 * word + 8, stop - start)):
                        if is_inside[i]:
                            if num < band_position.size:
                                band_position[num] = start + i
                                band_rank[num] = abs(ranks[i]) if absolute else ranks[i]
                                band_theta[num] = weights[i]
                            num += 1
        return num_below, num

    @jit  # type: ignore[untyped-decorator]
    def loop(
        addresses: Any,
        sizes: Any,
        in_order: Any,
        arounds: Any,
        counts: Any,
        constants: Any,
        rate: Any,
        momentum: Any,
        decay: Any,
        scale: Any,
        band_position: Any,
        band_rank: Any,
        band_theta: Any,
        lasts: Any,
    ) -> None:
        for layer in range(sizes.size):
            num = sizes[layer]
            param, grad = (
                carray(pointer(addresses[layer, 0]), num, real),
                carray(pointer(addresses[layer, 1]), num, real),
            )
            if packed:
                theta = carray(pointer(addresses[layer, 2]), (num + 7) >> 3, np.uint8)
            else:
                theta = carray(pointer(addresses[layer, 2]), num, real)
            score, buffer = (
                carray(pointer(addresses[layer, 3]), num, real),
                carray(pointer(addresses[layer, 4]), num, real),
            )
            room = min(num // _BAND_ROOM + 64, band_rank.size)
            num_below, num_inside = one_pass(
                param,
                grad,
                theta,
                score,
                buffer,
                arounds[layer],
                constants[layer],
                rate,
                momentum,
                decay,
                scale,
                band_position[:room],
                band_rank,
                band_theta,
            )
            left = counts[layer] - num_below
            if num_inside <= room and 0 <= left <= num_inside:
                lasts[layer] = select_in_band(
                    param,
                    band_position[:num_inside],
                    band_rank[:num_inside],
                    band_theta[:num_inside],
                    left,
                    arounds[layer, 1],
                    in_order[layer],
                )

    compiled: Callable[..., None] = loop
    return compiled
