"""ImageNet through torchvision: Pillow, ``transforms.v2``, a DataLoader. The reference for DALI, and its fallback."""

import multiprocessing
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from suite.config import ImageNetSettings, InputError
from suite.data.arrays import rank_batch_slices
from suite.data.imagenet.loader_base import AREA, MEAN, RATIO, STD, BaseImageNetData, rank_batches
from suite.data.imagenet.manifest import SCAN
from suite.data.imagenet.tree import Files
from suite.data.interface import SplitName
from suite.methods.random import Stream, random_words
from suite.records.file_errors import retrying
from suite.stopping import SIGNALS, Stopped
from suite.torchvision_shim import torchvision, transforms

_Item = tuple[int, int]  # an image, and the seed of its crop and flip
_SHARED = "/dev/shm"  # noqa: S108 # where workers leave batches
_Loaded = tuple[Tensor, int] | str  # an image and its label, or what is wrong with it


class FolderData(BaseImageNetData):
    """The images of a tree, decoded by ``workers`` processes, or by this one where that is 0."""

    def __init__(
        self,
        files: Files,
        settings: ImageNetSettings,
        *,
        device: torch.device,
        channels_last: bool,
        workers: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        sizes: dict[SplitName, int] = {split: len(positions) for split, positions in files.splits.items()}
        super().__init__(settings, sizes, files.num_classes, files.data_id, files.train_id)
        self._files, self._device, self._workers, self._should_stop = files, device, workers, should_stop
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._training = Images(files, training_transform(settings))
        self._evaluation = Images(files, evaluation_transform(settings))

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, *, first: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Random resized crops; which one an image gets is a pure function of (seed, epoch, image)."""
        train = self._files.splits["train"]
        shares = rank_batches(train, seed=seed, epoch=epoch, batch_size=batch_size, rank=rank, world_size=world_size)
        drawn = random_words(len(self._files.paths), seed=seed, stream=Stream.AUGMENTATION, draw=epoch, parameter=0)
        yield from self._loaded(self._training, [[(i, int(drawn[i])) for i in share] for share in shares[first:]])

    def batches(
        self, split: SplitName, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Center crops of a rank's share, in order."""
        positions = self._files.splits[split]
        parts = rank_batch_slices(len(positions), batch_size, rank=rank, world_size=world_size)
        filled = [[(i, 0) for i in positions[part]] for part in parts if part.stop > part.start]
        yield from self._loaded(self._evaluation, filled)
        yield from self._empty_batches(split, batch_size, rank=rank, world_size=world_size, device=self._device)

    def _loaded(self, images: "Images", batches: Iterable[list[_Item]]) -> Iterator[tuple[Tensor, Tensor]]:
        loader: DataLoader[Any] = DataLoader(
            images,
            batch_sampler=batches,
            collate_fn=_collated,
            num_workers=self._workers,
            prefetch_factor=self.settings.prefetch if self._workers else None,
            multiprocessing_context=_forkserver() if self._workers else None,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # it draws a number that nobody uses
            worker_init_fn=_leave_signals,
        )
        for batch in self._stoppable(loader):
            if isinstance(batch, list):
                raise InputError(*batch)
            pixels, labels = batch
            moved = pixels.to(self._device, memory_format=self._format, non_blocking=True)
            yield moved, labels.to(self._device, non_blocking=True)

    def _stoppable(self, loader: Iterable[Any]) -> Iterator[Any]:
        try:
            yield from loader
        except RuntimeError as error:
            if "DataLoader worker" in str(error) and self._should_stop():  # hit while it started
                raise Stopped("stopped; the same command goes on from the newest checkpoint") from error
            if "shared memory" in str(error):
                # Without its frames, which keep the loader: workers ignore TERM, and this process would wait for them.
                raise InputError(self._too_little_shared_memory()) from error.with_traceback(None)
            raise

    def _too_little_shared_memory(self) -> str:
        total = shutil.disk_usage(_SHARED).total
        return (
            f"{_SHARED}: has {total / 2**20:,.0f} MiB, too little for the batches of {self._workers} workers: make it "
            "larger (docker run --shm-size=8g), or set dataset.loader_threads: 0"
        )


class Images(Dataset[_Loaded]):
    """Transformed images (float32 (3, S, S)) and their labels, by position in ``files.paths`` and seed."""

    def __init__(self, files: Files, transform: Any) -> None:
        self._files, self._transform = files, transform

    def __getitem__(self, item: _Item) -> _Loaded:
        """One image, its crop drawn from the seed; the generator of the process is left as it was."""
        position, seed = item
        path = self._files.root / self._files.name(position)
        try:
            image = retrying(lambda: torchvision.datasets.folder.pil_loader(path), path)
        except Exception as error:  # Pillow's readers raise whatever they meet
            return f"{path}: cannot be decoded any more ({error}); mend it and run {SCAN} {self._files.root}"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._transform(image), int(self._files.labels[position])


def training_transform(settings: ImageNetSettings) -> Any:
    """From a Pillow image to normalized float32 (3, S, S): random resized crop and flip."""
    v2 = transforms()
    crop = v2.RandomResizedCrop(settings.image_size, scale=AREA, ratio=RATIO, antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip(), *_to_floats()])


def evaluation_transform(settings: ImageNetSettings) -> Any:
    """From a Pillow image to normalized float32 (3, S, S): resize the shorter side, crop the center."""
    v2 = transforms()
    return v2.Compose([v2.Resize(settings.resize, antialias=True), v2.CenterCrop(settings.image_size), *_to_floats()])


def _to_floats() -> list[Any]:
    v2 = transforms()
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def _forkserver() -> Any:
    """Where workers come from: this process has threads, which a fork would leave behind with their locks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # once, instead of in each worker of each epoch
    return context


def _leave_signals(worker: int) -> None:
    """Signals that ask the trial to stop go to all processes of a terminal or job; workers end with their loader."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _collated(items: list[_Loaded]) -> tuple[Tensor, Tensor] | list[str]:
    """A batch, or what is wrong with it: errors do not come through whole from another process."""
    if problems := [item for item in items if isinstance(item, str)]:
        return problems
    images, labels = torch.utils.data.default_collate(items)
    return images, labels
