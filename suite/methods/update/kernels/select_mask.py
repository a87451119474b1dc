"""Exact masks: among the few weights of a band where that suffices, else over the whole layer."""

import triton
import triton.language as tl

from suite.methods.update.kernels.layers import SCORE, address, store_above_threshold
from suite.methods.update.kernels.radix_select import (
    BINS,
    DIGITS,
    count_digit,
    decode_rank,
    next_digit,
    sort_key_of,
    threshold_key,
)

# Places in ``sync``; from DONE on one for each phase.
TICKET, ARRIVED, DONE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def _select_in_band(
    table,
    num_layers,
    layer,
    constants,
    band,
    band_rank,
    band_position,
    wanted,
    num,
    channels,
    pixels,
    BLOCK: tl.constexpr,
    PACKED: tl.constexpr,
):
    """The rank that is looked for is in the band: prune its ``wanted`` lowest, keep the others, follow the rank."""
    middle, half = tl.load(band), tl.load(band + 1)
    known = tl.full((), 0, tl.uint64)
    digit = tl.full((), 0, tl.int32)
    left = wanted
    is_last = wanted == 0
    while (digit < DIGITS) & (is_last == 0):
        num_of = tl.zeros((BINS,), tl.int32)
        for first in range(0, num, BLOCK):
            at = first + tl.arange(0, BLOCK)
            rank = tl.load(band_rank + at, mask=at < num, other=0.0)
            position = tl.load(band_position + at, mask=at < num, other=0)
            num_of += count_digit(sort_key_of(rank, position, channels, pixels), at < num, known, digit)
        known, left, is_last = next_digit(num_of, known, left, digit)
        digit += 1
    cut = threshold_key(known, digit)
    if wanted > 0:
        last = decode_rank(cut)
        tl.store(band, last)
        tl.store(band + 1, tl.maximum(4 * tl.abs(last - middle), 0.95 * half))
    for first in range(0, num, BLOCK):
        at = first + tl.arange(0, BLOCK)
        rank = tl.load(band_rank + at, mask=at < num, other=0.0)
        position = tl.load(band_position + at, mask=at < num, other=0)
        place = sort_key_of(rank, position, channels, pixels)
        is_wrong = (at < num) & ((place > cut) == (rank <= middle))
        store_above_threshold(cut, place, position, is_wrong, table, num_layers, layer, constants, PACKED)


@triton.jit
def _find(histograms, wanted, num_digits):
    """What the histograms of the first digits say of place number ``wanted``; how many digits are known."""
    known = tl.full((), 0, tl.uint64)
    digit = tl.full((), 0, tl.int32)
    left = wanted
    is_last = wanted == 0
    while (digit < num_digits) & (is_last == 0):
        # Past the first cache, which may hold what was there before other programs counted.
        num_of = tl.load(histograms + digit * BINS + tl.arange(0, BINS), cache_modifier=".cg")
        known, left, is_last = next_digit(num_of, known, left, digit)
        digit += 1
    return known, digit, is_last


@triton.jit
def _radix_select_layer(
    table,
    num_layers,
    layer,
    constants,
    band,
    histograms,
    size,
    wanted,
    channels,
    pixels,
    phase,
    helper,
    PROGRAMS_PER_PHASE: tl.constexpr,
    BLOCK: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    PACKED: tl.constexpr,
):
    """One helper's part of a phase: count a digit over the whole layer, or, in the last one, write the weights."""
    known, digit, is_last = _find(histograms, wanted, phase)
    scores = address(table, SCORE, num_layers, layer, tl.float32)
    for first in range(helper * BLOCK, size, PROGRAMS_PER_PHASE * BLOCK):
        position = first + tl.arange(0, BLOCK)
        there = position < size
        score = tl.load(scores + position, mask=there, other=0.0)
        place = sort_key_of(tl.abs(score) if ABSOLUTE else score, position, channels, pixels)
        if phase == DIGITS:
            cut = threshold_key(known, digit)
            store_above_threshold(cut, place, position, there, table, num_layers, layer, constants, PACKED)
        elif is_last == 0:
            num_of = count_digit(place, there, known, digit)
            bins = tl.arange(0, BINS)
            tl.atomic_add(histograms + digit * BINS + bins, num_of, mask=num_of > 0)
    if (phase == DIGITS) & (helper == 0) & (wanted > 0):
        middle, half, last = tl.load(band), tl.load(band + 1), decode_rank(threshold_key(known, digit))
        moved = 4 * tl.abs(last - middle)
        tl.store(band, last)
        # Where nothing was known, or a step was endless, the width stays; where the band was too full, it is halved.
        wider = tl.where(moved < float("inf"), tl.maximum(moved, half), half)
        tl.store(band + 1, tl.where(moved <= 4 * half, 0.5 * half, wider))


