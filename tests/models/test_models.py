"""Every count against the reference table; every forward against a slow one written out here by hand."""

import csv
import inspect
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from suite import models

CONV = ("conv2", "conv4", "conv6")
RESNET = ("resnet18", "resnet34", "resnet50", "resnet101")
OWN = (*CONV, *RESNET, "vit")
CONV_CHANNELS = {"conv2": (64,), "conv4": (64, 128), "conv6": (64, 128, 256)}
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
# 1e9 multiply-adds of one 224-pixel image, as torchvision's model tables have them.
IMAGENET_GMACS = {"resnet18": 1.81, "resnet34": 3.66, "resnet50": 4.09, "resnet101": 7.80}

with Path(__file__).with_name("param_counts.csv").open(newline="") as file:
    ROWS = list(csv.DictReader(file))


def on_meta(name: str, **settings) -> nn.Module:
    with torch.device("meta"):
        return models.build(name, **{"num_classes": 10, "image_size": 32, **settings})


def build_row(row: dict[str, str], norm_affine: bool) -> nn.Module:
    form = {"cifar10": (10, 32), "imagenet": (1000, 224)}
    num_classes, image_size = form[row["dataset"]]
    settings = {"num_classes": num_classes, "image_size": image_size, "width_mult": float(row["width"])}
    return on_meta(row["network"], norm_affine=norm_affine, **settings)


