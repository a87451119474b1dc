"""Kernels of the tests' own: the order of weights, and words, as the kernels of a masked step see them."""

import triton
import triton.language as tl

from suite.methods.update.kernels.radix_select import (
    BINS,
    DIGITS,
    count_digit,
    decode_rank,
    next_digit,
    sort_key_of,
    threshold_key,
)
from suite.methods.update.kernels.redraw import _word


@triton.jit
def places_of(ranks, places, back, size, channels, pixels, BLOCK: tl.constexpr):  # noqa: N803
    """Places of the ranks in memory's order, and the ranks that those places name."""
    at = tl.arange(0, BLOCK)
    place = sort_key_of(tl.load(ranks + at, mask=at < size, other=0.0), at, channels, pixels)
    tl.store(places + at, place.to(tl.int64, bitcast=True), mask=at < size)
    tl.store(back + at, decode_rank(place), mask=at < size)


@triton.jit
def cuts_of(places, wanted, cuts, size, BLOCK: tl.constexpr):  # noqa: N803
    """For each program, the cut below which lie its ``wanted`` places."""
    at = tl.arange(0, BLOCK)
    place = tl.load(places + at, mask=at < size, other=0).to(tl.uint64, bitcast=True)
    known = tl.full((), 0, tl.uint64)
    digit = tl.full((), 0, tl.int32)
    left = tl.load(wanted + tl.program_id(0))
    is_last = left == 0
    while (digit < DIGITS) & (is_last == 0):
        num_of = tl.zeros((BINS,), tl.int32)
        num_of += count_digit(place, at < size, known, digit)
        known, left, is_last = next_digit(num_of, known, left, digit)
        digit += 1
    tl.store(cuts + tl.program_id(0), threshold_key(known, digit).to(tl.int64, bitcast=True))


@triton.jit(do_not_specialize=["seed", "draw", "parameter", "first"])
def words(out, seed, draw, parameter, first, BLOCK: tl.constexpr):  # noqa: N803
    """Words number ``first`` to ``first + BLOCK - 1``."""
    at = tl.arange(0, BLOCK)
    tl.store(out + at, _word(seed, first + at, draw, parameter).to(tl.int64))
