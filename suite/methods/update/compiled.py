"""The pass of ``tracking`` over memory as one loop that numba compiles; nothing is compiled at installation.

A loop is used only after it has equalled the pass that needs no compiler on an example, bit for bit: a processor
without fused multiply-add, or another rounding of torch, makes it stand back, as a missing numba does.
"""

import logging
import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from suite.methods.update.signs import Signs

if TYPE_CHECKING:
    from suite.methods.update.tracking import Around, Flat, Pass, Sgd

_Array = npt.NDArray[Any]
_Loop = Callable[..., tuple[int, int]]
_BLOCK = 512  # weights at once: they stay in the first cache of a core, and loads go on beside stores
_BAND_ROOM = 16  # of so many weights one may lie in the band
_EXAMPLE = 20_001

_log = logging.getLogger(__name__)


def pass_for(layer: "Flat", sgd: "Sgd", reference: "Pass") -> "Pass | None":
    """The compiled pass for layers of this kind; None where there is none that equals ``reference``."""
    dtypes = {tensor.dtype for tensor in layer if isinstance(tensor, Tensor)}
    if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
        return None
    kind = (sgd.absolute, sgd.scale is not None, sgd.weight_decay != 0, sgd.momentum != 0)
    return _checked(dtypes.pop(), isinstance(layer.theta, Signs), kind, reference)


@cache
def _checked(dtype: torch.dtype, packed: bool, kind: tuple[bool, ...], reference: "Pass") -> "Pass | None":
    try:
        update = _pass_through(_compile(*kind, packed=packed))
        equal = _equal_on_example(update, reference, dtype, packed, kind)
    except Exception as error:  # whatever a compiler may have to say: the other pass needs none
        _log.warning("numba cannot be used (%s: %s): masked steps are slower, with equal results", type(error), error)
        return None
    if not equal:
        _log.warning("numba rounds otherwise than torch on this processor: masked steps are slower, with equal results")
    return update if equal else None


def _pass_through(loop: _Loop) -> "Pass":
    from suite.methods.update.tracking import Band

    def update(layer: "Flat", around: "Around", sgd: "Sgd") -> tuple[int, Band | None]:
        param, grad, score, buffer = (t.numpy() for t in (layer.param, layer.grad, layer.score, layer.buffer))
        real = score.dtype.type
        signs = layer.theta if isinstance(layer.theta, Signs) else None
        theta, constant = (signs.bits, signs.constant) if signs else (cast(Tensor, layer.theta), 0.0)
        numbers = (*around, -sgd.lr, sgd.momentum, sgd.weight_decay, sgd.scale or 0.0, constant)
        room = score.size // _BAND_ROOM + 64
        band = Band(np.empty(room, dtype=np.int64), np.empty(room, dtype=real), np.empty(room, dtype=real))
        num_below, num = loop(param, grad, theta.numpy(), score, buffer, *map(real, numbers), *band)
        return num_below, Band(*(part[:num] for part in band)) if num <= room else None

    return update


def _equal_on_example(
    update: "Pass", reference: "Pass", dtype: torch.dtype, packed: bool, kind: tuple[bool, ...]
) -> bool:
    """Whether both passes leave the same bits, on numbers where a rounding more or less shows."""
    from suite.methods.update.tracking import Around, Flat, Sgd

    absolute, scaled, decays, has_momentum = kind
    sgd = Sgd(0.1, 0.9 * has_momentum, 5e-4 * decays, absolute, 0.37 if scaled else None)
    results = []
    for form in (update, reference):
        tensors = torch.randn(5, _EXAMPLE, generator=torch.Generator().manual_seed(1), dtype=dtype)
        param, grad, theta, score, buffer = tensors
        score[::1000], score[1::1000] = math.nan, 0.0
        signs = Signs.packed(torch.where(theta < 0, -1, 1).to(dtype).mul_(0.3), 0.3) if packed else theta
        num_below, band = form(Flat(param, grad, signs, score, buffer), Around(0.4, 0.405, 0.41), sgd)
        results.append([num_below, tensors.numpy().tobytes(), *(part.tobytes() for part in band or ())])
    return results[0] == results[1]


@cache
def _compile(absolute: bool, scaled: bool, decays: bool, has_momentum: bool, *, packed: bool) -> _Loop:
    """The loop for settings of one kind: what a setting leaves out is not in it."""
    import numba
    from numba.extending import intrinsic

    jit = numba.njit(nogil=True, error_model="numpy")

    @intrinsic  # type: ignore[untyped-decorator]
    def fma(_: Any, a: Any, b: Any, c: Any) -> Any:
        """``a * b + c``, rounded once, as torch's ``add(alpha=)``."""
        return a(a, b, c), lambda context, builder, signature, args: builder.fma(*args)

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
    def loop(
        param: Any,
        grad: Any,
        theta: Any,
        score: Any,
        buffer: Any,
        low: Any,
        middle: Any,
        high: Any,
        rate: Any,
        momentum: Any,
        decay: Any,
        scale: Any,
        constant: Any,
        band_index: Any,
        band_rank: Any,
        band_theta: Any,
    ) -> Any:
        num_below, num = 0, 0
        is_inside = np.zeros(_BLOCK, dtype=np.uint8)
        eight = is_inside.view(np.uint64)
        some = np.empty(_BLOCK, dtype=score.dtype)
        for start in range(0, score.size, _BLOCK):
            stop = min(start + _BLOCK, score.size)
            if packed:
                weights = some[: stop - start]
                unpack(theta[start >> 3 :], constant, weights)
            else:
                weights = theta[start:stop]
            sgd(grad[start:stop], weights, score[start:stop], buffer[start:stop], rate, momentum, decay, scale)
            num_below += select(param[start:stop], weights, score[start:stop], is_inside, low, middle, high)
            for word in range((stop - start + 7) >> 3):
                if eight[word]:
                    for i in range(8 * word, min(8 * word + 8, stop - start)):
                        if is_inside[i]:
                            if num < band_index.size:
                                rank = score[start + i]
                                band_index[num] = start + i
                                band_rank[num] = abs(rank) if absolute else rank
                                band_theta[num] = weights[i]
                            num += 1
        return num_below, num

    compiled: _Loop = loop
    return compiled