def layers(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


def total(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def row_id(row: dict[str, str]) -> str:
    return f"{row['dataset']}-{row['network']}-{row['width']}"


# --- counts -----------------------------------------------------------------------------------------------------------


def test_the_table_is_whole():
    assert len(ROWS) == 24
    assert {row["network"] for row in ROWS} == {"conv6", *RESNET}


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_counts_of_the_table(row):
    masked, dense = build_row(row, norm_affine=False), build_row(row, norm_affine=True)
    sizes = [layer.weight.numel() for layer in layers(masked)]
    norms = [p for module in dense.modules() if isinstance(module, nn.BatchNorm2d) for p in module.parameters()]
    sparsity = float(row["sparsity"])
    counted = {
        "masked_layers": len(sizes),
        "weights": sum(sizes),
        "bias": sum(layer.bias.numel() for layer in layers(masked) if layer.bias is not None),
        "params_before_pruning_maskmode": total(masked),
        "actual_mask_ones": sum(n - round(sparsity * (n - 1)) for n in sizes),
        "bn_affine_params_sgd": sum(p.numel() for p in norms),
        "params_sgd_total": total(dense),
    }
    assert counted == {key: int(row[key]) for key in counted}


@pytest.mark.parametrize("name", RESNET)
def test_multiply_adds_of_the_imagenet_form(name):
    model = on_meta(name, num_classes=1000, image_size=224)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(IMAGENET_GMACS[name], abs=0.01)


# --- forward, against nets written out by hand ------------------------------------------------------------------------


def conv_reference(name: str, model: nn.Module, x: Tensor) -> Tensor:
    weights = iter(model.parameters())
    for _ in CONV_CHANNELS[name]:
        for _ in range(2):
            x = F.relu(F.conv2d(x, next(weights), next(weights), padding=1))
        x = F.max_pool2d(x, 2)
    x = x.flatten(1)
    x = F.relu(F.linear(x, next(weights), next(weights)))
    x = F.relu(F.linear(x, next(weights), next(weights)))
    x = F.linear(x, next(weights), next(weights))
    assert next(weights, None) is None
    return x


def conv_norm(x: Tensor, weights: Iterator[Tensor], stride: int = 1) -> Tensor:
    weight = next(weights)
    x = F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2)
    return F.batch_norm(x, None, None, training=True, eps=1e-5)


def block_reference(x: Tensor, weights: Iterator[Tensor], strides: tuple[int, ...]) -> Tensor:
    y = x
    for i, stride in enumerate(strides):
        y = conv_norm(y if i == 0 else F.relu(y), weights, stride)
    if y.shape != x.shape:
        x = conv_norm(x, weights, max(strides))
    return F.relu(y + x)


def resnet_reference(name: str, model: nn.Module, x: Tensor, imagenet_form: bool) -> Tensor:
    weights = iter(model.parameters())
    x = F.relu(conv_norm(x, weights, stride=2 if imagenet_form else 1))
    if imagenet_form:
        x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage, depth in enumerate(DEPTHS[name]):
        for i in range(depth):
            stride = 2 if stage > 0 and i == 0 else 1
            x = block_reference(x, weights, (1, stride, 1) if name in ("resnet50", "resnet101") else (stride, 1))
    x = F.linear(x.mean((2, 3)), next(weights), next(weights))
    assert next(weights, None) is None
    return x


def vit_reference(model: nn.Module, x: Tensor, patch: int) -> Tensor:
    weights = iter(model.parameters())
    side, weight, bias = x.shape[-1] // patch, next(weights), next(weights)
    width = len(weight)
    tokens = []
    for row, column in itertools.product(range(side), repeat=2):
        pixels = x[:, :, patch * row : patch * (row + 1), patch * column : patch * (column + 1)]
        waves = [10_000 ** -(i / (-(-width // 4) - 1)) for i in range(-(-width // 4))]
        position = [f(at * wave) for at in (row, column) for f in (math.sin, math.cos) for wave in waves][:width]
        tokens.append(pixels.flatten(1) @ weight.flatten(1).T + bias + torch.tensor(position).double())
    x = torch.stack(tokens, dim=1)
    for _ in range(2):
        y = F.linear(F.layer_norm(x, (width,)), next(weights), next(weights))
        heads = []
        for q, k, v in zip(*(part.chunk(3, dim=-1) for part in y.chunk(3, dim=-1)), strict=True):
            heads.append((q @ k.transpose(1, 2) / math.sqrt(width // 3)).softmax(-1) @ v)
        x = x + F.linear(torch.cat(heads, dim=-1), next(weights), next(weights))
        y = F.gelu(F.linear(F.layer_norm(x, (width,)), next(weights), next(weights)))
        x = x + F.linear(y, next(weights), next(weights))
    x = F.linear(F.layer_norm(x, (width,)).mean(1), next(weights), next(weights))
    assert next(weights, None) is None
    return x


def build_random(name: str, image_size: int, **settings) -> tuple[nn.Module, Tensor]:
    """A narrow float64 net with biases that are not 0, and two images for it."""
    torch.manual_seed(0)
    settings = {"num_classes": 5, "width_mult": 0.125, "norm_affine": False, **settings}
    model = models.build(name, image_size=image_size, **settings).double()
    for layer in layers(model):
        if layer.bias is not None:
            nn.init.normal_(layer.bias)
    return model, torch.randn(2, 3, image_size, image_size, dtype=torch.float64)


@pytest.mark.parametrize("image_size", [16, 27])
@pytest.mark.parametrize("name", CONV)
def test_conv_nets_compute_what_the_paper_says(name, image_size):
    model, x = build_random(name, image_size)
    torch.testing.assert_close(model(x), conv_reference(name, model, x))


@pytest.mark.parametrize(("patch_size", "image_size"), [(4, 8), (3, 12)])
@pytest.mark.parametrize("width_mult", [3 / 64, 0.25])
def test_vision_transformers_compute_what_the_paper_says(width_mult, patch_size, image_size):
    model, x = build_random("vit", image_size, width_mult=width_mult, patch_size=patch_size, depth=2)
    torch.testing.assert_close(model(x), vit_reference(model, x, patch_size), rtol=1e-6, atol=1e-6)


def test_a_patch_that_does_not_fill_the_image_names_those_that_do():
    with pytest.raises(ValueError, match=r"patch_size=4: it must divide image_size=9; the choices are 1, 3, 9"):
        on_meta("vit", image_size=9)


@pytest.mark.parametrize("width_mult", [0.125, 0.25, 1.0])  # stage 1 projects in: all, basic only, bottlenecks only
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_compute_what_the_paper_says(name, width_mult):
    model, x = build_random(name, 19, width_mult=width_mult)
    torch.testing.assert_close(model(x), resnet_reference(name, model, x, imagenet_form=False))


@pytest.mark.parametrize("name", ["resnet34", "resnet101"])
def test_deep_resnets_compute_what_the_paper_says(name):
    model, x = build_random(name, 16)
    torch.testing.assert_close(model(x), resnet_reference(name, model, x, imagenet_form=False))


@pytest.mark.parametrize(("image_size", "imagenet_form"), [(64, False), (65, True)])
def test_the_imagenet_form_begins_above_64_pixels(image_size, imagenet_form):
    model, x = build_random("resnet18", image_size)
    torch.testing.assert_close(model(x), resnet_reference("resnet18", model, x, imagenet_form))


@pytest.mark.parametrize(("image_size", "in_channels"), [(8, 3), (28, 1), (32, 3), (64, 3)])
@pytest.mark.parametrize("name", OWN)
def test_small_images_give_logits_and_every_parameter_a_gradient(name, image_size, in_channels):
    model = models.build(name, num_classes=7, image_size=image_size, in_channels=in_channels, width_mult=0.25)
    logits = model(torch.randn(2, in_channels, image_size, image_size))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_imagenet_images_give_logits(name):
    model = models.build(name, num_classes=1000, image_size=224, width_mult=0.25)
    assert model(torch.randn(2, 3, 224, 224)).shape == (2, 1000)


# --- what the builders promise ----------------------------------------------------------------------------------------


def test_names_and_signature_are_the_contract():
    assert models.names() == (*OWN, "timm")
    parameters = inspect.signature(models.build).parameters.values()
    assert {p.name: p.default for p in parameters if p.default is not p.empty} == {
        "in_channels": 3,
        "width_mult": 1.0,
        "norm_affine": True,
    }


@pytest.mark.parametrize("name", OWN)
def test_biases_are_zero_and_the_rest_is_plain_torch(name):
    model = models.build(name, num_classes=10, image_size=32, width_mult=0.25)
    biases = [layer.bias for layer in layers(model) if layer.bias is not None]
    assert len(biases) == (1 if name in RESNET else len(layers(model)))
    assert all(bias.count_nonzero() == 0 for bias in biases)
    assert all(layer.weight.count_nonzero() > 0 for layer in layers(model))
    leaves = [m for m in model.modules() if not list(m.children()) and list(m.parameters())]
    assert {type(m).__module__.split(".")[0] for m in leaves} == {"torch"}


@pytest.mark.parametrize("name", RESNET)
def test_no_convolution_of_one_pixel_has_a_stride(name):
    """oneDNN's gradients of such write past their memory on some CPUs."""
    single = [layer for layer in layers(on_meta(name)) if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    assert single and {layer.stride for layer in single} == {(1, 1)}


@pytest.mark.parametrize("norm_affine", [False, True])
@pytest.mark.parametrize("name", RESNET)
def test_batch_norms(name, norm_affine):
    norms = [m for m in on_meta(name, norm_affine=norm_affine).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.affine) for norm in norms} == {(0.1, norm_affine)}


@pytest.mark.parametrize("name", CONV)
def test_norm_affine_has_no_effect_on_conv_nets(name):
    shapes = [[p.shape for p in on_meta(name, norm_affine=affine).parameters()] for affine in (False, True)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", OWN)
def test_scaled_widths_are_rounded_down_and_the_stem_of_resnets_is_not_scaled(name):
    model = on_meta(name, width_mult=0.3)  # 64 * 0.3 = 19.2, 256 * 0.3 = 76.8, 512 * 0.3 = 153.6
    first, last = layers(model)[0], layers(model)[-1]
    features = {"resnet18": 153, "resnet34": 153, "resnet50": 4 * 153, "resnet101": 4 * 153, "vit": 3 * 19}
    assert first.out_channels == {"vit": 3 * 19}.get(name, 19 if name in CONV else 64)
    assert last.in_features == features.get(name, 76)


@pytest.mark.parametrize("name", OWN)
def test_the_narrowest_net_has_one_channel(name):
    model = on_meta(name, width_mult=1 / 64)
    assert min(layer.weight.shape[0] for layer in layers(model)) == (3 if name == "vit" else 1)  # one a head


# --- errors name the value, the rule and the choices ------------------------------------------------------------------


def test_an_unknown_name_lists_the_names():
    with pytest.raises(
        ValueError, match=r"'conv8'.*conv2, conv4, conv6, resnet18, resnet34, resnet50, resnet101, vit, timm"
    ):
        on_meta("conv8")


@pytest.mark.parametrize("width_mult", [0, -1.0, 0.0156, float("nan"), float("inf")])
@pytest.mark.parametrize("name", OWN)
def test_a_width_without_channels_names_the_smallest(name, width_mult):
    with pytest.raises(ValueError, match=rf"width_mult={width_mult}: .*> 0.*the smallest is 1/64 = 0.015625"):
        on_meta(name, width_mult=width_mult)


@pytest.mark.parametrize(("name", "smallest"), [("conv2", 2), ("conv4", 4), ("conv6", 8)])
def test_an_image_too_small_for_the_pools_names_the_smallest(name, smallest):
    assert on_meta(name, image_size=smallest)(torch.empty(1, 3, smallest, smallest, device="meta")).shape == (1, 10)
    with pytest.raises(
        ValueError, match=rf"image_size={smallest - 1}: .*smallest image_size of this net is {smallest}"
    ):
        on_meta(name, image_size=smallest - 1)


@pytest.mark.parametrize("key", ["num_classes", "image_size", "in_channels"])
@pytest.mark.parametrize("name", OWN)
def test_counts_below_one_are_named(name, key):
    with pytest.raises(ValueError, match=rf"{key}=0: .*at least 1"):
        on_meta(name, **{key: 0})
