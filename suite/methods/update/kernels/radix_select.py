"""The order of a layer's weights as one number of 64 bits each, and the search for a place in it by histograms.

A place is a weight's rank, turned into an unsigned number that orders as floats do (NaN last, -0 as +0), and below it
its logical index. So no two places are equal, and what is pruned is what is not above one place, the cut. It is looked
for eight bits at a time.
"""

import triton
import triton.language as tl

BINS = tl.constexpr(256)
DIGITS = tl.constexpr(8)  # of a place: 0 to 3 of the rank, 4 to 7 of the index


@triton.jit
def index_of(position, channels, pixels):
    """The logical index of a place in memory, which holds pixels of channels; the index has channels of pixels."""
    inner = position % (channels * pixels)
    return position - inner + inner % channels * pixels + inner // channels


@triton.jit
def sort_key_of(rank, position, channels, pixels):
    """Where a weight stands in its layer's order."""
    bits = tl.where(rank == 0, 0, rank.to(tl.int32, bitcast=True)).to(tl.uint32, bitcast=True)
    key = tl.where((bits >> 31) != 0, ~bits, bits | 0x80000000)
    key = tl.where(rank != rank, 0xFFFFFFFF, key)
    return (key.to(tl.uint64) << 32) | index_of(position, channels, pixels).to(tl.uint64)


@triton.jit
def decode_rank(place):
    key = (place >> 32).to(tl.uint32)
    bits = tl.where((key >> 31) != 0, key & 0x7FFFFFFF, ~key)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def count_digit(place, there, known, digit):
    """How many of the places that begin as ``known`` does have each value of this digit: (256,)."""
    shift = (digit * -8 + 56).to(tl.uint64)
    alike = (((place ^ known) >> shift) >> 8) == 0
    return tl.histogram(((place >> shift) & 255).to(tl.int32), BINS, mask=there & alike)


@triton.jit
def next_digit(num_of, known, left, digit):
    """The digit of the place that is number ``left`` from below; whether all that begin so are up to it."""
    bins = tl.arange(0, BINS)
    value = tl.sum((tl.cumsum(num_of, 0) < left).to(tl.int32), 0)
    left = left - tl.sum(tl.where(bins < value, num_of, 0), 0)
    is_last = tl.sum(tl.where(bins == value, num_of, 0), 0) == left
    shift = (digit * -8 + 56).to(tl.uint64)
    return known | (value.to(tl.uint64) << shift), left, is_last & (digit >= 3)  # the rank itself is to be known too


@triton.jit
def threshold_key(known, digit):
    """The highest place that begins with the first ``digit`` digits of ``known``; the lowest one if none is known."""
    shift = (digit * -4 + 32).to(tl.uint64)  # twice: a shift by 64 is not defined
    one = tl.full((), 1, tl.uint64)
    return tl.where(digit == 0, known, known | (((one << shift) << shift) - 1))
