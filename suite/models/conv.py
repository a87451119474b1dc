"""Conv2, Conv4 and Conv6: small VGG-like nets without normalization.

Source: Frankle & Carbin, "The Lottery Ticket Hypothesis" (2019), scaled by width as in Ramanujan et al., "What's Hidden
in a Randomly Weighted Neural Network?" (2020).
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import nn

HIDDEN = 256


def conv_net(
    channels: Sequence[int],
    *,
    num_classes: int,
    image_size: int,
    in_channels: int = 3,
    width_mult: float = 1.0,
    norm_affine: bool = True,
) -> nn.Sequential:
    """Two 3x3 convolutions and a 2x2 max-pool per entry of `channels`, then three linear layers; ReLU between.

    Every layer has a bias, and every width but the number of classes is `int(width * width_mult)`. Pools round odd
    sizes down: 28 pixels go 14, 7, 3. `norm_affine` is accepted so that all nets are built alike, and has no effect:
    there is no norm.

    Shapes: (batch, in_channels, image_size, image_size) -> (batch, num_classes).
    Errors: ValueError if `image_size` is below `2 ** len(channels)`, where a pool would leave no pixel.
    """
    smallest = 2 ** len(channels)
    if image_size < smallest:
        raise ValueError(
            f"image_size={image_size}: {len(channels)} max-pools halve it {len(channels)} times and at least one pixel "
            f"must remain; the smallest image_size of this net is {smallest}"
        )
    widths = [int(width * width_mult) for width in channels]
    hidden = int(HIDDEN * width_mult)
    pixels = (image_size // smallest) ** 2
    return nn.Sequential(
        *_features([in_channels, *widths]),
        nn.Flatten(),
        *_classifier([widths[-1] * pixels, hidden, hidden, num_classes]),
    )


def _features(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return layers


def _classifier(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return layers[:-1]  # the last linear layer gives logits


NETS: dict[str, Callable[..., nn.Module]] = {
    "conv2": partial(conv_net, (64,)),
    "conv4": partial(conv_net, (64, 128)),
    "conv6": partial(conv_net, (64, 128, 256)),
}
