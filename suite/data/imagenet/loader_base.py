"""What the loaders of ImageNet have in common, whatever decodes the images."""

import os
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.config import ImageNetSettings
from suite.data.arrays import batch_order, rank_batch_slices
from suite.data.interface import SplitName
from suite.data.sources import Ints
from suite.machine import num_cpus

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, as every code has them
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of random resized crops: share of the image, width / height


class BaseImageNetData:
    """A `Data` of which only the batches are missing.

    Args:
        settings: of the dataset.
        sizes: images of each split.
        num_classes: labels are below it.
        data_id: 16 hex digits of all this.
        train_id: the same, without the test set.
    """

    in_channels = 3
    eval_batch_size = 250

    def __init__(
        self, settings: ImageNetSettings, sizes: dict[SplitName, int], num_classes: int, data_id: str, train_id: str
    ) -> None:
        self.settings, self.num_classes = settings, num_classes
        self.data_id, self.train_id = data_id, train_id
        self.image_size = settings.image_size
        self._sizes = sizes

    def num_images(self, split: SplitName) -> int:
        """Images of a split."""
        return self._sizes[split]

    def num_epoch_images(self, batch_size: int) -> int:
        """As many as make whole batches: the short last one is dropped."""
        return self._sizes["train"] // batch_size * batch_size

    def _empty_batches(
        self, split: SplitName, batch_size: int, *, rank: int, world_size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Those at the end of a rank's share, with which it has as many batches as the other ranks."""
        images = torch.empty((0, self.in_channels, self.image_size, self.image_size), device=device)
        for part in rank_batch_slices(self.num_images(split), batch_size, rank=rank, world_size=world_size):
            if part.stop == part.start:
                yield images, torch.empty(0, dtype=torch.int64, device=device)

    def resume_conditions(self, seed: int, batch_size: int, world_size: int) -> dict[str, str]:
        """Nothing: the position says where an epoch stands."""
        return {}

    def state(self) -> bytes:
        """Nothing: as `stream`."""
        return b""

    def restore(self, state: bytes) -> None:
        """Nothing is needed: as `stream`."""


def rank_batches(
    images: Ints, *, seed: int, epoch: int, batch_size: int, rank: int, world_size: int
) -> NDArray[np.int64]:
    """A rank's share of the whole batches of an epoch: int64 (batches, batch_size / world_size), out of ``images``.

    The order is a permutation of all images, new in each epoch; a batch has the same images for any number of ranks.
    """
    num = len(images) // batch_size
    order = batch_order(len(images), seed=seed, epoch=epoch).numpy()[: num * batch_size]
    share: NDArray[np.int64] = images[order].reshape(num, batch_size)[:, rank::world_size]
    return share


def num_threads(settings: ImageNetSettings, cpus: float | None) -> int:
    """Threads that decode for this process: as set, else its share of the CPUs that it may use, at most ``cpus``."""
    if settings.loader_threads is not None:
        return settings.loader_threads
    here = num_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(here, int(cpus or here)))
