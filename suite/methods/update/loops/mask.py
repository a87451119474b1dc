"""Exact masks of one layer; a layer is (param, theta, constant, bits of the scores)."""

from typing import Any

import numpy as np

from suite.methods.update.loops.intrinsics import WORDS, jit
from suite.methods.update.loops.selection import selection_loops


def mask_loops(real: Any, packed: bool) -> tuple[Any, Any]:
    """Functions for numba, ``select_in_band`` and ``select_in_layer``: whether ties could be decided, and the key of
    the last pruned weight.
    """
    zero, no_bits = real(0), WORDS[real](0)
    selection = selection_loops(real)
    key_of, rank_of, kth_key = selection.key_of, selection.rank_of, selection.kth_key

    @jit  # type: ignore[untyped-decorator]
    def theta_at(layer: Any, i: Any) -> Any:
        _, theta, constant, _ = layer
        if packed:
            return constant if (theta[i >> 3] >> np.uint8(i & 7)) & np.uint8(1) else -constant
        return theta[i]

    @jit  # type: ignore[untyped-decorator]
    def select_in_band(
        layer: Any, position: Any, ranks: Any, left: Any, middle: Any, in_order: Any, absolute: Any, histogram: Any
    ) -> Any:
        """Prune the ``left`` lowest of the band and keep the others, most being so already."""
        param, _, _, bits = layer
        for i in range(position.size):
            ranks[i] = bits[position[i]]
        last, among, num_equal = no_bits, 0, 0
        if left > 0:
            last, among = kth_key(ranks, left, absolute, histogram)
        for i in range(position.size):
            num_equal += key_of(ranks[i], absolute) == last
        if left > 0 and among < num_equal and not in_order:
            return False, last
        for i in range(position.size):
            key = key_of(ranks[i], absolute)
            keep = left == 0 or key > last
            if left > 0 and key == last:
                keep = among <= 0  # of equal ones the first are pruned
                among -= 1
            if keep != (rank_of(key, absolute) > middle):
                param[position[i]] = theta_at(layer, position[i]) if keep else zero
        return True, last

    @jit  # type: ignore[untyped-decorator]
    def keep_last_ties(layer: Any, last: Any, among: Any, channels: Any, pixels: Any, absolute: Any) -> None:
        """Keep what is equal to the last pruned one beyond the first ``among``, in the order of the logical index."""
        param, _, _, bits = layer
        for unit in range(0, bits.size, channels * pixels):
            for channel in range(channels):
                for pixel in range(pixels):
                    at = unit + pixel * channels + channel
                    if key_of(bits[at], absolute) == last:
                        if among <= 0:
                            param[at] = theta_at(layer, at)
                        among -= 1

    @jit  # type: ignore[untyped-decorator]
    def select_in_layer(layer: Any, num_pruned: Any, channels: Any, pixels: Any, absolute: Any, histogram: Any) -> Any:
        """Select over the whole layer."""
        param, _, _, bits = layer
        last, among, num_equal = no_bits, 0, 0
        if num_pruned > 0:
            last, among = kth_key(bits, num_pruned, absolute, histogram)
        for i in range(bits.size):
            key = key_of(bits[i], absolute)
            param[i] = theta_at(layer, i) if num_pruned == 0 or key > last else zero
            num_equal += key == last
        if num_pruned > 0 and among < num_equal:
            if channels == 0:
                return False, last
            keep_last_ties(layer, last, among, channels, pixels, absolute)
        return True, last

    return select_in_band, select_in_layer
