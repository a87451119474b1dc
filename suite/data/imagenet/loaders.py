"""From settings to the loader that they name."""

from collections.abc import Callable
from pathlib import Path

import torch

from suite.config import ImageNetSettings
from suite.data.imagenet import tree
from suite.data.imagenet.dali_sources import ShardSource, Source, TreeSource
from suite.data.imagenet.loader_base import num_threads
from suite.data.interface import Data


def make(
    settings: ImageNetSettings,
    data: Path,
    *,
    device: torch.device | str,
    channels_last: bool,
    cpus: float | None = None,
    should_stop: Callable[[], bool],
) -> Data:
    """The images of a tree or of shards, through DALI or torchvision; see `suite.data.load`."""
    device, threads = torch.device(device), num_threads(settings, cpus)
    if settings.loader == "synthetic":
        from suite.data.imagenet.synthetic import SyntheticData

        return SyntheticData(settings, device=device, channels_last=channels_last)
    if settings.loader == "torchvision":
        from suite.data.imagenet.torchvision_loader import FolderData

        files = tree.read(settings, data)
        return FolderData(
            files, settings, device=device, channels_last=channels_last, workers=threads, should_stop=should_stop
        )
    tree.require_dali()
    from suite.data.imagenet.dali_loader import DaliData

    source = _source(settings, data, should_stop)
    return DaliData(
        source, settings, device=device, channels_last=channels_last, threads=threads, should_stop=should_stop
    )


def _source(settings: ImageNetSettings, data: Path, should_stop: Callable[[], bool]) -> Source:
    if settings.storage == "files":
        return TreeSource(tree.read(settings, data), settings)
    index, root = tree.read_shards(settings, data), tree.folder_of(settings, data)
    if settings.stage:
        from suite.data.imagenet.staging import expanded, stage

        root = stage(root, expanded(settings.stage), should_stop=should_stop)
    return ShardSource(root, index, settings)
