"""Exact selection by rank: by an unsigned key that is ordered as ranks are, a digit of it at a time."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from suite.methods.update.loops.intrinsics import WORDS, jit, reinterpret

_BAND_SHARE = 1024  # of so many weights one lies in a new band, on each side


def selection_loops(real: Any) -> SimpleNamespace:
    """Functions for numba over the bits of scores of dtype ``real``; histograms are int64, (256,)."""
    word = WORDS[real]
    digits = np.dtype(word).itemsize
    zero, no_bits, all_bits, digit_bits = real(0), word(0), ~word(0), word(255)
    top, infinity = word(1 << (8 * digits - 1)), np.array(np.inf, real).view(word)[()]
    nan = word(infinity + 1)

    @jit  # type: ignore[untyped-decorator]
    def key_of(bits: Any, absolute: Any) -> Any:
        """-0 equals 0, and NaN is above all."""
        size = bits & (all_bits ^ top)
        if absolute:
            return word(min(size, nan))
        if size > infinity:
            return all_bits
        return top if size == no_bits else word(all_bits ^ bits if bits & top else bits | top)

    @jit  # type: ignore[untyped-decorator]
    def rank_of(key: Any, absolute: Any) -> Any:
        return reinterpret(word(key if absolute else (key ^ top if key & top else all_bits ^ key)), zero)

    @jit  # type: ignore[untyped-decorator]
    def kth_key(bits: Any, number: Any, absolute: Any, histogram: Any) -> Any:
        """The key of rank ``number`` (from 1), and how many of those equal to it are among the ``number`` lowest."""
        prefix, mask = no_bits, no_bits
        for digit in range(digits):
            shift = word(8 * (digits - 1 - digit))
            for i in range(256):
                histogram[i] = 0
            for i in range(bits.size):
                key = key_of(bits[i], absolute)
                if key & mask == prefix:
                    histogram[(key >> shift) & digit_bits] += 1
            at = 0
            while histogram[at] < number:
                number -= histogram[at]
                at += 1
            prefix = word(prefix | (word(at) << shift))
            mask = word(mask | (digit_bits << shift))
        return prefix, number

    @jit  # type: ignore[untyped-decorator]
    def last_pruned(bits: Any, num_pruned: Any, hint: Any, absolute: Any, histogram: Any) -> Any:
        """``kth_key`` of the last pruned weight, in one pass where its rank is ``hint``."""
        key, num_lower, num_equal = key_of(reinterpret(hint, no_bits), absolute), 0, 0
        for i in range(bits.size):
            other = key_of(bits[i], absolute)
            num_lower += other < key
            num_equal += other == key
        if num_lower < num_pruned <= num_lower + num_equal:
            return key, num_pruned - num_lower
        return kth_key(bits, num_pruned, absolute, histogram)

    @jit  # type: ignore[untyped-decorator]
    def new_half(bits: Any, num_pruned: Any, middle: Any, absolute: Any, histogram: Any) -> Any:
        """Half the width of a band around ``middle`` that holds a small share of a layer."""
        width = (bits.size + _BAND_SHARE - 1) // _BAND_SHARE
        low, _ = kth_key(bits, max(num_pruned - width, 1), absolute, histogram)
        high, _ = kth_key(bits, min(num_pruned + width, bits.size), absolute, histogram)
        half = np.float64(max(middle - rank_of(low, absolute), rank_of(high, absolute) - middle))
        return half if np.isfinite(half) else 0.0

    return SimpleNamespace(key_of=key_of, rank_of=rank_of, kth_key=kth_key, last_pruned=last_pruned, new_half=new_half)
