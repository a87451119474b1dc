"""Pruned weights drawn again, by Philox words that are computed where they are used."""

import triton
import triton.language as tl

from suite.methods.update.kernels.radix_select import index_of


@triton.jit(do_not_specialize=["size", "value_seed", "choice_seed", "draw", "parameter", "limit"])
def redraw(
    theta,
    pruned,
    size,
    channels,
    pixels,
    value_seed,
    choice_seed,
    draw,
    parameter,
    limit,
    scale,
    BLOCK: tl.constexpr,
    SIGNED: tl.constexpr,
    PACKED: tl.constexpr,
):
    """Draw pruned weights of a layer again where their word for the choice is below ``limit``."""
    position = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = position < size
    index = index_of(position, channels, pixels)
    chosen = _word(choice_seed, index, draw, parameter).to(tl.int64) < limit
    chosen = chosen & (tl.load(pruned + position, mask=there, other=0) != 0)
    word = _word(value_seed, index, draw, parameter)
    if PACKED:
        octet = tl.program_id(0) * (BLOCK // 8) + tl.arange(0, BLOCK // 8)
        old = tl.load(theta + octet, mask=octet < (size + 7) // 8, other=0).to(tl.int32)
        powers = tl.arange(0, 8)[None, :]
        bits = tl.where(tl.reshape(chosen, (BLOCK // 8, 8)), tl.reshape((word >> 31).to(tl.int32), (BLOCK // 8, 8)), 0)
        kept = tl.where(tl.reshape(chosen, (BLOCK // 8, 8)), 0, (old[:, None] >> powers) & 1)
        tl.store(theta + octet, tl.sum((bits | kept) << powers, 1).to(tl.uint8), mask=octet < (size + 7) // 8)
    elif SIGNED:
        tl.store(theta + position, tl.where((word >> 31) != 0, scale, -scale), mask=there & chosen)
    else:
        value = ((word >> 8).to(tl.int32) - 8388608).to(tl.float32) * scale  # exact, then one rounding
        tl.store(theta + position, value, mask=there & chosen)


@triton.jit
def _word(seed, index, draw, parameter):
    """Word ``index % 4`` of Philox4x32-10 at counter (index // 4, 0, draw, parameter), as in ``random_words``."""
    zero = tl.zeros_like(index).to(tl.uint32)
    block = (index >> 2).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(seed, block, zero, zero + draw.to(tl.uint32), zero + parameter.to(tl.uint32))
    which = index & 3
    return tl.where(which == 0, w0, tl.where(which == 1, w1, tl.where(which == 2, w2, w3)))
