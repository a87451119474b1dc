"""Evaluation: every image once, in order, whatever the number of ranks, against torch by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.ranks import CPU, join_group, on_ranks, trial_of
from torch import Tensor

from suite import data
from suite.data.arrays import ArrayData
from suite.data.sources import RawDataset
from suite.train import evaluate
from suite.train.distributed import Group, RankInfo
from suite.train.evaluate import Evaluation

NUM_CLASSES = 5
SIZES, WORLDS = range(1, 18), range(1, 6)


def toy(num: int) -> ArrayData:
    """Images 1x2x2, ``num`` of them in the test split; image i says in its first pixel which it is."""
    images = np.random.default_rng(num).integers(0, 256, (num + 8, 1, 2, 2), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(num + 8)
    labels = np.random.default_rng(num + 1).integers(0, NUM_CLASSES, num + 8)
    index = np.arange(num + 8)
    splits = {"train": index[num:], "val": index[:1], "test": index[:num]}
    return ArrayData.build(RawDataset(images, labels, splits, num_classes=NUM_CLASSES), augment="none", device="cpu")


def predict(images: Tensor) -> Tensor:
    """A network without state: its logits differ from image to image."""
    weights = torch.linspace(-1, 1, images[0].numel() * NUM_CLASSES).cos().view(-1, NUM_CLASSES)
    return images.flatten(1) @ weights


class Simulated(Group):
    """One rank of several that run one after the other: what all of them said was written down in a round before."""

    def __init__(self, rank: int, world_size: int, said: list[list[Tensor]]) -> None:
        super().__init__(RankInfo(rank, rank, world_size))
        self.said, self.mine = said, list[Tensor]()
        self.calls, self.seen = 0, list[int]()

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        self.mine.append(tensor.clone())
        return sum((theirs[len(self.mine) - 1] for theirs in self.said), torch.zeros_like(tensor))

    def evaluate(self, arrays: ArrayData) -> Evaluation:
        def watch(images: Tensor) -> Tensor:
            raw = images[:, 0, 0, 0] * arrays.std.flatten() + arrays.mean.flatten()
            self.seen += raw.round().int().tolist()
            return predict(images)

        return evaluate.evaluate(watch, arrays, "test", group=self, after_batch=self.count)

    def count(self) -> None:
        self.calls += 1


def simulated(arrays: ArrayData, world_size: int) -> tuple[list[Simulated], list[Evaluation]]:
    """The ranks, and what each found."""
    said: list[list[Tensor]] = []
    for _ in range(2):
        ranks = [Simulated(rank, world_size, said) for rank in range(world_size)]
        found = [rank.evaluate(arrays) for rank in ranks]
        said = [rank.mine for rank in ranks]
    return ranks, found


@pytest.mark.parametrize("world_size", WORLDS)
@pytest.mark.parametrize("num", SIZES)
def test_every_image_counts_once_on_any_number_of_ranks(num: int, world_size: int) -> None:
    arrays = dataclasses.replace(toy(num), eval_batch_size=3)
    ranks, found = simulated(arrays, world_size)

    images = (arrays.test.images.double() - arrays.mean.double()) / arrays.std.double()
    logits = predict(images.float())
    expected = logits.argmax(1)
    assert [number for rank in ranks for number in rank.seen] == list(range(num))  # each rank a share, in order
    shares = [len(rank.seen) for rank in ranks]
    assert set(shares) <= {num // world_size, -(-num // world_size)}
    assert [rank.calls for rank in ranks] == [-(-max(shares) // 3)] * world_size  # else one would wait for ever
    for each in found:
        assert each == found[0]  # to the last bit
        assert each.predictions == expected.tolist()
        assert each.top1 == int((expected == arrays.test.labels).sum()) / num
        assert each.loss == pytest.approx(F.cross_entropy(logits.double(), arrays.test.labels).item(), rel=1e-5)


def test_the_sizes_tell_shares_apart() -> None:
    """What is tried above has empty shares, short ones, and last batches that only some ranks have."""
    shares = {
        (num, ranks): [num * (r + 1) // ranks - num * r // ranks for r in range(ranks)]
        for num in SIZES
        for ranks in WORLDS
    }
    assert any(0 in share for share in shares.values())
    assert any(len({-(-each // 3) for each in share}) == 2 for share in shares.values())


def test_no_gradient_is_kept() -> None:
    weight = torch.ones(4, NUM_CLASSES, requires_grad=True)

    def network(images: Tensor) -> Tensor:
        logits = images.flatten(1) @ weight
        assert not logits.requires_grad
        return logits

    evaluate.evaluate(network, toy(4), "test")


def test_logits_that_are_not_finite_leave_a_loss_that_says_so() -> None:
    found = evaluate.evaluate(lambda images: predict(images) * torch.nan, toy(4), "test")
    assert found.loss != found.loss
    assert len(found.predictions) == 4


# Real ranks ---------------------------------------------------------------------------------------------------------


def digits() -> ArrayData:
    whole = data.load(trial_of("weights").dataset, data_dir=None, device=CPU)
    assert isinstance(whole, ArrayData)
    return dataclasses.replace(whole, eval_batch_size=50)


def linear(images: Tensor) -> Tensor:
    weights = torch.linspace(-9, 9, 640, dtype=torch.float64).cos().view(64, 10)
    return images.double().flatten(1) @ weights


def evaluate_digits() -> list[list[Any]]:
    """What this rank finds of each split."""
    with join_group() as group:
        calls = [0, 0]
        found = []
        for number, split in enumerate(("val", "test")):

            def count(number: int = number) -> None:
                calls[number] += 1

            each = evaluate.evaluate(linear, digits(), split, group=group, after_batch=count)
            found.append([each.top1, each.loss, each.predictions, calls[number], group.rank])
    return found


@pytest.mark.slow
def test_three_processes_find_what_one_finds(tmp_path: Path) -> None:
    found = on_ranks(3, evaluate_digits, tmp_path)
    arrays = digits()
    for number, split in enumerate(("val", "test")):
        alone = evaluate.evaluate(linear, arrays, split, group=Group(RankInfo()))
        for rank, each in enumerate(found):
            top1, loss, predictions, calls, said = each[number]
            assert said == rank
            assert (top1, predictions) == (alone.top1, alone.predictions)
            assert loss == pytest.approx(alone.loss, rel=1e-14)
            assert loss == found[0][number][1]  # to the last bit
            assert calls == {"val": 2, "test": 3}[split]  # 60 and 120 images in batches of 50
        whole = getattr(arrays, split)
        images = (whole.images.float() - arrays.mean) / arrays.std
        assert alone.top1 == (linear(images).argmax(1) == whole.labels).double().mean().item()
