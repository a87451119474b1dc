"""What comes out of DALI: every image once, the right pixels and labels, whatever the ranks, threads and storage."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from support.photos import NUM_NOISE_CLASSES
from torch import Tensor

from suite.data.arrays import shard_range
from suite.data.imagenet.torchvision_loader import FolderData
from suite.data.interface import Data

slow = pytest.mark.slow
both = pytest.mark.parametrize("storage", ["files", "tar"])
worlds = pytest.mark.parametrize("world_size", [pytest.param(1, marks=slow), 2, pytest.param(3, marks=slow)])
OTHERS = (("files", "test"), ("tar", "val"), ("tar", "test"))
Load = Callable[..., Data]


def whole(batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def prints_of(images: Tensor) -> list[bytes]:
    """Something that tells one image from another."""
    return [image.numpy().tobytes() for image in images]


@pytest.mark.parametrize(
    ("storage", "split"), [("files", "val"), *(pytest.param(*each, marks=slow) for each in OTHERS)]
)
def test_an_evaluation_has_every_image_once_in_order(loaded: Load, storage: str, split: Any) -> None:
    data = loaded(storage)
    images, labels = whole(data.batches(split, 250))
    assert len(set(prints_of(images))) == len(images) == data.num_images(split)

    for world_size, batch_size in ((1, 250), (2, 10), (3, 7), (5, 36), (3, 50)):
        ranks = [list(data.batches(split, batch_size, rank=r, world_size=world_size)) for r in range(world_size)]
        assert len({len(batches) for batches in ranks}) == 1  # else one would wait for ever
        for rank, batches in enumerate(ranks):
            start, end = shard_range(len(images), rank=rank, world_size=world_size)
            assert sum(len(theirs) for _, theirs in batches) == end - start
            assert all(len(some) == len(theirs) <= batch_size for some, theirs in batches)
        found, theirs = whole(chain.from_iterable(ranks))
        assert torch.equal(found, images), (world_size, batch_size)
        assert torch.equal(theirs, labels), (world_size, batch_size)


@slow
def test_more_ranks_than_images(loaded: Load) -> None:
    for storage in ("files", "tar"):
        data = loaded(storage)
        num = data.num_images("val")
        ranks = [list(data.batches("val", 8, rank=r, world_size=num + 5)) for r in range(num + 5)]
        assert [len(batches) for batches in ranks] == [1] * (num + 5)
        assert sum(len(labels) for ((_, labels),) in ranks) == num
        assert {tuple(images.shape[1:]) for ((images, _),) in ranks} == {(3, 64, 64)}


@both
def test_labels_and_pixels_are_those_of_torchvision(loaded: Load, storage: str) -> None:
    """To one of 256 levels: both filter with a triangle over the same place, DALI in floats, Pillow in fixed point."""
    data = loaded(storage, image_size=96, resize=112)
    reference = loaded(loader="torchvision", image_size=96, resize=112, loader_threads=0)
    assert isinstance(reference, FolderData)
    assert data.data_id == reference.data_id
    levels = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 255
    for split in ("val", "test"):
        images, labels = whole(data.batches(split, 50))
        theirs, their_labels = whole(reference.batches(split, 50))
        assert torch.equal(labels, their_labels)
        difference = (images - theirs).mul(levels).abs()
        assert difference.amax() < 1.001
        assert difference.mean() < 0.2


@pytest.mark.slow
@both
def test_memory_is_as_asked_and_values_do_not_depend_on_it(loaded: Load, storage: str) -> None:
    last, first = (next(loaded(storage, channels_last=way).batches("val", 16))[0] for way in (True, False))
    assert last.is_contiguous(memory_format=torch.channels_last) and not last.is_contiguous()
    assert first.is_contiguous()
    assert torch.equal(last, first)
    half = next(loaded(storage, output="fp16").batches("val", 16))[0]
    assert half.dtype == torch.float16 and half.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(half.float(), last, atol=2e-3)


@both
@worlds
def test_an_epoch_has_every_image_at_most_once_in_whole_batches(
    loaded: Load, noise_tree: Callable[[str], Path], storage: str, world_size: int
) -> None:
    """Two images a class: one that came twice would show, unless its twin was the one left out."""
    data = loaded(storage, root=noise_tree(storage), val_share=1 / 3, image_size=32, resize=32, shuffle_buffer=16)
    size = 12 * world_size
    taken = data.num_epoch_images(size)
    assert data.num_images("train") == 2 * NUM_NOISE_CLASSES
    assert taken == 2 * NUM_NOISE_CLASSES // size * size
    seen = []
    for epoch in range(3):
        ranks = [list(data.train_batches(5, epoch, size, rank=r, world_size=world_size)) for r in range(world_size)]
        assert {len(labels) for batches in ranks for _, labels in batches} == {12}
        assert {len(batches) for batches in ranks} == {taken // size}
        labels = [label for batches in ranks for _, theirs in batches for label in theirs.tolist()]
        counts = Counter(labels)
        assert max(counts.values()) == 2 and sum(counts.values()) == taken
        seen.append(labels)
    assert seen[0] != seen[1] != seen[2]  # another order in each epoch


@pytest.mark.parametrize("loader", ["dali", "torchvision"])
def test_batches_have_the_same_images_for_any_number_of_ranks(
    loaded: Load, noise_tree: Callable[[str], Path], loader: str
) -> None:
    root, threads = noise_tree("files"), 1 if loader == "dali" else 0  # which change nothing
    data = loaded(loader=loader, root=root, val_share=1 / 3, image_size=32, resize=32, loader_threads=threads)
    alone = [labels.tolist() for _, labels in data.train_batches(5, 1, 12)]
    for world_size in (2, 3):
        ranks = [list(data.train_batches(5, 1, 12, rank=r, world_size=world_size)) for r in range(world_size)]
        dealt = [
            sorted(label for _, labels in batch for label in labels.tolist()) for batch in zip(*ranks, strict=True)
        ]
        assert dealt == [sorted(labels) for labels in alone]


@slow
@both
def test_training_crops_are_random_and_look_like_the_images(loaded: Load, storage: str) -> None:
    data = loaded(storage)
    images, labels = whole(data.train_batches(5, 0, 32))
    again, _ = whole(data.train_batches(5, 1, 32))
    means = torch.stack([images[labels == label].mean((0, 2, 3)) for label in range(6)])
    theirs = torch.stack([whole(data.batches("test", 50))[0][i * 12 : i * 12 + 12].mean((0, 2, 3)) for i in range(6)])
    assert (means - theirs).abs().max() < 1  # normalized the same way; crops are brighter or darker
    assert len(set(prints_of(torch.cat((images, again))))) == len(images) + len(again)


@pytest.mark.slow
@both
def test_threads_and_prefetching_change_nothing(loaded: Load, storage: str) -> None:
    first = whole(loaded(storage, loader_threads=1, prefetch=1).train_batches(5, 2, 16, rank=1, world_size=2))
    for threads, prefetch in ((2, 2), (4, 5)):
        data = loaded(storage, loader_threads=threads, prefetch=prefetch)
        assert all(map(torch.equal, first, whole(data.train_batches(5, 2, 16, rank=1, world_size=2))))


@pytest.mark.slow
@both
def test_seeds_ranks_and_epochs_share_no_stream(loaded: Load, storage: str) -> None:
    """Crops of one black and white image would be equal where two streams of random numbers are."""
    data = loaded(storage)
    firsts = [
        next(data.train_batches(seed, epoch, 24, rank=rank, world_size=2))[0]
        for seed in (5, 6)
        for epoch in (0, 1)
        for rank in (0, 1)
    ]
    assert len({prints_of(images)[0] for images in firsts}) == len(firsts)
