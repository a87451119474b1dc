"""The redraw: words of Philox by logical index, as in ``suite.methods.random``, and values for the chosen weights."""

from typing import Any

import numpy as np

from suite.methods.update.loops import table as t
from suite.methods.update.loops.intrinsics import WORDS, array, jit
from suite.methods.update.loops.selection import selection_loops

_LANES = 16  # blocks of four words at once: the compiler makes vectors of them
_FACTORS, _WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)


def redraw_loop(real: Any, *, packed: bool) -> Any:
    """``redraw(table, num_layers, numbers, scratch, flags, limit, seed, values, redraws, draw)`` for numba: addresses
    and numbers; the answer is how many layers are left UNDECIDED, with nothing drawn.
    """
    word, selection, philox, write_theta = WORDS[real], selection_loops(real), _philox(), _write_theta(real, packed)
    key_of, last_pruned = selection.key_of, selection.last_pruned

    @jit  # type: ignore[untyped-decorator]
    def write_words(words: Any, first: Any, place: Any, seed: Any, stream: Any) -> None:
        for lane in range(_LANES):
            a, b, c, d = philox(first + np.uint64(lane), place, seed, stream)
            words[4 * lane], words[4 * lane + 1], words[4 * lane + 2], words[4 * lane + 3] = a, b, c, d

    @jit  # type: ignore[untyped-decorator]
    def redraw_layer(theta: Any, bits: Any, shape: Any, range_: Any, place: Any, streams: Any, scratch: Any) -> None:
        (num_pruned, channels, pixels, middle), (bound, absolute, signed) = shape, range_
        seed, values, redraws, limit = streams
        words = array(scratch + t.WORDS, 4 * _LANES, np.uint64)
        last, among = last_pruned(bits, num_pruned, middle, absolute, array(scratch + t.HISTOGRAM, 256, np.int64))
        pixel, channel, unit, drawn = 0, 0, 0, -1
        fresh = (limit, limit, limit, limit)
        for start in range(0, bits.size, 4 * _LANES):
            write_words(words, np.uint64(start >> 2), place, seed, redraws)
            for i in range(min(4 * _LANES, bits.size - start)):
                at = unit + pixel * channels + channel
                key = key_of(bits[at], absolute)
                is_pruned = (key < last) | ((key == last) & (among > 0))
                among -= key == last
                if is_pruned & (words[i] < limit):
                    block, which = (start + i) >> 2, i & 3
                    if block != drawn:
                        fresh, drawn = philox(np.uint64(block), place, seed, values), block
                    low, high = (fresh[1] if which else fresh[0]), (fresh[3] if which == 3 else fresh[2])
                    write_theta(theta, at, low if which < 2 else high, bound, signed)
                pixel += 1
                if pixel == pixels:
                    pixel, channel = 0, channel + 1
                    if channel == channels:
                        channel, unit = 0, unit + channels * pixels

    @jit  # type: ignore[untyped-decorator]
    def redraw(
        table_at: Any,
        num_layers: Any,
        numbers_at: Any,
        scratch: Any,
        flags: Any,
        limit: Any,
        seed: Any,
        values: Any,
        redraws: Any,
        draw: Any,
    ) -> Any:
        streams = (np.uint64(seed), np.uint64(values), np.uint64(redraws), np.uint64(limit))
        num_undecided = 0
        for number in range(num_layers):
            row = array(table_at, t.ROWS * num_layers, np.int64)[number::num_layers]
            numbers = array(numbers_at, t.NUMBERS * num_layers, np.float64)[number::num_layers]
            size, middle = row[t.SIZE], real(numbers[t.MIDDLE])
            shape = (row[t.NUM_PRUNED], row[t.CHANNELS], row[t.PIXELS], middle)
            row[t.UNDECIDED] = shape[1] == 0
            num_undecided += shape[1] == 0
            if shape[0] > 0 and shape[1] > 0:
                if packed:  # noqa: SIM108 - the two differ in type
                    theta = array(row[t.THETA], (size + 7) >> 3, np.uint8)
                else:
                    theta = array(row[t.THETA], size, real)
                range_ = (real(numbers[t.BOUND]), flags & t.ABSOLUTE, flags & t.SIGNED)
                place = (np.uint64(draw), np.uint64(row[t.PARAMETER]))
                redraw_layer(theta, array(row[t.SCORE], size, word), shape, range_, place, streams, scratch)
        return num_undecided

    return redraw


def _philox() -> Any:
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    (factor0, factor1), (weyl0, weyl1) = map(np.uint64, _FACTORS), map(np.uint64, _WEYL)

    @jit  # type: ignore[untyped-decorator]
    def philox(block: Any, place: Any, seed: Any, stream: Any) -> Any:
        """Philox4x32-10: four words, each uniform on [0, 2^32)."""
        c0, c1, c2, c3 = block & low, block >> half, place[0] & low, place[1] & low
        k0, k1 = seed & low, stream & low  # a compiler that sees 32 bits multiplies faster
        for _ in range(10):
            p0, p1 = c0 * factor0, c2 * factor1
            c0, c2 = (p1 >> half) ^ c1 ^ k0, (p0 >> half) ^ c3 ^ k1
            c1, c3 = p1 & low, p0 & low
            k0, k1 = (k0 + weyl0) & low, (k1 + weyl1) & low
        return c0, c1, c2, c3

    return philox


def _write_theta(real: Any, packed: bool) -> Any:
    sign, low_bits = np.uint64(31), np.uint64(8)

    @jit  # type: ignore[untyped-decorator]
    def write_theta(theta: Any, at: Any, word: Any, bound: Any, signed: Any) -> None:
        if packed:
            bit = np.uint8(1 << (at & 7))
            theta[at >> 3] = theta[at >> 3] | bit if word >> sign else theta[at >> 3] & ~bit
        elif signed:
            theta[at] = bound if word >> sign else -bound
        else:
            theta[at] = real(np.int64(word >> low_bits) - (1 << 23)) * bound

    return write_theta
