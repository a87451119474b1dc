"""Training transforms, batched on the device: padding, (resized) crops and flips as two small matrix products.

Which crop an image gets is drawn on the CPU, in float64, from words that belong to that image: a pure function of
(seed, epoch, image index), equal on every rank and device. A crop is then two matrices: pixel (o, p) of the first is
the weight of row p of the unpadded image in row o of the result, the second does the same for columns. Padding has
weights but no pixels, so it is never made; a flip is the column matrix upside down.

The protocol ("The protocol" in ``docs/explanation/methods.md``) uses torchvision's RandomResizedCrop with antialias,
without the rounding of the result to uint8. Source of the rule: `torchvision.transforms.RandomResizedCrop.get_params`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from suite.methods.random import Stream, random_words

PADDING = 4  # pixels of zero (raw, before normalization) on each side
AREA = (0.08, 1.0)  # of the padded image
RATIO = (3 / 4, 4 / 3)  # width / height, log-uniform

_TRIES = 10
_WORDS = 32  # reserved per image: area and ratio of each try, then top, left, flip; the rest is unused
_TOP, _LEFT, _FLIP = 2 * _TRIES, 2 * _TRIES + 1, 2 * _TRIES + 2
_CHUNK = 2048  # images at once: the temporaries stay in the cache


@dataclass(frozen=True)
class Boxes:
    """One crop per image, in pixels of the padded image: int64 (N,) each, and flip bool (N,)."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor


def random_resized_crop_boxes(word: Tensor, size: int) -> Boxes:
    """Random resized crops of square images of `size` pixels a side, from `word`: int64 (N, 32), on the CPU.

    The first of ten tries that fits is taken; if none fits, the whole padded image, which is torchvision's central
    fallback for a square.
    """
    padded = size + 2 * PADDING
    uniform = word[:, : 2 * _TRIES].double() / 2**32
    area = padded**2 * (AREA[0] + (AREA[1] - AREA[0]) * uniform[:, 0::2])
    ratio = torch.exp(math.log(RATIO[0]) + math.log(RATIO[1] / RATIO[0]) * uniform[:, 1::2])
    sides = torch.stack((area / ratio, area * ratio)).sqrt().round().long()  # heights and widths, (2, N, tries)
    fits = ((sides > 0) & (sides <= padded)).all(0)
    first = fits.int().argmax(1)  # argmax returns the first of equal values
    height, width = sides.gather(2, first.expand(2, -1)[..., None])[..., 0].where(fits.any(1), padded)
    return _placed(word, padded, height, width)


def crop_boxes(word: Tensor, size: int) -> Boxes:
    """Crops of the images' own size out of the padded image, as usual for CIFAR. See `random_resized_crop_boxes`."""
    side = torch.full_like(word[:, 0], size)
    return _placed(word, size + 2 * PADDING, side, side)


def _placed(word: Tensor, padded: int, height: Tensor, width: Tensor) -> Boxes:
    top = word[:, _TOP] * (padded - height + 1) >> 32  # uniform on 0 to padded - height
    left = word[:, _LEFT] * (padded - width + 1) >> 32
    return Boxes(top, left, height, width, word[:, _FLIP] >= 2**31)


BOXES: dict[str, Callable[[Tensor, int], Boxes]] = {"protocol": random_resized_crop_boxes, "crop": crop_boxes}


def draw_boxes(name: str, num: int, *, size: int, seed: int, epoch: int) -> Boxes:
    """The crops by `BOXES[name]` of images 0 to `num` - 1, of `size` pixels a side, in one epoch; on the CPU."""
    parts = []
    for start in range(0, num, _CHUNK):
        count = min(_CHUNK, num - start) * _WORDS
        word = random_words(count, seed=seed, stream=Stream.AUGMENTATION, draw=epoch, parameter=0, start=start * _WORDS)
        parts.append(vars(BOXES[name](word.view(-1, _WORDS), size)).values())
    return Boxes(*map(torch.cat, zip(*parts, strict=True)))


class Augmentation:
    """A transform of square images of `size` pixels a side, on one device.

    Args:
        name: a key of `BOXES`.
        size: pixels a side.
        device: where images are; the boxes are drawn on the CPU all the same.
    """

    def __init__(self, name: str, size: int, device: torch.device | str) -> None:
        self._name = name
        self._size = size
        self._matrices = crop_matrices(size).to(device)

    def plan(self, num: int, *, seed: int, epoch: int) -> Tensor:
        """What `__call__` takes: the matrix numbers of rows and columns of images 0 to `num` - 1, int64 (2, num)."""
        boxes = draw_boxes(self._name, num, size=self._size, seed=seed, epoch=epoch)
        return matrix_numbers(boxes, self._size).to(self._matrices.device)

    def __call__(self, images: Tensor, plan: Tensor) -> Tensor:
        """The crops of `images` (B, C, H, W), raw and of any dtype: float32 in the same units and shape.

        Args:
            images: what is cropped, square, of the size given to the constructor.
            plan: the columns of `plan()` of these images, int64 (2, B).
        """
        batch, channels, size, _ = images.shape
        rows, columns = self._matrices[plan[0]], self._matrices[plan[1]]
        with torch.autocast(images.device.type, enabled=False):  # pixels are not to be rounded to bfloat16
            wide = images.float().view(batch, channels * size, size).bmm(columns.mT)
            return rows[:, None] @ wide.view(batch, channels, size, size)


def matrix_numbers(boxes: Boxes, size: int) -> Tensor:
    """Where the matrices of `boxes` stand in `crop_matrices(size)`: int64 (2, N), rows first."""
    positions = size + 2 * PADDING + 1
    rows = boxes.height * positions + boxes.top
    columns = (boxes.flip * positions + boxes.width) * positions + boxes.left
    return torch.stack((rows, columns))


def crop_matrices(size: int) -> Tensor:
    """The matrices of all crops along one side: float32 (2 * (P + 1)**2, size, size), P = size + 8, on the CPU.

    Number (flip * (P + 1) + length) * (P + 1) + start stretches pixels `start` to `start + length - 1` of the padded
    side to `size` pixels by the triangle filter, widened by the scale when shrinking (antialias); weights sum to 1
    before those of padding are left out. Numbers that are no crop inside the side are never used.
    """
    padded = size + 2 * PADDING
    pixel = torch.arange(padded, dtype=torch.float64)
    out = torch.arange(size, dtype=torch.float64)
    length = torch.arange(padded + 1, dtype=torch.float64).clamp(min=1)[:, None, None, None]
    start = torch.arange(padded + 1, dtype=torch.float64)[:, None, None]
    scale = length / size
    distance = pixel + 0.5 - (start + (out[:, None] + 0.5) * scale)
    inside = (pixel >= start) & (pixel < start + length)
    weight = (1 - distance.abs() / scale.clamp(min=1)).clamp(min=0) * inside
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    matrices = weight[..., PADDING:-PADDING].float().flatten(0, 1)
    return torch.cat((matrices, matrices.flip(1)))
