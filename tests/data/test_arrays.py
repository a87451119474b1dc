"""Batches: order, normalization, shares, and the hash of the data."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from support.gpu import DEVICE
from torch import Tensor

from suite import data
from suite.config import Dataset
from suite.data.arrays import ArrayData, SplitName, batch_order, channel_statistics
from suite.data.sources import RawDataset, data_id

NUM_TRAIN = 50
DIGITS_ID = "e12a3fbdcab3941f"  # golden: if it changes, so does every published number


def toy_source() -> RawDataset:
    """70 images 3x8x8: image i is filled with value i in channel 0, so that it can be told from its pixels."""
    images = np.random.default_rng(0).integers(0, 256, (70, 3, 8, 8), dtype=np.uint8)
    images[:, 0] = np.arange(70, dtype=np.uint8)[:, None, None]
    index = np.arange(70)
    splits = {"train": index[:NUM_TRAIN], "val": index[NUM_TRAIN:60], "test": index[60:]}
    return RawDataset(images, index % 7, splits, num_classes=7)


def toy(augment: str = "none") -> ArrayData:
    return ArrayData.build(toy_source(), augment=augment, device="cpu")


def numbers(arrays: ArrayData, batches: Iterable[tuple[Tensor, Tensor]]) -> list[int]:
    """Which images these are (without augmentation)."""
    inputs = torch.cat([images for images, _ in batches])
    raw = inputs[:, 0, 0, 0] * arrays.std[0, 0, 0] + arrays.mean[0, 0, 0]
    return raw.round().int().tolist()


def digits() -> ArrayData:
    return data.load(TypeAdapter(Dataset).validate_python("digits"), data_dir=None, device="cpu")


def test_every_training_image_comes_once_and_the_short_batch_is_kept() -> None:
    arrays = toy()
    batches = list(arrays.train_batches(seed=1, epoch=0, batch_size=16))
    assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
    assert sorted(numbers(arrays, batches)) == list(range(NUM_TRAIN))


def test_images_keep_their_labels() -> None:
    arrays = toy()
    batches = list(arrays.train_batches(seed=1, epoch=0, batch_size=16))
    labels = torch.cat([labels for _, labels in batches])
    assert labels.tolist() == [number % 7 for number in numbers(arrays, batches)]


def test_order_depends_on_seed_and_epoch_only() -> None:
    arrays, augmented = toy(), toy("protocol")
    order = numbers(arrays, arrays.train_batches(1, 3, 16))
    assert order == numbers(arrays, arrays.train_batches(1, 3, 7)) == batch_order(NUM_TRAIN, seed=1, epoch=3).tolist()
    assert order != numbers(arrays, arrays.train_batches(1, 4, 16))
    assert order != numbers(arrays, arrays.train_batches(2, 3, 16))
    labels = [torch.cat([labels for _, labels in each.train_batches(1, 3, 16)]) for each in (arrays, augmented)]
    assert torch.equal(*labels)
    assert batch_order(8, seed=1, epoch=0).tolist() == [5, 0, 6, 7, 1, 2, 4, 3]  # golden: resumed runs rely on it


@pytest.mark.parametrize("augment", ["none", "crop", "protocol"])
def test_ranks_share_out_each_batch(augment: str) -> None:
    arrays = toy(augment)
    whole = list(arrays.train_batches(1, 0, 16))
    shares = [list(arrays.train_batches(1, 0, 16, rank=rank, world_size=4)) for rank in range(4)]
    assert [[len(labels) for _, labels in share] for share in shares] == [[4, 4, 4, 1]] * 2 + [[4, 4, 4, 0]] * 2
    for rank, share in enumerate(shares):
        for (images, labels), (all_images, all_labels) in zip(share, whole, strict=True):
            assert torch.equal(images, all_images[rank::4])
            assert torch.equal(labels, all_labels[rank::4])


@pytest.mark.parametrize("augment", ["none", "crop", "protocol"])
@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 3), (2, 3)])
def test_an_epoch_can_be_begun_at_any_batch(augment: str, rank: int, world_size: int) -> None:
    arrays = toy(augment)
    whole = list(arrays.train_batches(1, 2, 9, rank=rank, world_size=world_size))
    assert len(whole) == 6  # the last of 5 images
    for first in range(len(whole) + 1):
        rest = list(arrays.train_batches(1, 2, 9, first=first, rank=rank, world_size=world_size))
        assert len(rest) == len(whole) - first
        for (images, labels), (all_images, all_labels) in zip(rest, whole[first:], strict=True):
            assert torch.equal(images, all_images)
            assert torch.equal(labels, all_labels)


@pytest.mark.parametrize("world_size", range(1, 13))
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_ranks_share_out_a_split_in_order(world_size: int, batch_size: int) -> None:
    arrays = toy()
    for split, expected in (("val", range(50, 60)), ("train", range(50))):
        shares = [
            list(arrays.batches(split, batch_size, rank=rank, world_size=world_size)) for rank in range(world_size)
        ]
        assert [number for share in shares for number in numbers(arrays, share)] == list(expected)
        assert {len(share) for share in shares} == {-(-max(map(count, shares)) // batch_size)}  # as many batches each
        assert max(map(count, shares)) - min(map(count, shares)) <= 1
        for share in shares:
            sizes = [len(labels) for _, labels in share]
            assert sizes == sorted(sizes, reverse=True)  # full ones, a short one, an empty one
            assert all(size == batch_size for size in sizes[:-2])
            assert all(images.shape == (len(labels), 3, 8, 8) for images, labels in share)
            assert [int(label) for _, labels in share for label in labels] == [n % 7 for n in numbers(arrays, share)]


def count(share: list[tuple[Tensor, Tensor]]) -> int:
    return sum(len(labels) for _, labels in share)


@pytest.mark.parametrize("augment", ["crop", "protocol"])
def test_an_augmented_image_depends_on_seed_epoch_and_index_only(augment: str) -> None:
    arrays = toy(augment)

    def by_index(seed: int, epoch: int, batch_size: int) -> Tensor:
        images = torch.cat([images for images, _ in arrays.train_batches(seed, epoch, batch_size)])
        return images[batch_order(NUM_TRAIN, seed=seed, epoch=epoch).argsort()]

    first = by_index(1, 0, 16)
    assert torch.equal(first, by_index(1, 0, 3))
    assert torch.equal(first, by_index(1, 0, NUM_TRAIN))
    for other in (by_index(1, 1, 16), by_index(2, 0, 16)):
        assert (first == other).flatten(1).all(1).float().mean() < 0.1


def test_evaluation_goes_through_a_split_in_order_without_augmentation() -> None:
    arrays = toy("protocol")
    for split, expected in (("val", range(50, 60)), ("test", range(60, 70)), ("train", range(50))):
        batches = list(arrays.batches(split, 4))
        assert numbers(arrays, batches) == list(expected)
        assert all(images.dtype == torch.float32 and labels.dtype == torch.int64 for images, labels in batches)
        assert len(batches[-1][1]) == len(expected) % 4


def test_training_inputs_are_normalized_by_the_train_split() -> None:
    arrays = toy()
    inputs = torch.cat([images for images, _ in arrays.train_batches(1, 0, 16)]).double()
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(inputs.std((0, 2, 3), correction=0), torch.ones(3).double(), rtol=0, atol=1e-5)
    assert torch.equal(arrays.mean.flatten()[0], torch.tensor(24.5))  # 0 to 49: no image of val or test counts


def test_a_constant_channel_is_only_centred() -> None:
    mean, std = channel_statistics(torch.full((4, 1, 2, 2), 7, dtype=torch.uint8))
    assert (mean.item(), std.item()) == (7, 1)


def test_padding_is_zero_before_normalization() -> None:
    source = dataclasses.replace(toy_source(), images=np.full((70, 3, 8, 8), 200, np.uint8))
    arrays = ArrayData.build(source, augment="crop", device="cpu")
    values = torch.cat([images for images, _ in arrays.train_batches(1, 0, 16)]).unique()
    assert values.tolist() == [-200, 0]


def test_data_id_changes_with_any_image_label_or_split() -> None:
    source = toy_source()
    ids = {data_id(source), data_id(toy_source())}
    assert len(ids) == 1
    for array in (source.images, source.labels, *source.splits.values()):
        array.flat[-1] ^= 1
        ids.add(data_id(source))
        array.flat[-1] ^= 1
    assert len(ids) == 6
    assert data_id(source) in ids


def test_digits() -> None:
    arrays = digits()
    assert (arrays.num_classes, arrays.image_size, arrays.in_channels) == (10, 8, 1)
    assert {name: len(getattr(arrays, name)) for name in get_args(SplitName)} == {
        "train": 1257,
        "val": 180,
        "test": 360,
    }
    assert arrays.data_id == DIGITS_ID
    assert arrays.train.images.dtype == torch.uint8
    assert arrays.train.images.shape == (1257, 1, 8, 8)
    assert int(arrays.train.images.max()) == 16
    assert arrays.train.labels.dtype == torch.int64
    images, labels = next(arrays.train_batches(1, 0, 64))
    assert (images.shape, images.dtype, labels.shape) == ((64, 1, 8, 8), torch.float32, (64,))


@pytest.mark.gpu
def test_the_gpu_sees_the_batches_of_the_cpu() -> None:
    for augment in ("none", "crop", "protocol"):
        here, there = (ArrayData.build(toy_source(), augment=augment, device=device) for device in ("cpu", DEVICE))
        pairs = zip(here.train_batches(1, 0, 16), there.train_batches(1, 0, 16), strict=True)
        for (images, labels), (gpu_images, gpu_labels) in pairs:
            assert gpu_images.device.type == DEVICE.type
            assert torch.equal(labels, gpu_labels.cpu())
            torch.testing.assert_close(images, gpu_images.cpu(), rtol=0, atol=1e-4)


def run_apart(code: str) -> None:
    """Run `code` in a Python of its own, where nothing is imported yet."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=root, env=environment)


def test_digits_import_no_torchvision_and_preparing_no_torch() -> None:
    run_apart("""
import sys
from pydantic import TypeAdapter
from suite import data
from suite.config import Dataset
digits = TypeAdapter(Dataset).validate_python("digits")
data.prepare(digits, data_dir=None, download=True)
assert "torch" not in sys.modules
data.load(digits, data_dir=None, device="cpu")
assert "torchvision" not in sys.modules
""")


@pytest.mark.slow
def test_the_shim_leaves_declared_operators_alone() -> None:
    run_apart(
        """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from suite.torchvision_shim import torchvision
assert torchvision.datasets.CIFAR10
"""
        if torch.version.cuda is None
        else "from suite.torchvision_shim import torchvision"
    )
