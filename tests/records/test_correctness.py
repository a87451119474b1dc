"""Which test images were right: kept for test sets of every size, and read from records of every version."""

import numpy as np
import pytest

from suite.records import SMALL_TEST, correctness


@pytest.mark.parametrize("num", [1, 360, SMALL_TEST - 1, SMALL_TEST, 10_000, 50_001])
def test_every_image_comes_back(num: int) -> None:
    correct = np.random.default_rng(num).random(num) < 0.9
    assert (correctness.decode(correctness.encode(correct.tolist()), num) == correct).all()


def test_records_of_earlier_versions_are_in_hexadecimal() -> None:
    assert correctness.decode("a8c0", 10).tolist() == [True, False, True, False, True, False, False, False, True, True]
    assert correctness.encode([True, False, True]) == "a0"  # few images are still written so


def test_what_a_large_test_set_adds_to_a_record() -> None:
    """1.7 KB for CIFAR-10, 8.4 KB for ImageNet."""
    assert len(correctness.encode([True] * 10_000)) < 1_700
    assert len(correctness.encode([True] * 50_000)) < 8_400
