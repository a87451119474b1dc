"""The transforms: torchvision's pixels, torchvision's rule, and draws that belong to an image."""

import importlib
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from suite.data import augment
from suite.data.augment import PADDING, Augmentation, Boxes, crop_matrices, draw_boxes, matrix_numbers

SIZE = 32
PADDED = SIZE + 2 * PADDING
MANY = 20_000
UNLIKELY = 1e-4  # each statistical bound fails by chance this often; seeds are fixed, so in fact never


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (64, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def boxes_of(name: str, *, num: int = MANY, seed: int = 1, epoch: int = 0, size: int = SIZE) -> Boxes:
    return draw_boxes(name, num, size=size, seed=seed, epoch=epoch)


def reference(image: Tensor, boxes: Boxes, i: int, size: int) -> Tensor:
    """One image by torchvision: pad, resized crop with antialias, flip; values on 0..1."""
    from suite.torchvision_shim import torchvision  # noqa: F401

    functional = importlib.import_module("torchvision.transforms.v2.functional")
    padded = functional.pad(image.float() / 255, [PADDING] * 4)
    box = [int(side[i]) for side in (boxes.top, boxes.left, boxes.height, boxes.width)]
    out: Tensor = functional.resized_crop(padded, *box, size=[size, size], antialias=True)
    return out.flip(-1) if boxes.flip[i] else out


@pytest.mark.parametrize("name", ["protocol", "crop"])
@pytest.mark.parametrize("size", [8, 28, 32])
def test_pixels_equal_torchvision_resized_crop(images: Tensor, name: str, size: int) -> None:
    raw = images[:, :, :size, :size].contiguous()
    augmentation = Augmentation(name, size, "cpu")
    boxes = boxes_of(name, num=len(raw), seed=3, epoch=5, size=size)
    ours = augmentation(raw, augmentation.plan(len(raw), seed=3, epoch=5)) / 255
    assert ours.dtype == torch.float32
    assert 0 < boxes.flip.sum() < len(raw)
    for i, image in enumerate(raw):
        torch.testing.assert_close(ours[i], reference(image, boxes, i, size), rtol=0, atol=1e-4)


def test_every_crop_length_and_place_equals_torchvision(images: Tensor) -> None:
    top, height = torch.cartesian_prod(torch.arange(PADDED), torch.arange(1, PADDED + 1)).unbind(1)
    inside = top + height <= PADDED
    top, height = top[inside], height[inside]
    boxes = Boxes(top, top.flip(0), height, height.flip(0), torch.arange(len(top)) % 2 == 0)
    assert len(top) == PADDED * (PADDED + 1) // 2
    numbers = matrix_numbers(boxes, SIZE)
    raw = images[:1].expand(len(top), -1, -1, -1)
    ours = Augmentation("protocol", SIZE, "cpu")(raw, numbers) / 255
    worst = max(float((ours[i] - reference(raw[i], boxes, i, SIZE)).abs().max()) for i in range(len(top)))
    assert worst < 1e-4


def test_crop_is_a_shift_of_unchanged_pixels(images: Tensor) -> None:
    augmentation = Augmentation("crop", SIZE, "cpu")
    boxes = boxes_of("crop", num=len(images))
    out = augmentation(images, augmentation.plan(len(images), seed=1, epoch=0))
    padded = torch.nn.functional.pad(images.float(), [PADDING] * 4)
    for i in range(len(images)):
        top, left = int(boxes.top[i]), int(boxes.left[i])
        window = padded[i, :, top : top + SIZE, left : left + SIZE]
        assert torch.equal(out[i], window.flip(-1) if boxes.flip[i] else window)


def test_matrices_average_what_they_shrink() -> None:
    # 8 pixels a side, 16 padded. The whole side to 8: each result is 1/8, 3/8, 3/8, 1/8 of four pixels in a row.
    whole = crop_matrices(8)[16 * 17 + 0]
    torch.testing.assert_close(whole[4, 3:7], torch.tensor([1, 3, 3, 1]) / 8)
    assert torch.equal(whole[0], torch.zeros(8))  # padding only
    # The unpadded 8 pixels to 8: nothing changes; and reversed in the flipped half.
    same = 8 * 17 + PADDING
    assert torch.equal(crop_matrices(8)[same], torch.eye(8))
    assert torch.equal(crop_matrices(8)[17 * 17 + same], torch.eye(8).flip(0))


@pytest.mark.parametrize("name", ["protocol", "crop"])
def test_draws_depend_on_seed_epoch_and_index_only(name: str) -> None:
    table = {
        key: torch.stack(list(vars(value).values()))
        for key, value in {
            "all": boxes_of(name, num=5000),
            "fewer": boxes_of(name, num=3000),
            "seed": boxes_of(name, num=5000, seed=2),
            "epoch": boxes_of(name, num=5000, epoch=1),
        }.items()
    }
    assert torch.equal(table["all"][:, :3000], table["fewer"])
    for other in ("seed", "epoch"):
        same = (table["all"] == table[other]).all(0).float().mean()
        assert same < 0.02  # 81 places and a flip leave 0.6 % of plain crops equal
    neighbours = (table["all"][:, 1:] == table["all"][:, :-1]).all(0).float().mean()
    assert neighbours < 0.02


@pytest.mark.parametrize("name", ["protocol", "crop"])
def test_an_image_does_not_depend_on_its_batch(images: Tensor, name: str) -> None:
    augmentation = Augmentation(name, SIZE, "cpu")
    plan = augmentation.plan(len(images), seed=1, epoch=2)
    together = augmentation(images, plan)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    assert torch.equal(augmentation(images[order], plan[:, order]), together[order])
    for i in (0, 17):
        assert torch.equal(augmentation(images[i : i + 1], plan[:, i : i + 1])[0], together[i])
    assert augmentation(images[:0], plan[:, :0]).shape == (0, 3, SIZE, SIZE)
    assert torch.equal(augmentation(images, plan), together)


def test_autocast_does_not_round_pixels(images: Tensor) -> None:
    augmentation = Augmentation("protocol", SIZE, "cpu")
    plan = augmentation.plan(len(images), seed=1, epoch=0)
    expected = augmentation(images, plan)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augmentation(images, plan), expected)


