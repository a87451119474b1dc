"""Random streams: published vectors, a second Philox in Python integers, kept bits, and distributions.

``python tests/methods/test_random.py`` (with the repository root in ``PYTHONPATH``) writes the golden file anew:
only together with a raised ``RESULTS_VERSION``, since every result of the suite then changes.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from support.gpu import DEVICE
from torch import Tensor

from suite.methods.random import (
    DISTRIBUTIONS,
    SCORE_INITS,
    Stream,
    draw_scores_,
    draw_values_,
    philox,
    random_words,
    redraw_mask,
)

GOLDEN = Path(__file__).with_name("golden_streams.json")
UNLIKELY = 1e-4  # each statistical bound fails by chance this often; seeds are fixed, so in fact never
MANY = 200_000
FAN_IN = 27
BOUNDS = {"kaiming_uniform": math.sqrt(6 / FAN_IN), "fan_in_uniform": 1 / math.sqrt(FAN_IN)}

KNOWN_ANSWERS = [  # kat_vectors of Random123: counter, key, words
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def numbers(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def slow_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as the paper writes it, in Python integers."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        high_0, low_0 = divmod(a * 0xD2511F53, 2**32)
        high_1, low_1 = divmod(c * 0xCD9E8D57, 2**32)
        a, b, c, d = high_1 ^ b ^ k, low_1, high_0 ^ d ^ m, low_0
        k, m = (k + 0x9E3779B9) % 2**32, (m + 0xBB67AE85) % 2**32
    return [a, b, c, d]


def slow_word(i: int, *, seed: int, stream: int, draw: int, parameter: int) -> int:
    """As docs/explanation/methods.md defines it: counter = (i // 4 low, i // 4 high, draw, parameter), word i % 4."""
    return slow_philox([i // 4 % 2**32, i // 4 // 2**32, draw, parameter], [seed, stream])[i % 4]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(counter: str, key: str, answer: str) -> None:
    columns = tuple(torch.tensor([number] * 3) for number in numbers(counter))
    got = philox(columns, tuple(numbers(key)))
    assert [column.tolist() for column in got] == [[number] * 3 for number in numbers(answer)]
    assert slow_philox(numbers(counter), numbers(key)) == numbers(answer)


@pytest.mark.parametrize(
    ("seed", "stream", "draw", "parameter", "start"),
    [
        (0, Stream.VALUES, 0, 0, 0),
        (1, Stream.SCORES, 0, 3, 1),
        (2, Stream.REDRAW, 7, 1, 6),
        (2**32 - 1, Stream.BATCH_ORDER, 1, 0, 1_000_003),
        (123_456_789, Stream.AUGMENTATION, 4_000, 200, 2**34 - 2),  # the low counter word overflows inside
        (2**31, Stream.VALUES, 2**32 - 1, 2**32 - 1, 2**34 + 5),
        (3, Stream.REDRAW, 2, 5, 2**50 + 3),
    ],
)
def test_words_equal_a_second_philox(seed: int, stream: Stream, draw: int, parameter: int, start: int) -> None:
    where = {"seed": seed, "stream": stream, "draw": draw, "parameter": parameter}
    for num in (0, 1, 2, 3, 4, 5, 9):
        got = random_words(num, **where, start=start)
        assert got.dtype == torch.int64
        assert got.tolist() == [slow_word(start + i, **where) for i in range(num)]


def test_streams_draws_parameters_and_seeds_share_nothing() -> None:
    base: dict[str, Any] = {"seed": 5, "stream": Stream.VALUES, "draw": 1, "parameter": 2}
    others = [{"seed": 6}, {"draw": 2}, {"parameter": 3}, *({"stream": s} for s in Stream if s is not Stream.VALUES)]
    drawn = [random_words(MANY, **{**base, **other}).double() for other in ({}, *others)]
    correlations = torch.corrcoef(torch.stack(drawn))
    correlations.fill_diagonal_(0)
    assert correlations.abs().max() < 5 / math.sqrt(MANY)  # five standard errors
    assert [int(stream) for stream in Stream] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range(seed: int) -> None:
    with pytest.raises(ValueError, match=rf"seed: {seed}: must be at least 0 and below 2\^32"):
        random_words(1, seed=seed, stream=Stream.VALUES, draw=0, parameter=0)


def values(distribution: str, *, num: int = MANY, dtype: torch.dtype = torch.float32, **where: int) -> Tensor:
    where = {"seed": 0, "draw": 0, "parameter": 0, **where}
    return draw_values_(torch.empty(num, dtype=dtype), distribution, fan_in=FAN_IN, **where)


def scores(init: str, *, num: int = MANY, dtype: torch.dtype = torch.float32, **where: int) -> Tensor:
    return draw_scores_(torch.empty(num, dtype=dtype), init, fan_in=FAN_IN, **{"seed": 0, "parameter": 0, **where})


def golden() -> Iterator[tuple[str, str]]:
    """Every kept line: a name and hexadecimal bytes (little-endian float32) or words."""
    for stream in Stream:
        kept = random_words(10, seed=11, stream=stream, draw=2, parameter=3, start=2**34 - 5)
        yield f"words {stream.name}", " ".join(f"{word:08x}" for word in kept.tolist())
    for distribution in DISTRIBUTIONS:
        kept = values(distribution, num=12, seed=11, draw=2, parameter=3)
        yield f"values {distribution}", kept.numpy().astype("<f4").tobytes().hex()
    for init in SCORE_INITS:
        yield f"scores {init}", scores(init, num=12, seed=11, parameter=3).numpy().astype("<f4").tobytes().hex()
    touched = redraw_mask(64, 0.3, seed=11, draw=2, parameter=3, device=None)
    yield "chosen 0.3", "".join(str(int(bit)) for bit in touched)


def test_bits_are_the_kept_ones() -> None:
    assert dict(golden()) == json.loads(GOLDEN.read_text()), "numbers of every result change: see the module docstring"


def test_a_value_is_its_word_by_its_formula() -> None:
    """Each number from its own word, in Python floats; float32 rounds the bound and the product."""
    where = {"seed": 9, "draw": 4, "parameter": 6}
    word = [slow_word(i, stream=0, **where) for i in range(50)]
    score_word = [slow_word(i, stream=1, draw=0, seed=9, parameter=6) for i in range(50)]
    uniform = [((w >> 8) - 2**23) / 2**23 for w in word]
    slow = {
        "kaiming_uniform": [u * math.sqrt(6 / FAN_IN) for u in uniform],
        "signed_constant": [math.copysign(math.sqrt(2 / FAN_IN), w - 2**31 + 0.5) for w in word],
        "kaiming_normal": [stats.norm.ppf((w + 0.5) / 2**32) * math.sqrt(2 / FAN_IN) for w in word],
    }
    for distribution in DISTRIBUTIONS:
        expected = torch.tensor(slow[distribution], dtype=torch.float64)
        got = values(distribution, num=50, **where)
        torch.testing.assert_close(got.double(), expected, rtol=2**-22, atol=0)
        torch.testing.assert_close(
            values(distribution, num=50, dtype=torch.float64, **where), expected, rtol=1e-13, atol=0
        )
    for init, bound in BOUNDS.items():
        expected = torch.tensor([((w >> 8) - 2**23) / 2**23 * bound for w in score_word], dtype=torch.float64)
        got = scores(init, num=50, seed=9, parameter=6)
        torch.testing.assert_close(got.double(), expected, rtol=2**-22, atol=0)


def fills() -> list[tuple[str, Callable[[Tensor], Tensor]]]:
    drawn = [
        (name, lambda out, name=name: draw_values_(out, name, fan_in=FAN_IN, seed=1, draw=1, parameter=2))
        for name in DISTRIBUTIONS
    ]
    return drawn + [
        (f"scores {name}", lambda out, name=name: draw_scores_(out, name, fan_in=FAN_IN, seed=1, parameter=2))
        for name in SCORE_INITS
    ]


@pytest.mark.parametrize(("name", "fill"), fills())
def test_memory_format_changes_nothing(name: str, fill: Callable[[Tensor], Tensor]) -> None:
    shape = (6, 5, 3, 3)
    plain = fill(torch.empty(shape))
    channels_last = torch.empty(shape, memory_format=torch.channels_last)
    strided = torch.empty(6, 5, 3, 6)[..., ::2]
    for out in (channels_last, strided):
        stride = out.stride()
        assert fill(out) is out
        assert out.stride() == stride
        assert torch.equal(out, plain)


@pytest.mark.parametrize(("name", "fill"), fills())
@pytest.mark.parametrize("num", [1, 65_535, 65_536, 65_537, 131_072 + 3])
def test_chunk_borders_change_nothing(name: str, fill: Callable[[Tensor], Tensor], num: int) -> None:
    assert torch.equal(fill(torch.empty(num)), LONG.setdefault(name, fill(torch.empty(140_000)))[:num])


LONG: dict[str, Tensor] = {}


@pytest.mark.parametrize("num", [65_535, 65_536, 65_537, 131_072 + 3])
def test_values_past_a_chunk_border_are_their_words(num: int) -> None:
    """The comparison above could share a fault at a border; this one takes the words at once."""
    word = random_words(num, seed=1, stream=Stream.VALUES, draw=1, parameter=2)
    sign = torch.where(word >= 2**31, 1.0, -1.0)
    assert torch.equal(values("signed_constant", num=num, seed=1, draw=1, parameter=2).sign(), sign)


@pytest.mark.parametrize("name", ["kaiming_uniform", "fan_in_uniform"])
def test_uniform(name: str) -> None:
    drawn = [scores(name)] + ([values(name)] if name in DISTRIBUTIONS else [])
    bound = BOUNDS[name]
    for sample in drawn:
        assert bound * 0.999 < sample.abs().max() <= torch.tensor(bound)
        check_moments(sample, variance=bound**2 / 3, fourth=bound**4 / 5)
        assert stats.kstest(sample.double().numpy(), stats.uniform(-bound, 2 * bound).cdf).pvalue > UNLIKELY


def test_normal() -> None:
    sample, variance = values("kaiming_normal"), 2 / FAN_IN
    check_moments(sample, variance=variance, fourth=3 * variance**2)
    assert stats.kstest(sample.double().numpy(), stats.norm(0, math.sqrt(variance)).cdf).pvalue > UNLIKELY


def test_signed_constant() -> None:
    sample = values("signed_constant")
    assert set(sample.abs().tolist()) == {torch.tensor(math.sqrt(2 / FAN_IN)).item()}
    assert stats.binomtest(int((sample > 0).sum()), MANY).pvalue > UNLIKELY


def check_moments(sample: Tensor, *, variance: float, fourth: float) -> None:
    """Mean 0 and the variance, each within 4 standard errors."""
    sample = sample.double()
    assert sample.mean().abs() < 4 * math.sqrt(variance / MANY)
    assert (sample.square().mean() - variance).abs() < 4 * math.sqrt((fourth - variance**2) / MANY)


@pytest.mark.parametrize("prob", [0.0, 2**-32, 0.1, 0.5, 1.0])
def test_chosen_is_the_comparison_with_the_word(prob: float) -> None:
    word = random_words(MANY, seed=1, stream=Stream.REDRAW, draw=2, parameter=3)
    got = redraw_mask(MANY, prob, seed=1, draw=2, parameter=3, device=None)
    assert got.dtype == torch.bool
    assert torch.equal(got, word.double() < prob * 2.0**32)
    assert stats.binomtest(int(got.sum()), MANY, prob).pvalue > UNLIKELY


def test_chosen_at_the_border() -> None:
    """A word is below the next number and not below itself: both are exact as probabilities."""
    word = random_words(20, seed=1, stream=Stream.REDRAW, draw=2, parameter=3).tolist()
    for i, number in enumerate(word):
        for border, expected in ((number, False), (number + 0.5, True), (number + 1, True)):
            assert redraw_mask(20, border / 2**32, seed=1, draw=2, parameter=3, device=None)[i].item() is expected


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_values_in_other_dtypes(distribution: str) -> None:
    """bfloat16 is the float32 number rounded; float64 agrees with float32 to its precision."""
    single = values(distribution, num=1_000)
    assert torch.equal(values(distribution, num=1_000, dtype=torch.bfloat16), single.bfloat16())
    double = values(distribution, num=1_000, dtype=torch.float64)
    torch.testing.assert_close(double.float(), single, rtol=2**-22, atol=0)
    if distribution != "signed_constant":
        assert not torch.equal(double, single.double())  # computed in float64, not cast up


@pytest.mark.parametrize("init", SCORE_INITS)
def test_scores_in_float64(init: str) -> None:
    double = scores(init, num=1_000, dtype=torch.float64)
    torch.testing.assert_close(double.float(), scores(init, num=1_000), rtol=2**-22, atol=0)


@pytest.mark.parametrize("init", SCORE_INITS)
def test_scores_in_bfloat16(init: str) -> None:
    assert torch.equal(scores(init, num=1_000, dtype=torch.bfloat16), scores(init, num=1_000).bfloat16())


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "fill"), fills())
def test_a_gpu_draws_the_same_bits(name: str, fill: Callable[[Tensor], Tensor]) -> None:
    assert torch.equal(fill(torch.empty(70_001, device=DEVICE)).cpu(), fill(torch.empty(70_001)))


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(dict(golden()), indent=1) + "\n")
