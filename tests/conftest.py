"""What every test may use, and which tests this machine can run.

A test that needs something the machine may lack carries its marker and is skipped with the reason. Names in
$SUITE_REQUIRE (with commas between) must be there: their tests then fail instead.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "chromium": (lambda: shutil.which("chromium") is not None, "no chromium (Debian package chromium)"),
    "fashion_mnist": (FASHION_MNIST.exists, "no Fashion-MNIST (Debian package dataset-fashion-mnist)"),
    "gpu": (torch.cuda.is_available, "torch sees no CUDA GPU"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = os.environ.get("SUITE_REQUIRE", "").split(",")
    for marker, (there, reason) in NEEDS.items():
        if item.get_closest_marker(marker) and not there():
            (pytest.fail if marker in required else pytest.skip)(reason)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parents[1]
