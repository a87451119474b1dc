"""Batches that are gathered together are those that would be gathered one by one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from suite.data import arrays
from suite.data.arrays import ArrayData, batch_order
from suite.data.sources import RawDataset

NUM_TRAIN = 50


def digits_of(size: int) -> ArrayData:
    """50 training images 1 x size x size of random pixels."""
    images = np.random.default_rng(0).integers(0, 256, (NUM_TRAIN + 2, 1, size, size), dtype=np.uint8)
    index = np.arange(NUM_TRAIN + 2)
    splits = {"train": index[:NUM_TRAIN], "val": index[NUM_TRAIN:-1], "test": index[-1:]}
    return ArrayData.build(RawDataset(images, index % 7, splits, 7), augment="none", device="cpu")


def one_by_one(data: ArrayData, batch_size: int, first: int, rank: int, world_size: int) -> list[tuple[Tensor, Tensor]]:
    order = batch_order(NUM_TRAIN, seed=1, epoch=2)
    shares = [order[start : start + batch_size][rank::world_size] for start in range(0, NUM_TRAIN, batch_size)]
    train = data.train
    return [((train.images[i] - data.mean) / data.std, train.labels[i]) for i in shares[first:]]


@pytest.mark.parametrize("num_at_once", [1, 2, 3, 100])
@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 3), (2, 3)])
@pytest.mark.parametrize("first", [0, 3, 7])
def test_bits_of_batches_gathered_one_by_one(
    num_at_once: int, rank: int, world_size: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits_of(8)
    share = -(-8 // world_size) if rank < 8 % world_size or world_size == 1 else 8 // world_size
    monkeypatch.setattr(arrays, "_GATHERED_BYTES", num_at_once * share * 8 * 8 * 4)
    found = list(data.train_batches(1, 2, 8, first=first, rank=rank, world_size=world_size))
    expected = one_by_one(data, 8, first, rank, world_size)
    assert len(found) == len(expected) == 7 - first
    for (images, labels), (their_images, their_labels) in zip(found, expected, strict=True):
        assert torch.equal(images, their_images)
        assert images.stride() == their_images.stride() or not len(images)
        assert torch.equal(labels, their_labels)
    memories = {images.untyped_storage().data_ptr() for images, _ in found}
    assert len(memories) == -(-len(found) // num_at_once)


@pytest.mark.parametrize(("size", "batch_size"), [(8, 5), (7, 16), (7, 5), (28, 5)])
def test_each_batch_begins_on_a_cache_line(size: int, batch_size: int) -> None:
    """Kernels for numbers side by side may round in another way where memory begins elsewhere."""
    batches = list(digits_of(size).train_batches(1, 0, batch_size))
    assert {images.data_ptr() % 64 for images, _ in batches} == {0}


def test_large_batches_do_not_wait_for_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_GATHERED_BYTES", 1)
    batches = list(digits_of(8).train_batches(1, 0, 16))
    assert len({images.untyped_storage().data_ptr() for images, _ in batches}) == len(batches)
