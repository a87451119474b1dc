"""Which test images a network got right, as text in its record: a bit an image, the first highest."""

import base64
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from suite.records.files import SMALL_TEST

_BASE64 = "base64:"  # before it; without it the text is hexadecimal


def encode(correct: Sequence[bool]) -> str:
    """In hexadecimal where images are few, else as base64: 8 KB for 50,000 images."""
    packed = np.packbits(correct).tobytes()
    return packed.hex() if len(correct) < SMALL_TEST else _BASE64 + base64.b64encode(packed).decode()


def decode(text: str, num_images: int) -> npt.NDArray[np.bool_]:
    """Shape (num_images,)."""
    coded = text.removeprefix(_BASE64)
    packed = bytes.fromhex(text) if coded == text else base64.b64decode(coded)
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=num_images).astype(bool)
