"""SGD on all scores, weights by the last thresholds, and a note of what lies near them: one pass over memory."""

import triton
import triton.language as tl

from suite.methods.update.kernels.layers import BUFFER, GRAD, SCORE, theta_at, wide, write
from suite.methods.update.kernels.radix_select import BINS, DIGITS


@triton.jit
def update(
    table,
    num_layers,
    chunk_layer,
    chunk_start,
    sizes,
    constants,
    bands,
    counts,
    histograms,
    band_rank,
    band_position,
    band_start,
    band_room,
    minus_rate,  # or, as a tensor, the rate
    momentum,
    decay,
    scale,
    BLOCK: tl.constexpr,
    RATE_IS_TENSOR: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    SCALED: tl.constexpr,
    DECAYS: tl.constexpr,
    HAS_MOMENTUM: tl.constexpr,
    PACKED: tl.constexpr,
    WIDE: tl.constexpr,
):
    """SGD on the scores of one chunk of a layer; weights by the last threshold; what lies in the band is noted."""
    layer = tl.load(chunk_layer + tl.program_id(0))
    start = tl.multiple_of(tl.load(chunk_start + tl.program_id(0)), BLOCK)
    position = start + tl.arange(0, BLOCK)
    there = position < tl.load(sizes + layer)
    if WIDE:
        there = tl.max_constancy(there, 4)
    if start == 0:
        bins = tl.arange(0, BINS * DIGITS)
        tl.store(histograms + layer * BINS * DIGITS + bins, tl.zeros((BINS * DIGITS,), tl.int32))

    grad = tl.load(wide(table, GRAD, num_layers, layer, WIDE) + position, mask=there, other=0.0)
    theta = theta_at(table, num_layers, layer, constants, position, there, PACKED, WIDE)
    scores = wide(table, SCORE, num_layers, layer, WIDE) + position
    score = tl.load(scores, mask=there, other=0.0)
    step = grad * theta
    if ABSOLUTE:
        step = step * ((score > 0).to(tl.float32) - (score < 0).to(tl.float32))
    if SCALED:
        step = step * tl.load(scale)
    if DECAYS:
        step = tl.fma(tl.full((BLOCK,), decay, tl.float32), score, step)
    if HAS_MOMENTUM:
        buffers = wide(table, BUFFER, num_layers, layer, WIDE) + position
        step = tl.load(buffers, mask=there, other=0.0) * momentum + step
        tl.store(buffers, step, mask=there)
    factor = tl.load(minus_rate).to(tl.float32) * -1.0 if RATE_IS_TENSOR else minus_rate
    score = tl.fma(tl.full((BLOCK,), factor, tl.float32), step, score)
    tl.store(scores, score, mask=there)

    rank = tl.abs(score) if ABSOLUTE else score
    middle, half = tl.load(bands + 2 * layer), tl.load(bands + 2 * layer + 1)
    below = there & (rank < middle - half)
    inside = there & (rank <= middle + half) & (below == 0)  # what is neither is kept, whatever the band may be
    pruned = below | (inside & (rank <= middle))
    write(tl.where(pruned, 0.0, theta), position, there, table, num_layers, layer, WIDE)
    tl.atomic_add(counts + 2 * layer, tl.sum(below.to(tl.int32), 0))
    num = tl.sum(inside.to(tl.int32), 0)
    if num > 0:
        slot = tl.atomic_add(counts + 2 * layer + 1, num) + tl.cumsum(inside.to(tl.int32), 0) - 1
        fits = inside & (slot < tl.load(band_room + layer))
        first = tl.load(band_start + layer)
        tl.store(band_rank + first + slot, rank, mask=fits)
        tl.store(band_position + first + slot, position, mask=fits)