@triton.jit
def select_mask(
    table,
    num_layers,
    sizes,
    channels,
    pixels,
    constants,
    bands,
    counts,
    wanted,
    histograms,
    sync,
    band_rank,
    band_position,
    band_start,
    band_room,
    LAYERS: tl.constexpr,
    PROGRAMS_PER_PHASE: tl.constexpr,
    BLOCK: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    PACKED: tl.constexpr,
):
    """Exact masks. One program a layer looks into its band; where the rank is not in it, helpers search the layer.

    Helpers work in phases, each of which waits for the one before. Programs take their part in the order in which they
    start, so those that are waited for have started: no program waits for one that cannot run.
    """
    ticket = tl.atomic_add(sync + TICKET, 1)
    if ticket < num_layers:
        left = tl.load(wanted + ticket) - tl.load(counts + 2 * ticket)
        num = tl.load(counts + 2 * ticket + 1)
        if (left >= 0) & (left <= num) & (num <= tl.load(band_room + ticket)):
            first = tl.load(band_start + ticket)
            _select_in_band(
                table,
                num_layers,
                ticket,
                constants,
                bands + 2 * ticket,
                band_rank + first,
                band_position + first,
                left,
                num,
                tl.load(channels + ticket),
                tl.load(pixels + ticket),
                BLOCK,
                PACKED,
            )
    else:
        layers = tl.arange(0, LAYERS)
        there = layers < num_layers
        lefts = tl.load(wanted + layers, mask=there, other=0) - tl.load(counts + 2 * layers, mask=there, other=0)
        nums = tl.load(counts + 2 * layers + 1, mask=there, other=0)
        found = (lefts >= 0) & (lefts <= nums) & (nums <= tl.load(band_room + layers, mask=there, other=0))
        if tl.sum((there & (found == 0)).to(tl.int32), 0) > 0:
            phase = (ticket - num_layers) // PROGRAMS_PER_PHASE
            helper = (ticket - num_layers) % PROGRAMS_PER_PHASE
            if phase > 0:
                while tl.atomic_add(sync + DONE + phase - 1, 0) < PROGRAMS_PER_PHASE:
                    pass
                tl.debug_barrier()
            for layer in range(0, num_layers):
                left = tl.load(wanted + layer) - tl.load(counts + 2 * layer)
                num = tl.load(counts + 2 * layer + 1)
                if (left < 0) | (left > num) | (num > tl.load(band_room + layer)):
                    _radix_select_layer(
                        table,
                        num_layers,
                        layer,
                        constants,
                        bands + 2 * layer,
                        histograms + layer * BINS * DIGITS,
                        tl.load(sizes + layer),
                        tl.load(wanted + layer),
                        tl.load(channels + layer),
                        tl.load(pixels + layer),
                        phase,
                        helper,
                        PROGRAMS_PER_PHASE,
                        BLOCK,
                        ABSOLUTE,
                        PACKED,
                    )
            tl.debug_barrier()  # all threads' counts are made before the phase is said to be done
            tl.atomic_add(sync + DONE + phase, 1)
    tl.debug_barrier()
    if tl.atomic_add(sync + ARRIVED, 1) == tl.num_programs(0) - 1:
        # The last program leaves all as the next step must find it.
        places = tl.arange(0, 16)
        tl.store(sync + places, tl.zeros((16,), tl.int32), mask=places < DONE + DIGITS + 1)
        layers = tl.arange(0, 2 * LAYERS)
        tl.store(counts + layers, tl.zeros((2 * LAYERS,), tl.int32), mask=layers < 2 * num_layers)
