"""Image classifiers of the library timm, drawn by the suite's methods: no pretrained weights.

Source: Wightman, "PyTorch Image Models" (github.com/huggingface/pytorch-image-models).
"""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from suite.config import InputError

_WIDENED = "ConvNeXt, ResNet, VisionTransformer"  # timm's classes that take their width as an argument


def timm_net(
    *,
    num_classes: int,
    image_size: int,
    in_channels: int = 3,
    width_mult: float = 1.0,
    norm_affine: bool = True,
    architecture: str,
) -> nn.Module:
    """The network that timm calls `architecture`.

    `width_mult` scales the channels of ConvNeXts and ResNets (but the stem of ResNets), and the width of each head of
    vision transformers. Other architectures have no width but their own.

    Shapes: (batch, in_channels, image_size, image_size) -> (batch, num_classes).
    Errors: InputError if timm is not installed; ValueError for an architecture that timm does not have or that a ticket
    could not rebuild, for an image size that it does not take, and for a width that it cannot have.
    """
    timm = _timm()
    if not timm.is_model(architecture):
        raise ValueError(
            f"architecture={architecture}: timm {timm.__version__} has none of this name; {_near(timm, architecture)}"
        )
    given: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels}
    if timm.models.get_pretrained_cfg(architecture).fixed_input_size:
        given["img_size"] = image_size
    with torch.device("meta"):
        if width_mult != 1:
            given |= _scaled(_create(timm, architecture, given), architecture, width_mult)
        _check(_create(timm, architecture, given), architecture, torch.empty(2, in_channels, image_size, image_size))
    model = _create(timm, architecture, given)
    if not norm_affine:
        _remove_affine(model)
    return model


def _timm() -> Any:
    importlib.import_module("suite.torchvision_shim")  # timm imports torchvision
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise InputError(f"model timm: the library {error.name} is missing: pip install timm") from None


def _near(timm: Any, architecture: str) -> str:
    """What timm has that begins alike."""
    found = timm.list_models(f"{architecture.split('_')[0]}*")
    return (
        f"it has {', '.join(found[:8])}{' and more' if len(found) > 8 else ''}" if found else "see timm.list_models()"
    )


def _create(timm: Any, architecture: str, given: dict[str, Any]) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(architecture, **given)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:  # timm checks by each of them
        settings = ", ".join(f"{key}={value}" for key, value in given.items())
        raise ValueError(f"architecture={architecture}: timm cannot make it with {settings}: {error}") from None
    return model


def _scaled(plain: Any, architecture: str, width_mult: float) -> dict[str, Any]:
    """The arguments of timm that make a network so much wider than `plain`."""
    kind = type(plain).__name__
    if kind == "ConvNeXt":
        return {"dims": [max(int(info["num_chs"] * width_mult), 1) for info in plain.feature_info]}
    if kind == "ResNet":
        return {"channels": [max(int(channels * width_mult), 1) for channels in (64, 128, 256, 512)]}
    if kind == "VisionTransformer":
        heads = plain.blocks[0].attn.num_heads
        return {"embed_dim": heads * max(int(plain.embed_dim // heads * width_mult), 1)}
    raise ValueError(
        f"width_mult={width_mult}: it must be 1 for {architecture}, which is timm's class {kind}; "
        f"the classes with a width are {_WIDENED}"
    )


def _check(model: nn.Module, architecture: str, images: Tensor) -> None:
    """Raise ValueError for a network that does not take such images, or has tensors that no ticket would hold."""
    kept = model.state_dict()
    if missing := [name for name, _ in model.named_buffers() if name not in kept]:
        raise ValueError(
            f"architecture={architecture}: its buffer {missing[0]} is not in its state, so no ticket can hold it: "
            "choose another architecture"
        )
    try:
        model.eval()(images)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(f"image_size={images.shape[-1]}: {architecture} cannot take such images: {error}") from None


def _remove_affine(model: nn.Module) -> None:
    """Take their scale and shift from all norms."""
    for module in model.modules():
        if "Norm" in type(module).__name__:
            for name in ("weight", "bias"):
                if isinstance(module._parameters.get(name), nn.Parameter):
                    module.register_parameter(name, None)
