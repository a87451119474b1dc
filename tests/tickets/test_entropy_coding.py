"""Long sections: their lengths are what symbols of such counts take, and are told from those that cannot be."""

import numpy as np
import pytest

from suite.tickets import entropy_coding

NUM = 1 << 23


@pytest.mark.slow
@pytest.mark.parametrize("shares", [(0.6, 0.4), (0.999, 0.001), (1 - 1e-6, 1e-6), (0.5, 0.5), (0.9, *[0.001] * 100)])
def test_a_long_section(shares: tuple[float, ...]) -> None:
    """Of eight million symbols, as one layer of a large network has."""
    symbols = np.random.default_rng(1).choice(len(shares), NUM, p=shares).astype(np.int32)
    counts = np.bincount(symbols, minlength=len(shares)).tolist()
    form, data = entropy_coding.encode(symbols, counts)
    entropy_coding.check_length(form, len(data), counts)
    assert len(data) <= NUM * entropy_coding.bits_of(counts) / 8
    assert (
        entropy_coding.entropy_bytes(counts) - 16
        <= len(data)
        <= entropy_coding.entropy_bytes(counts) + 2e-4 * NUM / 8 + 16
    )
    assert np.array_equal(np.concatenate(list(entropy_coding.decode(form, data, counts))), symbols)
    for wrong in (len(data) - len(data) // 50 // 4 * 4 - 64, len(data) + len(data) // 20 // 4 * 4 + 8192):
        with pytest.raises(entropy_coding.CorruptData):
            entropy_coding.check_length(form, wrong, counts)
    with pytest.raises(entropy_coding.CorruptData):
        entropy_coding.check_length("none", 0, counts)


@pytest.mark.parametrize("shares", [(0.6, 0.4), (0.99, 0.01), (0.7, 0.1, 0.1, 0.1)])
def test_the_loss_of_the_coder_against_its_bound(shares: tuple[float, ...]) -> None:
    """Sections of all lengths are taken for what they are."""
    random = np.random.default_rng(2)
    for num in random.integers(2, 200_000, 60):
        symbols = random.choice(len(shares), num, p=shares).astype(np.int32)
        counts = np.bincount(symbols, minlength=len(shares)).tolist()
        form, data = entropy_coding.encode(symbols, counts)
        entropy_coding.check_length(form, len(data), counts)
