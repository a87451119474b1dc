"""Settings of the suite's networks; ``registry`` lists them. Loads no torch."""

from typing import Annotated, Literal

from pydantic import Field

from suite.config.settings import Count, NamedSettings


class ModelSettings(NamedSettings):
    """What every network has."""

    width_mult: Annotated[float, Field(ge=1 / 64)] = 1.0  # the narrowest layers have 64 channels at 1
    """Factor of the width of each layer but the last, rounded down; the stem of ResNets is not scaled."""

    norm_affine: bool | None = None
    """Train the scale and shift of normalization layers; unset: where the method trains weights."""

    train_biases: bool | None = None
    """Train biases; unset: where the method trains weights. Biases that are not trained stay 0."""


class ConvSettings(ModelSettings):
    """The convolutional networks of 2, 4 and 6 layers with three linear ones."""

    IMPLEMENTATION = "suite.models.conv:NETS"

    name: Literal["conv2", "conv4", "conv6"]
    """How many convolutional layers the network has."""


class ResNetSettings(ModelSettings):
    """Residual networks: the ImageNet form for images above 64 pixels, else the CIFAR form."""

    IMPLEMENTATION = "suite.models.resnet:NETS"

    name: Literal["resnet18", "resnet34", "resnet50", "resnet101"]
    """How many layers the network has."""


class VitSettings(ModelSettings):
    """A small vision transformer: 3 heads, no class token, fixed positions."""

    IMPLEMENTATION = "suite.models.vit:NETS"

    name: Literal["vit"]
    """The only network of its kind."""

    patch_size: Count = 4
    """Pixels along the side of a patch; it must divide the images' side."""

    depth: Count = 6
    """How many blocks of attention and perceptron the network has."""


class TimmSettings(ModelSettings):
    """Any image classifier of the library timm, without its pretrained weights (``pip install timm``)."""

    IMPLEMENTATION = "suite.models.timm_nets:timm_net"

    name: Literal["timm"]
    """The networks of timm."""

    architecture: Annotated[str, Field(examples=["convnext_atto"])]
    """Its name in timm. ``width_mult`` may differ from 1 in ConvNeXt, ResNet, DeiT and ViT models."""
