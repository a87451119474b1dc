"""DALI's decoder for one image at a time, on the CPU, as the DALI loader decodes. No torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia import dali
from nvidia.dali import fn, types

Pixels = NDArray[np.uint8]
AS_PILLOW = {"output_type": types.RGB, "adjust_orientation": False}  # Pillow does not turn images as EXIF says, either


class DaliDecoder:
    """A pipeline that decodes what it is given."""

    def __init__(self) -> None:
        self._content = b""
        self._pipeline: Any = None

    def decode(self, content: bytes) -> Pixels:
        """The pixels of an encoded image: uint8 (H, W, 3).

        Raises:
            RuntimeError: DALI cannot decode it, or finds another size in its header.
        """
        self._content = content
        if self._pipeline is None:
            self._pipeline = dali.pipeline_def(self._define)(
                batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1
            )
            self._pipeline.build()
        try:
            pixels, shape = (np.array(output[0]) for output in self._pipeline.run())
        except RuntimeError:
            self._pipeline = None  # it is of no use after an error
            raise
        if pixels.shape != tuple(shape):  # the loader resizes by the header
            raise RuntimeError(f"its header says {tuple(shape)}, its pixels are {pixels.shape}")
        return pixels

    def _define(self) -> tuple[Any, Any]:
        encoded = fn.external_source(lambda: [np.frombuffer(self._content, dtype=np.uint8)], device="cpu")
        pixels = fn.decoders.image(encoded, device="cpu", **AS_PILLOW)
        return pixels, fn.peek_image_shape(encoded, adjust_orientation=False)
