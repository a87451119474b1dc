"""ResNet-18, 34, 50 and 101, in the forms used for CIFAR and for ImageNet.

Source: He et al., "Deep Residual Learning for Image Recognition" (2016). As in most later work, bottlenecks have their
stride in the 3x3 convolution, where the paper has it in the first 1x1.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

STEM = 64
STAGES = (64, 128, 256, 512)
LARGEST_CIFAR_FORM = 64


class Residual(nn.Module):
    """relu(branch(x) + shortcut(every stride-th pixel of x)); both must give equal shapes.

    A 1x1 convolution with that stride has equal values, but its gradients write past their memory on CPUs where a block
    of oneDNN's has more channels (its issue 6035): wrong numbers, or a crash.

    Shapes: (batch, inputs, height, width) -> (batch, outputs, ceil(height / stride), ceil(width / stride)).
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module, stride: int) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, shaped as the class says."""
        return torch.relu_(self.branch(x) + self.shortcut(x[..., :: self.stride, :: self.stride]))


def _conv_norm(inputs: int, outputs: int, size: int, stride: int, affine: bool) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, momentum=0.1, affine=affine))


def basic(inputs: int, width: int, stride: int, affine: bool) -> Residual:
    """Two 3x3 convolutions, the first with the stride; `width` channels out."""
    branch = nn.Sequential(
        _conv_norm(inputs, width, 3, stride, affine),
        nn.ReLU(inplace=True),
        _conv_norm(width, width, 3, 1, affine),
    )
    return Residual(branch, _shortcut(inputs, width, stride, affine), stride)


def bottleneck(inputs: int, width: int, stride: int, affine: bool) -> Residual:
    """1x1 down to `width`, 3x3 with the stride, 1x1 up to `4 * width` channels out."""
    branch = nn.Sequential(
        _conv_norm(inputs, width, 1, 1, affine),
        nn.ReLU(inplace=True),
        _conv_norm(width, width, 3, stride, affine),
        nn.ReLU(inplace=True),
        _conv_norm(width, 4 * width, 1, 1, affine),
    )
    return Residual(branch, _shortcut(inputs, 4 * width, stride, affine), stride)


def _shortcut(inputs: int, outputs: int, stride: int, affine: bool) -> nn.Module:
    # By shape, not by stage: the stem is not scaled, so stage 1 needs a projection at some widths and not at others.
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return _conv_norm(inputs, outputs, 1, 1, affine)


def resnet(
    block: Callable[[int, int, int, bool], Residual],
    expansion: int,
    depths: Sequence[int],
    *,
    num_classes: int,
    image_size: int,
    in_channels: int = 3,
    width_mult: float = 1.0,
    norm_affine: bool = True,
) -> nn.Sequential:
    """A stem of 64 channels at every width, four stages of `block`, the mean over all pixels, a linear layer with bias.

    Stage i has `depths[i]` blocks of `int(STAGES[i] * width_mult)` channels, `expansion` times as many at the output;
    stages 2 to 4 start with stride 2. The stem is a 3x3 convolution up to 64 pixels (the CIFAR form), above that 7x7 of
    stride 2 and a 3x3 max-pool of stride 2 (the ImageNet form).

    Shapes: (batch, in_channels, image_size, image_size) -> (batch, num_classes). Training needs more than one value per
    channel in batch norm: a batch of 2 or more for images up to 8 pixels.
    """
    parts = OrderedDict[str, nn.Module](stem=_stem(in_channels, image_size, norm_affine))
    inputs = STEM
    for stage, (channels, depth) in enumerate(zip(STAGES, depths, strict=True), start=1):
        width = int(channels * width_mult)
        first = block(inputs, width, 1 if stage == 1 else 2, norm_affine)
        inputs = expansion * width
        rest = [block(inputs, width, 1, norm_affine) for _ in range(depth - 1)]
        parts[f"stage{stage}"] = nn.Sequential(first, *rest)
    parts["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    parts["head"] = nn.Linear(inputs, num_classes)
    return nn.Sequential(parts)


def _stem(in_channels: int, image_size: int, affine: bool) -> nn.Sequential:
    if image_size <= LARGEST_CIFAR_FORM:
        return nn.Sequential(_conv_norm(in_channels, STEM, 3, 1, affine), nn.ReLU(inplace=True))
    return nn.Sequential(
        _conv_norm(in_channels, STEM, 7, 2, affine), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1)
    )


NETS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": partial(resnet, basic, 1, (2, 2, 2, 2)),
    "resnet34": partial(resnet, basic, 1, (3, 4, 6, 3)),
    "resnet50": partial(resnet, bottleneck, 4, (3, 4, 6, 3)),
    "resnet101": partial(resnet, bottleneck, 4, (3, 4, 23, 3)),
}
