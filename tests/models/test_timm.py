"""timm as a family of networks: any architecture that images reach and a ticket can rebuild."""

import sys

import pytest
import torch
from torch import nn

from suite import methods, models
from suite.config import InputError

pytestmark = [pytest.mark.slow, pytest.mark.libraries, pytest.mark.filterwarnings("ignore")]


def build(architecture: str, image_size: int = 32, **settings) -> nn.Module:
    given = {"num_classes": 5, "in_channels": 1, **settings}
    return models.build("timm", architecture=architecture, image_size=image_size, **given)


@pytest.mark.parametrize(
    "architecture", ["convnext_atto", "resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050", "regnety_002"]
)
def test_an_architecture_takes_images_and_masks(architecture):
    model = build(architecture, norm_affine=False)
    weights = methods.prunable(model)
    assert weights.share > 0.99
    optimizer = methods.EdgePopup(weights, sparsity=0.5, lr=0.1)
    logits = model(torch.randn(4, 1, 32, 32))
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    optimizer.step()
    norms = [module for module in model.modules() if "Norm" in type(module).__name__]
    assert norms and not [norm for norm in norms if list(norm.parameters(recurse=False))]


@pytest.mark.parametrize(
    ("architecture", "ratio"), [("convnext_atto", 16), ("resnet18", 16), ("deit_tiny_patch16_224", 16)]
)
def test_a_width_scales_all_layers(architecture, ratio):
    counts = [sum(w.numel() for _, w in methods.prunable(build(architecture, width_mult=width))) for width in (0.25, 1)]
    assert counts[1] / counts[0] == pytest.approx(ratio, rel=0.12)


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        ("convnext_nano2", {}, r"architecture=convnext_nano2: timm .* has none of this name; it has convnext_"),
        ("nothing", {}, r"architecture=nothing: .*timm.list_models"),
        ("hf_hub:someone/something", {}, "has none of this name"),
        (
            "mobilenetv3_small_050",
            {"width_mult": 0.5},
            "width_mult=0.5: it must be 1 for .*; .*ConvNeXt, ResNet, VisionTransformer",
        ),
        ("swin_tiny_patch4_window7_224", {"image_size": 224}, "relative_position_index is not in its state"),
        ("convnext_atto", {"image_size": 8}, "image_size=8: convnext_atto cannot take such images"),
        ("vit_tiny_patch16_224", {"image_size": 8}, "vit_tiny_patch16_224"),
    ],
)
def test_what_cannot_be_built_is_named(architecture, settings, message):
    with pytest.raises(ValueError, match=message):
        build(architecture, **settings)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="the library timm is missing: pip install timm"):
        build("resnet18")
