"""Data sets: `prepare` once, before trials are queued; `load` in each trial, which gives it a `Data`.

Files are looked for in `data_dir`, else in $SUITE_DATA, else in `data`, laid out as torchvision.datasets does.
`digits` needs none; `fashion_mnist` is also found where Debian's package dataset-fashion-mnist puts it. `imagenet` is
a tree of class folders, or shards made of one: see `suite.data.scan` and `suite.data.pack`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from suite.config import Dataset, ImageNetSettings

if TYPE_CHECKING:  # torch is only needed by load
    import torch

SplitName = Literal["train", "val", "test"]


class Data(Protocol):
    """What a trial trains and is evaluated on, as one of its processes sees it.

    Batches are (images float (B, C, H, W), normalized; labels int64 (B,)), on the training device. An epoch is a pure
    function of the seed, its number and the sizes, with two exceptions: augmentation by DALI depends on the number of
    ranks too, and a place inside an epoch is found again with the help of `state`.
    """

    @property
    def num_classes(self) -> int:
        """Labels are 0 to num_classes - 1."""

    @property
    def image_size(self) -> int:
        """Pixels a side; images are square."""

    @property
    def in_channels(self) -> int:
        """Colours of a pixel: 1 or 3."""

    @property
    def data_id(self) -> str:
        """16 hex digits that change with any image, label or split."""

    @property
    def eval_batch_size(self) -> int:
        """Images at once in an evaluation: fixed, for another number could change the last bits of a loss."""

    def num_images(self, split: SplitName) -> int:
        """Images of a split."""

    def epoch_images(self, batch_size: int) -> int:
        """Images that an epoch of training takes: all, or as many as make whole batches of `batch_size`."""

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, *, first: int = 0, rank: int = 0, world_size: int = 1
    ) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
        """This rank's share of each batch of an epoch, from batch `first` on; `batch_size` is over all ranks."""

    def batches(
        self, split: SplitName, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
        """This rank's contiguous share of a split, in order; as many batches on each rank, some perhaps empty."""

    def stream(self, seed: int, batch_size: int, world_size: int) -> dict[str, str]:
        """What must be the same for `state` to be of use: empty where the position alone says how to go on."""

    def state(self) -> bytes:
        """Where training stands inside its epoch, for `restore`; b"" where the position alone says it."""

    def restore(self, state: bytes) -> None:
        """Let the next `train_batches` go on from there."""


def prepare(settings: Dataset, *, data_dir: Path | None, download: bool) -> None:
    """Make sure that `load` will find the files, whole; fetch them first if `download`.

    Raises:
        InputError: files are missing or corrupt, or the download failed; it names the folder and the cures. Or there
            are fewer training images than the settings say.
    """
    from suite.data import sources

    if isinstance(settings, ImageNetSettings):
        from suite.data import imagenet

        imagenet.check(settings, folder(data_dir))
        return
    if download:
        sources.download(settings.name, folder(data_dir))
    if settings.train_images is None:
        sources.check(settings.name, folder(data_dir))
    else:
        sources.limited(sources.read(settings.name, folder(data_dir)), settings.train_images)


def load(
    settings: Dataset,
    *,
    data_dir: Path | None,
    device: "torch.device | str",
    channels_last: bool = False,
    cpus: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Data:
    """The data set `settings.name`, its batches on `device`.

    Args:
        settings: which data, and how they are read.
        data_dir: where data sets lie.
        device: where batches are wanted.
        channels_last: how images should lie in memory, where the loader can choose.
        cpus: those of this process, where it may not take all.
        should_stop: asked where something takes long.

    Raises:
        InputError: as `prepare`.
        Stopped: as asked.
    """
    if isinstance(settings, ImageNetSettings):
        from suite.data import loaders

        return loaders.make(
            settings,
            folder(data_dir),
            device=device,
            channels_last=channels_last,
            cpus=cpus,
            should_stop=should_stop,
        )
    from suite.data import sources
    from suite.data.arrays import ArrayData

    source = sources.read(settings.name, folder(data_dir))
    if settings.train_images is not None:
        source = sources.limited(source, settings.train_images)
    return ArrayData.build(source, augment=settings.augment, device=device)


def folder(data_dir: Path | None) -> Path:
    """Where files are looked for."""
    return Path(data_dir or os.environ.get("SUITE_DATA") or "data").expanduser().absolute()
