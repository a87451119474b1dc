"""Images that cost nothing to load, to see what the trainer can do by itself: one batch of noise, again and again."""

from collections.abc import Iterator

import torch
from torch import Tensor

from suite.config import ImageNetSettings
from suite.data.arrays import rank_batch_slices
from suite.data.imagenet.loader_base import BaseImageNetData
from suite.data.interface import SplitName

_NUM_CLASSES = 1000
_TRAIN_AND_VAL, _TEST = 1_281_167, 50_000  # of ImageNet
_DATA_ID = "5ca1ab1e00000000"  # no data


class SyntheticData(BaseImageNetData):
    """As many images as ImageNet has, or ``settings.num_images`` to train and validate, and as many to test as to
    validate.
    """

    def __init__(self, settings: ImageNetSettings, *, device: torch.device, channels_last: bool) -> None:
        num = settings.num_images or _TRAIN_AND_VAL
        val = max(1, round(num * settings.val_share))
        sizes: dict[SplitName, int] = {"train": num - val, "val": val, "test": val if settings.num_images else _TEST}
        super().__init__(settings, sizes, _NUM_CLASSES, _DATA_ID, _DATA_ID)
        self._device = device
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, *, first: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The same share of a batch as often as an epoch has batches."""
        batch = self._noise(batch_size // world_size)
        for _ in range(first, self.num_images("train") // batch_size):
            yield batch

    def batches(
        self, split: SplitName, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batch, or what is left of it at the end."""
        images, labels = self._noise(batch_size)
        for part in rank_batch_slices(self.num_images(split), batch_size, rank=rank, world_size=world_size):
            num = part.stop - part.start
            yield images[:num], labels[:num]

    def _noise(self, num: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(num)
        shape = (num, self.in_channels, self.image_size, self.image_size)
        dtype = torch.float16 if self.settings.output == "fp16" else torch.float32
        images = torch.randn(shape, generator=generator).to(self._device, dtype, memory_format=self._format)
        return images, torch.randint(_NUM_CLASSES, (num,), generator=generator).to(self._device)
