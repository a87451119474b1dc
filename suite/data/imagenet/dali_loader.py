"""ImageNet through NVIDIA DALI: one pipeline for training and one for evaluation, on the CPU as on a GPU.

A pipeline lives for one epoch. Its seed, and for files the order of the images too, are pure functions of (seed, epoch,
rank), so any epoch can be begun anew; inside an epoch DALI's own checkpoint says how to go on, bit for bit on the CPU.
Only this file and ``dali_decoder`` import nvidia.dali.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch import Tensor

from suite.config import ImageNetSettings, InputError
from suite.data.arrays import shard_range
from suite.data.imagenet.broken_files import diagnose_decode_error
from suite.data.imagenet.dali_sources import Feed, Source
from suite.data.imagenet.loader_base import AREA, MEAN, RATIO, STD, BaseImageNetData
from suite.data.imagenet.tree import NO_DALI
from suite.data.interface import SplitName
from suite.methods.random import Stream, random_words

try:
    from nvidia import dali
    from nvidia.dali import fn, types
    from nvidia.dali.plugin.pytorch import DALIGenericIterator, LastBatchPolicy

    from suite.data.imagenet.dali_decoder import AS_PILLOW
except ImportError:
    raise InputError(NO_DALI) from None

_READER = "Reader"
_Batch = tuple[Tensor, Tensor]


class DaliData(BaseImageNetData):
    """The images of a tree, or of tar shards, decoded by DALI.

    Args:
        source: the files or shards.
        settings: of the dataset.
        device: of the batches; a GPU also decodes.
        channels_last: the memory format of the images: DALI writes them so.
        threads: that DALI uses.
        should_stop: asked while the files are searched for a broken one.
    """

    def __init__(
        self,
        source: Source,
        settings: ImageNetSettings,
        *,
        device: torch.device,
        channels_last: bool,
        threads: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(settings, source.sizes, source.num_classes, source.data_id, source.train_id)
        self._source, self._device, self._channels_last = source, device, channels_last
        self._threads, self._should_stop = threads, should_stop
        self._live: Any = None  # the iterator of the training epoch that runs
        self._restored: bytes | None = None

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, *, first: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[_Batch]:
        """Random resized crops of whole batches: every image at most once, all but the dropped rest once.

        From ``first`` on goes only where ``restore`` was given the state of that place.
        """
        num, restored = self.num_images("train") // batch_size, self._restored
        self._restored = None
        if first == num:
            return
        if first and restored is None:
            raise ValueError(f"batch {first}: DALI needs its state to go on inside an epoch")
        feed = self._source.training(seed, epoch, batch_size, rank, world_size)
        low, high = random_words(2, seed=seed, stream=Stream.AUGMENTATION, draw=epoch, parameter=rank).tolist()
        try:
            with self._explaining(feed):
                self._live = batches = self._iterator(
                    self._training, feed, batch_size // world_size, LastBatchPolicy.DROP, (high << 31) ^ low, restored
                )
                for number, (batch,) in zip(range(first, num), batches, strict=True):
                    if number == num - 1:
                        self._live = None  # the epoch is over: its place is known without DALI
                    yield self._shown(batch["images"]), feed.labels(batch["labels"])
        finally:
            self._live = None

    def batches(self, split: SplitName, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Iterator[_Batch]:
        """Center crops of a rank's contiguous share, in order, padding removed; the last batches may be empty."""
        start, end = shard_range(self.num_images(split), rank=rank, world_size=world_size)
        if start < end:
            feed = self._source.evaluation(split, start, end)
            with self._explaining(feed):
                for (batch,) in self._iterator(self._evaluation, feed, batch_size, LastBatchPolicy.PARTIAL):
                    yield self._shown(batch["images"]), feed.labels(batch["labels"])
        yield from self._empty_batches(split, batch_size, rank=rank, world_size=world_size, device=self._device)

    def resume_conditions(self, seed: int, batch_size: int, world_size: int) -> dict[str, str]:
        """What DALI's checkpoint depends on, and does not check."""
        settings = self.settings
        return {
            "dali": dali.__version__,
            "images": f"{self.train_id} from {self._source.layout}",
            "shuffle_buffer": str(settings.shuffle_buffer) if settings.storage == "tar" else "",
            "batch": f"{batch_size} on {world_size} processes",
            "seed": str(seed),
            "pixels": f"{settings.image_size} {settings.output} {'HWC' if self._channels_last else 'CHW'}",
            "decoder": f"gpu, {settings.decoder.hw_load} by its JPEG unit" if self._on_gpu else "cpu",
        }

    def state(self) -> bytes:
        """DALI's checkpoint of the training pipeline, after the last batch that was given out."""
        return bytes(self._live.checkpoints()[0]) if self._live is not None else b""

    def restore(self, state: bytes) -> None:
        """Let the next ``train_batches`` go on from a ``state``."""
        self._restored = state or None

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    def _iterator(
        self,
        define: Callable[[Feed], tuple[Any, Any]],
        feed: Feed,
        batch_size: int,
        policy: Any,
        seed: int = 0,
        checkpoint: bytes | None = None,
    ) -> Any:
        with closing(feed):  # the first batch is made here
            pipeline = dali.pipeline_def(define)(
                feed,
                batch_size=batch_size,
                num_threads=self._threads,
                device_id=(self._device.index or 0) if self._on_gpu else None,  # without a driver any but None fails
                seed=seed,
                prefetch_queue_depth=self.settings.prefetch,
                enable_checkpointing=True,
                checkpoint=checkpoint,
            )
            return DALIGenericIterator(
                [pipeline], ["images", "labels"], reader_name=_READER, last_batch_policy=policy, auto_reset=False
            )

    @contextmanager
    def _explaining(self, feed: Feed) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise diagnose_decode_error(error, feed.encoded(), self._threads, self._should_stop) from error

    def _shown(self, images: Tensor) -> Tensor:
        """(B, C, H, W), whatever the order in memory."""
        return images.permute(0, 3, 1, 2) if self._channels_last else images

    # The two pipelines

    def _training(self, feed: Feed) -> tuple[Any, Any]:
        encoded, labels = _reader(feed)
        images = fn.decoders.image_random_crop(
            encoded, random_area=list(AREA), random_aspect_ratio=list(RATIO), num_attempts=10, **self._decoding()
        )
        images = fn.resize(images, size=[self.image_size] * 2, interp_type=types.INTERP_LINEAR, antialias=True)
        return self._normalized(images, mirror=fn.random.coin_flip(probability=0.5)), self._placed(labels)

    def _evaluation(self, feed: Feed) -> tuple[Any, Any]:
        encoded, labels = _reader(feed)
        images = fn.decoders.image(encoded, **self._decoding())
        shape = fn.peek_image_shape(encoded, adjust_orientation=False)
        size, position = zip(*(self._side(shape, axis) for axis in (0, 1)), strict=True)
        images = fn.resize(images, size=fn.stack(*size), interp_type=types.INTERP_LINEAR, antialias=True)
        crop = {"crop": [self.image_size] * 2, "crop_pos_y": position[0], "crop_pos_x": position[1]}
        return self._normalized(images, **crop), self._placed(labels)

    def _side(self, shape: Any, axis: int) -> tuple[Any, Any]:
        """The length of one side when the shorter is ``resize``, and where the crop begins, as DALI wants them.

        Both are rounded as torchvision does, which differs from DALI's own way by a pixel for half of all images.
        """
        short = dali.math.min(shape[0], shape[1])
        length = shape[axis] * self.settings.resize // short
        margin = length - self.image_size
        half = margin // 2
        start = half + (margin - 2 * half) * (half - 2 * (half // 2))  # half a pixel goes to the even side
        return fn.cast(length, dtype=types.FLOAT), fn.cast(start, dtype=types.FLOAT) / dali.math.max(margin, 1)

    def _decoding(self) -> dict[str, Any]:
        if not self._on_gpu:
            return {"device": "cpu", **AS_PILLOW}
        decoder = self.settings.decoder
        return {
            "device": "mixed",
            **AS_PILLOW,
            "hw_decoder_load": decoder.hw_load,
            "preallocate_width_hint": decoder.width_hint,
            "preallocate_height_hint": decoder.height_hint,
            "device_memory_padding": decoder.device_padding,
            "host_memory_padding": decoder.host_padding,
        }

    def _normalized(self, images: Any, **where: Any) -> Any:
        return fn.crop_mirror_normalize(
            images,
            dtype=types.FLOAT16 if self.settings.output == "fp16" else types.FLOAT,
            output_layout="HWC" if self._channels_last else "CHW",
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in STD],
            **where,
        )

    def _placed(self, labels: Any) -> Any:
        return labels.gpu() if self._on_gpu else labels


def _reader(feed: Feed) -> tuple[Any, Any]:
    """Encoded images and labels, as nodes of DALI's graph."""
    name, arguments = feed.reader()
    encoded, labels = getattr(fn.readers, name)(name=_READER, pad_last_batch=True, **arguments)
    return encoded, labels
