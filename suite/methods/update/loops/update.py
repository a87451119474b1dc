"""The update: one pass over the memory of each layer, then its exact mask, as ``cpu`` describes it."""

from typing import Any

import numpy as np

from suite.methods.update.loops import table as t
from suite.methods.update.loops.intrinsics import WORDS, array, fma, jit, prefetch
from suite.methods.update.loops.mask import mask_loops
from suite.methods.update.loops.selection import selection_loops

_CACHED = 1 << 15  # weights of a layer that are in a cache anyway
_LINE = 64  # bytes


def update_loop(real: Any, *, packed: bool) -> Any:
    """``update(table, num_layers, numbers, scratch, flags, rate, momentum, decay, scale)`` for numba: addresses and
    numbers; the answer is how many layers are left UNDECIDED.
    """
    word, selection, (select_in_band, select_in_layer) = WORDS[real], selection_loops(real), mask_loops(real, packed)
    rank_of, new_half, one_pass = selection.rank_of, selection.new_half, _one_pass(real, packed)

    @jit  # type: ignore[untyped-decorator]
    def exact_mask(layer: Any, shape: Any, found: Any, middle: Any, half: Any, scratch: Any, absolute: Any) -> Any:
        """Write the mask: whether ties could be decided, whether all was ranked, the threshold, half the next band."""
        num_pruned, channels, pixels = shape
        (num_below, num), (_, _, _, bits) = found, layer
        room, left = bits.size // t.BAND_SHARE + t.BAND_LEAST, num_pruned - num_below
        histogram, position = array(scratch + t.HISTOGRAM, 256, np.int64), array(scratch + t.BAND, num, np.int64)
        if num <= room and 0 <= left <= num:
            ranks = array(scratch + t.BAND + 8 * room, num, word)
            is_decided, last = select_in_band(
                layer, position, ranks, left, middle, channels * pixels == 1, absolute, histogram
            )
            if is_decided:
                return True, False, rank_of(last, absolute) if left > 0 else middle, 0.95 * half
        is_decided, last = select_in_layer(layer, num_pruned, channels, pixels, absolute, histogram)
        middle = rank_of(last, absolute)
        half = new_half(bits, num_pruned, middle, absolute, histogram) if num_pruned > 0 else 0.0
        return is_decided, True, middle, half

    @jit  # type: ignore[untyped-decorator]
    def update(
        table_at: Any,
        num_layers: Any,
        numbers_at: Any,
        scratch: Any,
        flags: Any,
        rate: Any,
        momentum: Any,
        decay: Any,
        scale: Any,
    ) -> Any:
        sgd = (flags, real(rate), real(momentum), real(decay), real(scale))
        num_undecided = 0
        for number in range(num_layers):
            row = array(table_at, t.ROWS * num_layers, np.int64)[number::num_layers]
            numbers = array(numbers_at, t.NUMBERS * num_layers, np.float64)[number::num_layers]
            size, num_pruned, before, half = row[t.SIZE], row[t.NUM_PRUNED], numbers[t.MIDDLE], numbers[t.HALF]
            if num_pruned == 0:  # nothing lies below
                before, half = -np.inf, 0.0
            if packed:  # noqa: SIM108 - the two differ in type
                theta = array(row[t.THETA], (size + 7) >> 3, np.uint8)
            else:
                theta = array(row[t.THETA], size, real)
            bits = array(row[t.SCORE], size, word)
            layer = (array(row[t.PARAM], size, real), theta, real(numbers[t.CONSTANT]), bits)
            trained = (array(row[t.SCORE], size, real), array(row[t.MOMENTUM], size, real))
            around = (real(before - half), real(before), real(before + half))
            found = one_pass(layer, array(row[t.GRAD], size, real), trained, around, sgd, scratch)
            shape = (num_pruned, row[t.CHANNELS], row[t.PIXELS])
            absolute = flags & t.ABSOLUTE
            is_decided, is_ranked, middle, half = exact_mask(layer, shape, found, around[1], half, scratch, absolute)
            row[t.UNDECIDED] = not is_decided
            row[t.NUM_RANKED] += is_ranked
            num_undecided += not is_decided
            if num_pruned > 0:
                if not np.isnan(before):
                    half = max(half, 4 * abs(middle - before))
                is_known = np.isfinite(half)
                numbers[t.MIDDLE], numbers[t.HALF] = (np.float64(middle), half) if is_known else (np.nan, 0.0)
        return num_undecided

    return update


