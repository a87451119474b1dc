"""Data sets: `prepare` once, before trials are queued; `load` in each trial, which gives it a `Data`.

Files are looked for in `data_dir`, else in $SUITE_DATA, else in `data`, laid out as torchvision.datasets does.
`digits` needs none; `fashion_mnist` is also found where Debian's package dataset-fashion-mnist puts it. `imagenet` is
a tree of class folders, or shards made of one: see `suite.data.imagenet.scan` and `suite.data.imagenet.pack`. `arrays`
and `folder` read images of the user's own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from suite.config import Dataset, ImageNetSettings
from suite.config.data_dir import resolve_data_dir
from suite.data.interface import Data, SplitName

if TYPE_CHECKING:  # torch is only needed by load
    import torch

__all__ = ["Data", "SplitName", "load", "prepare", "resolve_data_dir"]


def prepare(settings: Dataset, *, data_dir: Path | None, download: bool) -> None:
    """Make sure that `load` will find the files, whole; fetch them first if `download`.

    Raises:
        InputError: files are missing or corrupt, or the download failed; it names the folder and the cures. Or there
            are fewer training images than the settings say.
    """
    from suite.data import plugin_reader, sources

    if isinstance(settings, ImageNetSettings):
        from suite.data.imagenet import tree

        tree.check(settings, resolve_data_dir(data_dir))
        return
    if (reader := plugin_reader.reader_of(settings)) is not None:
        source = plugin_reader.read(settings, reader, resolve_data_dir(data_dir))
        if settings.train_images is not None:
            sources.subsample_train(source, settings.train_images)
        return
    if download:
        sources.download(settings.name, resolve_data_dir(data_dir))
    if settings.train_images is None:
        sources.check(settings.name, resolve_data_dir(data_dir))
    else:
        sources.subsample_train(sources.read(settings.name, resolve_data_dir(data_dir)), settings.train_images)


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
        from suite.data.imagenet import loaders

        return loaders.make(
            settings,
            resolve_data_dir(data_dir),
            device=device,
            channels_last=channels_last,
            cpus=cpus,
            should_stop=should_stop,
        )
    from suite.data import plugin_reader, sources
    from suite.data.arrays import ArrayData

    folder, reader = resolve_data_dir(data_dir), plugin_reader.reader_of(settings)
    source = sources.read(settings.name, folder) if reader is None else plugin_reader.read(settings, reader, folder)
    if settings.train_images is not None:
        source = sources.subsample_train(source, settings.train_images)
    return ArrayData.build(source, augment=getattr(settings, "augment", "none"), device=device)