def test_boxes_lie_in_the_padded_image_and_reach_its_edges() -> None:
    for name in ("protocol", "crop"):
        boxes = boxes_of(name)
        for start, side in ((boxes.top, boxes.height), (boxes.left, boxes.width)):
            assert int(start.min()) == 0
            assert int((start + side).max()) == PADDED
            assert int(side.min()) >= 1


def test_flips_are_fair() -> None:
    for name in ("protocol", "crop"):
        flips = int(boxes_of(name).flip.sum())
        assert stats.binomtest(flips, MANY, 0.5).pvalue > UNLIKELY


def test_plain_crops_are_uniform_over_places() -> None:
    boxes = boxes_of("crop")
    assert set(boxes.height.tolist()) == set(boxes.width.tolist()) == {SIZE}
    places = torch.bincount(boxes.top * 9 + boxes.left, minlength=81)
    assert len(places) == 81
    assert stats.chisquare(places.numpy()).pvalue > UNLIKELY


def reference_sides(num: int) -> Tensor:
    """Heights and widths by torchvision's own `RandomResizedCrop.get_params`, (num, 2)."""
    from suite.torchvision_shim import torchvision

    crop = torchvision.transforms.RandomResizedCrop
    image = torch.empty(1, PADDED, PADDED)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        params = [crop.get_params(image, list(augment.AREA), list(augment.RATIO)) for _ in range(num)]
    return torch.tensor([p[2:] for p in params])


def test_sides_are_distributed_as_torchvisions() -> None:
    boxes, theirs = boxes_of("protocol"), reference_sides(5000).double()
    ours = torch.stack((boxes.height, boxes.width), 1).double()
    for measure in (
        lambda sides: sides.prod(1),
        lambda sides: sides[:, 1] / sides[:, 0],
        lambda sides: sides[:, 0],
        lambda sides: sides[:, 1],
    ):
        assert stats.ks_2samp(measure(ours).numpy(), measure(theirs).numpy()).pvalue > UNLIKELY


def test_small_areas_are_uniform_and_ratios_log_uniform() -> None:
    boxes = boxes_of("protocol", size=992)  # of 1,000 padded pixels: rounding is not seen
    area = (boxes.height * boxes.width).double() / 1000**2
    ratio = boxes.width.double() / boxes.height
    assert 0.079 < float(area.min()) < 0.081
    assert 0.747 < float(ratio.min()) < 0.752
    assert 1.328 < float(ratio.max()) < 1.338
    always_fits = area < 0.74  # then neither side exceeds the image, whatever the ratio
    small, ratio = area[always_fits].numpy(), ratio[always_fits].log().numpy()
    assert stats.kstest(small, stats.uniform(0.08, 0.66).cdf).pvalue > UNLIKELY
    assert stats.kstest(ratio, stats.uniform(math.log(3 / 4), 2 * math.log(4 / 3)).cdf).pvalue > UNLIKELY


def test_tries_are_taken_in_order_and_end_with_the_whole_image() -> None:
    never = torch.zeros(3, 32, dtype=torch.int64)
    never[:, 0:20:2] = 2**32 - 1  # area 1 and ratio 3/4: too high
    never[1, 8], never[1, 9] = 2**31, 2**31  # the fifth try of image 1 fits: area 0.54, ratio 1
    never[2, 8], never[2, 9] = 2**31, 2**31  # as does that of image 2, but its second comes first
    never[2, 2], never[2, 3] = 0, 2**32 - 1  # area 0.08, ratio 4/3: wider than high
    boxes = augment.random_resized_crop_boxes(never, SIZE)
    side = round(math.sqrt(0.54) * PADDED)
    assert boxes.height.tolist() == [PADDED, side, round(math.sqrt(0.08 * 3 / 4) * PADDED)]
    assert boxes.width.tolist() == [PADDED, side, round(math.sqrt(0.08 * 4 / 3) * PADDED)]
    assert boxes.top.tolist() == boxes.left.tolist() == [0, 0, 0]
