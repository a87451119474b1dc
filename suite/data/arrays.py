"""Data sets that fit in memory: the whole set on the training device, batches by indexing.

The order of a training epoch and its augmentation are pure functions of (seed, epoch) and (seed, epoch, image index)
("Random numbers" in ``docs/explanation/methods.md``), so a resumed run, another rank and another device see the
same batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from suite.data.augment import Augmentation
from suite.data.interface import SplitName
from suite.data.sources import RawDataset, data_id
from suite.methods.random import Stream, random_words

_GATHERED_BYTES = 2**20  # of images that wait for their step
_CACHE_LINE = 64  # bytes


@dataclass(frozen=True)
class Split:
    """Raw images uint8 (N, C, H, W) and labels int64 (N,), on the training device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ArrayData:
    """A data set in memory, and its batches.

    Attributes:
        num_classes: labels are 0 to num_classes - 1.
        image_size: pixels a side; images are square.
        in_channels: 1 or 3.
        data_id: 16 hex digits that change with any image, label or split.
        train, val, test: the splits.
        augmentation: the transform of training images, or None.
        mean, std: per channel, of the raw pixels of `train`: float32 (C, 1, 1).
        eval_batch_size: see `Data`.
    """

    num_classes: int
    image_size: int
    in_channels: int
    data_id: str
    train: Split
    val: Split
    test: Split
    augmentation: Augmentation | None
    mean: Tensor
    std: Tensor
    eval_batch_size: int = 1000

    @property
    def train_id(self) -> str:
        """That of all splits: they come from one source."""
        return self.data_id

    @classmethod
    def build(cls, source: RawDataset, *, augment: str, device: torch.device | str) -> "ArrayData":
        """Put `source` on `device`. `augment`: "none", or a key of `augment.BOXES`."""
        train, val, test = (_split(source, name, device) for name in ("train", "val", "test"))
        channels, size = source.images.shape[1:3]
        mean, std = channel_statistics(train.images)
        return cls(
            num_classes=source.num_classes,
            image_size=size,
            in_channels=channels,
            data_id=data_id(source),
            augmentation=None if augment == "none" else Augmentation(augment, size, device),
            mean=mean,
            std=std,
            train=train,
            val=val,
            test=test,
        )

    def num_images(self, split: SplitName) -> int:
        """Images of a split."""
        return len(getattr(self, split))

    def num_epoch_images(self, batch_size: int) -> int:
        """All training images."""
        return len(self.train)

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, *, first: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch: (images float32 (B, C, H, W), normalized and augmented; labels int64 (B,)).

        Every training image comes once; the short last batch is kept.

        Args:
            seed: the trial's; below 2^32.
            epoch: from 0.
            batch_size: of the whole batch, over all ranks.
            first: the batch to begin with, from 0.
            rank: yields this one's share of each batch, which may be empty in the last.
            world_size: each share is every world_size-th image of the batch, so sizes differ by 1 at most.
        """
        order = batch_order(len(self.train), seed=seed, epoch=epoch).to(self.train.labels.device)
        shares = [batch[rank::world_size] for batch in torch.split(order, batch_size)[first:]]
        if self.augmentation is None:
            yield from self._gathered(shares)
            return
        plan = self.augmentation.plan(len(order), seed=seed, epoch=epoch)
        for share in shares:
            images = self.augmentation(self.train.images[share], plan[:, share])
            yield self._normalized(images), self.train.labels[share]

    def batches(
        self, split: SplitName, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A split in order, normalized, not augmented: (images float32, labels).

        Each rank has a contiguous share, in as many batches as the others: the last may be short, or empty.
        """
        of_split: Split = getattr(self, split)
        for batch in rank_batch_slices(len(of_split), batch_size, rank=rank, world_size=world_size):
            yield self._normalized(of_split.images[batch]), of_split.labels[batch]

    def resume_conditions(self, seed: int, batch_size: int, world_size: int) -> dict[str, str]:
        """Nothing: order and crops are pure functions of (seed, epoch)."""
        return {}

    def state(self) -> bytes:
        """Nothing: as `stream`."""
        return b""

    def restore(self, state: bytes) -> None:
        """Nothing is needed: as `stream`."""

    def _gathered(self, shares: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of normalized training images, of some MB at once: small ones would take longer to ask for."""
        num = self._num_at_once(len(shares[0])) if shares else 1
        for start in range(0, len(shares), num):
            some = shares[start : start + num]
            indices, sizes = torch.cat(some), [len(share) for share in some]
            images, labels = self._normalized_train[indices], self.train.labels[indices]
            yield from zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)

    def _num_at_once(self, batch_size: int) -> int:
        """How many batches to gather in one memory; 1 where a batch would not begin on a cache line, as by itself."""
        num_bytes = batch_size * self._normalized_train[0].nbytes
        return 1 if num_bytes % _CACHE_LINE else max(1, _GATHERED_BYTES // max(num_bytes, 1))

    def _normalized(self, images: Tensor) -> Tensor:
        return (images - self.mean).div_(self.std)

    @cached_property
    def _normalized_train(self) -> Tensor:
        """Made once, where nothing else is done to a training image: then a batch is one indexing."""
        return self._normalized(self.train.images)


def rank_batch_slices(num: int, batch_size: int, *, rank: int, world_size: int) -> Iterator[slice]:
    """The batches of a rank's contiguous share in `num` images: as many as the others', the last ones perhaps empty."""
    start, end = shard_range(num, rank=rank, world_size=world_size)
    longest = -(-num // world_size)
    for first in range(start, start + longest, batch_size):
        yield slice(min(first, end), min(first + batch_size, end))


def shard_range(num: int, *, rank: int, world_size: int) -> tuple[int, int]:
    """Where the share of a rank in `num` images begins and ends: shares differ by 1 at most, and leave none out."""
    return num * rank // world_size, num * (rank + 1) // world_size


def batch_order(num: int, *, seed: int, epoch: int) -> Tensor:
    """The order of `num` training images in one epoch: a permutation, int64 (num,), drawn on the CPU."""
    return random_words(num, seed=seed, stream=Stream.BATCH_ORDER, draw=epoch, parameter=0).argsort(stable=True)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel of uint8 images (N, C, H, W): float32 (C, 1, 1) each, on their device.

    Counts of the 256 values are exact, so the result depends on no order of summation. A constant channel has std 1.
    """
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.cpu().unbind(1)])
    counts = counts.double()
    value = torch.arange(256, dtype=torch.float64)
    num = counts.sum(1, keepdim=True)
    mean = (counts * value).sum(1, keepdim=True) / num
    std = ((counts * (value - mean).square()).sum(1, keepdim=True) / num).sqrt()
    std[std == 0] = 1.0
    return mean[..., None].to(images.device, torch.float32), std[..., None].to(images.device, torch.float32)


def _split(source: RawDataset, name: str, device: torch.device | str) -> Split:
    indices = source.splits[name]
    return Split(*(torch.from_numpy(array[indices]).to(device) for array in (source.images, source.labels)))
