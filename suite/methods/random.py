"""Random streams: Philox4x32-10 as a pure function of where a number is used.

A word is named by (seed, stream, draw, parameter, index): no generator has a state, so every rank,
device, memory format and resumed run draws the same bits. Source: Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3" (SC 2011); checked against the vectors published with Random123.
"""

import math
from collections.abc import Callable
from enum import IntEnum
from typing import get_args

import torch
from torch import Tensor

from suite.config import Distribution, ScoreInit

DISTRIBUTIONS: tuple[Distribution, ...] = get_args(Distribution)
SCORE_INITS: tuple[ScoreInit, ...] = get_args(ScoreInit)

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_CHUNK = 1 << 14  # counters at once: the int64 temporaries stay in the cache


class Stream(IntEnum):
    """What a word is drawn for; streams never share a word."""

    VALUES = 0
    SCORES = 1
    REDRAW = 2
    BATCH_ORDER = 3
    AUGMENTATION = 4
    FROZEN = 5
    MASK = 6


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox4x32-10: four words per counter. int64 tensors hold the 32-bit words, on any device."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # The products wrap modulo 2^64, so both halves are exact; the shift brings in sign bits, masked off.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = (p1 >> 32) & _WORD ^ c1 ^ k0, (p0 >> 32) & _WORD ^ c3 ^ k1
        c1, c3 = p1 & _WORD, p0 & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def random_words(
    num: int,
    *,
    seed: int,
    stream: Stream,
    draw: int,
    parameter: int,
    start: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Words number ``start`` to ``start + num - 1``: int64, shape (num,), each uniform on [0, 2^32).

    Raises:
        ValueError: a seed outside [0, 2^32).
    """
    if not 0 <= seed <= _WORD:
        raise ValueError(f"seed: {seed}: must be at least 0 and below 2^32")
    first, last = start // 4, (start + num + 3) // 4
    parts = []
    for begin in range(first, last, _CHUNK):
        block = torch.arange(begin, min(begin + _CHUNK, last), dtype=torch.int64, device=device)
        counter = (block & _WORD, block >> 32, torch.full_like(block, draw), torch.full_like(block, parameter))
        parts.append(torch.stack(philox(counter, (seed, int(stream))), dim=1).flatten())
    out = torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64, device=device)
    return out[start - 4 * first :][:num]


def random_words_at(index: Tensor, draw: Tensor, *, seed: int, stream: Stream, parameter: int) -> Tensor:
    """The words at some indices, each in a draw of its own: ``index``, ``draw`` and the answer are int64, (num,)."""
    parts = []
    for start in range(0, max(len(index), 1), _CHUNK):
        where, which = index[start : start + _CHUNK], draw[start : start + _CHUNK]
        block = where // 4
        counter = (block & _WORD, block >> 32, which, torch.full_like(block, parameter))
        four = torch.stack(philox(counter, (seed, int(stream))), dim=1)
        parts.append(four.gather(1, (where % 4).unsqueeze(1)).squeeze(1))
    return torch.cat(parts)


def values_at(
    index: Tensor,
    draw: Tensor,
    distribution: Distribution,
    *,
    fan_in: float,
    seed: int,
    parameter: int,
    dtype: torch.dtype,
) -> Tensor:
    """What ``draw_values_`` writes at some logical indices, each in a draw of its own: (num,), ``dtype``."""
    word = random_words_at(index, draw, seed=seed, stream=Stream.VALUES, parameter=parameter)
    return _VALUES[distribution](word, fan_in, dtype).to(index.device)


def draw_values_(
    out: Tensor, distribution: Distribution, *, fan_in: float, seed: int, draw: int, parameter: int
) -> Tensor:
    """Fill ``out`` (any shape and memory format) with weights from stream 0, by logical index.

    ``kaiming_uniform`` is U(+-sqrt(6 / fan_in)), ``signed_constant`` +-sqrt(2 / fan_in) with even odds,
    ``kaiming_normal`` N(0, 2 / fan_in).
    """
    word = random_words(out.numel(), seed=seed, stream=Stream.VALUES, draw=draw, parameter=parameter, device=out.device)
    return out.copy_(_VALUES[distribution](word, fan_in, _at_least_float32(out)).view(out.shape))


def scaled_fan_in(fan_in: int, sparsity: float) -> float:
    """The fan-in that multiplies a weight's standard deviation by sqrt(1 / k), k = 1 - sparsity the share kept.

    Source: Ramanujan et al., "What's hidden in a randomly weighted neural network?" (CVPR 2020), scaled initialization.
    """
    return fan_in * (1 - sparsity)


def draw_scores_(out: Tensor, init: ScoreInit, *, fan_in: int, seed: int, parameter: int) -> Tensor:
    """Fill ``out`` with initial scores from stream 1.

    ``kaiming_uniform`` is U(+-sqrt(6 / fan_in)) (IteRand), ``fan_in_uniform`` U(+-1 / sqrt(fan_in)) (edge-popup).
    """
    bound = math.sqrt(6 / fan_in) if init == "kaiming_uniform" else 1 / math.sqrt(fan_in)
    word = random_words(out.numel(), seed=seed, stream=Stream.SCORES, draw=0, parameter=parameter, device=out.device)
    return out.copy_(_uniform(word, bound, _at_least_float32(out)).view(out.shape))


def redraw_mask(num: int, prob: float, *, seed: int, draw: int, parameter: int, device: torch.device | None) -> Tensor:
    """Which of ``num`` weights redraw number ``draw`` may touch: bool, each with probability ``prob``."""
    word = random_words(num, seed=seed, stream=Stream.REDRAW, draw=draw, parameter=parameter, device=device)
    choice: Tensor = word < math.ceil(prob * 2**32)  # the integers below prob * 2^32
    return choice


def frozen_pattern(num: int, removed: int, kept: int, *, seed: int, parameter: int) -> Tensor:
    """Which of ``num`` weights are frozen: int8, (num,); -1 is removed for ever, 1 kept for ever, 0 free.

    By their words of stream 5, ties by index, the first ``removed`` are removed, the last ``kept`` are kept.
    """
    words = random_words(num, seed=seed, stream=Stream.FROZEN, draw=0, parameter=parameter)
    order = torch.sort(words, stable=True).indices
    pattern = torch.zeros(num, dtype=torch.int8)
    pattern[order[:removed]] = -1
    pattern[order[num - kept :]] = 1
    return pattern


def _at_least_float32(out: Tensor) -> torch.dtype:
    return torch.promote_types(out.dtype, torch.float32)


def _uniform(word: Tensor, bound: float, dtype: torch.dtype) -> Tensor:
    # The 24 high bits are exact in float32, so the product is the only rounding: the same on every device.
    return ((word >> 8) - (1 << 23)).to(dtype).mul_(bound * 2**-23)


def _kaiming_uniform(word: Tensor, fan_in: float, dtype: torch.dtype) -> Tensor:
    return _uniform(word, math.sqrt(6 / fan_in), dtype)


def _signed_constant(word: Tensor, fan_in: float, dtype: torch.dtype) -> Tensor:
    return ((word >> 31) * 2 - 1).to(dtype).mul_(math.sqrt(2 / fan_in))


def _kaiming_normal(word: Tensor, fan_in: float, dtype: torch.dtype) -> Tensor:
    # log and sqrt differ in the last bits between devices: computed in float64 on the CPU, rounded once.
    uniform = (word.cpu().double() + 0.5) / 2**32
    normal: Tensor = torch.special.ndtri(uniform)
    return (normal * math.sqrt(2 / fan_in)).to(dtype)


_VALUES: dict[Distribution, Callable[[Tensor, float, torch.dtype], Tensor]] = {
    "kaiming_uniform": _kaiming_uniform,
    "signed_constant": _signed_constant,
    "kaiming_normal": _kaiming_normal,
}