def _one_pass(real: Any, packed: bool) -> Any:
    zero, one = real(0), real(1)
    is_above, is_below, is_inside = map(np.uint8, range(3))
    nothing, all_below, all_inside = (np.uint64(0x0101010101010101 * place) for place in range(3))
    top_byte, score_bytes = np.uint64(56), np.dtype(real).itemsize

    @jit  # type: ignore[untyped-decorator]
    def unpack(bits: Any, constant: Any, theta: Any) -> None:
        for byte in range(theta.size >> 3):
            for bit in range(8):
                theta[8 * byte + bit] = constant if bits[byte] & np.uint8(1 << bit) else -constant
        for i in range(theta.size & ~7, theta.size):
            theta[i] = constant if bits[i >> 3] & np.uint8(1 << (i & 7)) else -constant

    @jit  # type: ignore[untyped-decorator]
    def ask_for_block(layer: Any, grad: Any, trained: Any, start: Any) -> None:
        """What is needed next, stream beside stream: two loops over each block hide the order from the processor."""
        (param, theta, _, _), (score, buffer), ahead = layer, trained, start * score_bytes
        for line in range(ahead, ahead + t.BLOCK * score_bytes, _LINE):
            prefetch(grad.ctypes.data + line)
            if not packed:
                prefetch(theta.ctypes.data + line)
            prefetch(score.ctypes.data + line)
            prefetch(buffer.ctypes.data + line)
            prefetch(param.ctypes.data + line)

    @jit  # type: ignore[untyped-decorator]
    def sgd_on_scores(grad: Any, theta: Any, score: Any, buffer: Any, sgd: Any) -> None:
        flags, rate, momentum, decay, scale = sgd
        absolute, scaled = flags & t.ABSOLUTE, flags & t.SCALED
        decays, has_momentum = flags & t.DECAYS, flags & t.HAS_MOMENTUM
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
    def select(param: Any, theta: Any, score: Any, places: Any, around: Any, absolute: Any) -> None:
        """Write the weights above the middle; ``places`` says where ranks are: below the band, inside or above."""
        low, middle, high = around
        for i in range(score.size):
            rank = abs(score[i]) if absolute else score[i]
            param[i] = zero if rank <= middle else theta[i]
            places[i] = is_below if rank < low else (is_inside if rank <= high else is_above)

    @jit  # type: ignore[untyped-decorator]
    def one_pass(layer: Any, grad: Any, trained: Any, around: Any, sgd: Any, scratch: Any) -> Any:
        """Update a layer and write its weights as if all ranks up to the middle were pruned.

        How many ranks are below the band, and how many in it; where these are is noted as far as there is room.
        """
        (param, theta, constant, _), (score, buffer) = layer, trained
        room, num_below, num = score.size // t.BAND_SHARE + t.BAND_LEAST, 0, 0
        places, eights = (
            array(scratch + t.PLACES, t.BLOCK, np.uint8),
            array(scratch + t.PLACES, t.BLOCK >> 3, np.uint64),
        )
        position, some = array(scratch + t.BAND, room, np.int64), array(scratch + t.BLOCK_WEIGHTS, t.BLOCK, real)
        for start in range(0, score.size, t.BLOCK):
            size = min(t.BLOCK, score.size - start)
            stop = start + size
            if packed:
                weights = some[:size]
                unpack(theta[start >> 3 :], constant, weights)
            else:
                weights = theta[start:stop]
            if score.size > _CACHED:
                ask_for_block(layer, grad, trained, stop)
            sgd_on_scores(grad[start:stop], weights, score[start:stop], buffer[start:stop], sgd)
            if size & 7:
                eights[size >> 3] = nothing
            select(param[start:stop], weights, score[start:stop], places, around, sgd[0] & t.ABSOLUTE)
            for eight in range((size + 7) >> 3):
                num_below += int(((eights[eight] & all_below) * all_below) >> top_byte)  # the sum of its bytes
                if eights[eight] & all_inside:
                    for i in range(8 * eight, 8 * eight + 8):
                        if places[i] == is_inside:
                            if num < room:
                                position[num] = start + i
                            num += 1
        return num_below, num

    return one_pass
