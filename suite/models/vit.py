"""A small vision transformer without class token, whose weights are all matrices that methods can mask.

Sources: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021); fixed sine positions and the mean over tokens in
place of a class token as in Beyer et al., "Better plain ViT baselines for ImageNet-1k" (2022).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_HEADS = 3
HEAD_WIDTH = 64
_LONGEST_WAVE = 10_000


class Attention(nn.Module):
    """Multi-head self-attention with `NUM_HEADS` heads.

    Shapes: (batch, tokens, width) -> (batch, tokens, width).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens, each a mean of all by attention."""
        queries, keys, values = self.qkv(x).unflatten(-1, (3, NUM_HEADS, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(queries, keys, values)
        return self.out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, then a perceptron of 4 times the width for each token; both after a norm and beside a shortcut.

    Shapes: (batch, tokens, width) -> (batch, tokens, width).
    """

    def __init__(self, width: int, affine: bool) -> None:
        super().__init__()
        norms = [nn.LayerNorm(width, elementwise_affine=affine) for _ in range(2)]
        self.attention = nn.Sequential(norms[0], Attention(width))
        self.perceptron = nn.Sequential(norms[1], nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, shaped as the class says."""
        x = x + self.attention(x)
        return x + self.perceptron(x)  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """One token for each patch: a linear map of its pixels, plus its position.

    Shapes: (batch, in_channels, image_size, image_size) -> (batch, (image_size / patch_size) ** 2, width).
    """

    def __init__(self, in_channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens, row by row."""
        x = self.patches(x)
        return x.flatten(2).transpose(1, 2) + positions(x.shape[2], x.shape[3], x.shape[1]).to(x)


def positions(height: int, width: int, channels: int) -> Tensor:
    """Sines and cosines of row and column, in wavelengths from 2 pi to about 10,000 times that.

    A quarter of the channels each, rounded up; what is too much is cut off. Computed anew in each forward, so no state
    and no ticket holds it. Shape: (height * width, channels), float32.
    """
    quarter = -(-channels // 4)
    frequencies = _LONGEST_WAVE ** -(torch.arange(quarter) / max(quarter - 1, 1))
    rows, columns = (torch.outer(torch.arange(n), frequencies) for n in (height, width))
    parts = [rows.sin(), rows.cos(), columns.sin(), columns.cos()]
    grids = [part[:, None] if i < 2 else part[None] for i, part in enumerate(parts)]
    table = torch.cat([grid.expand(height, width, quarter) for grid in grids], dim=-1)
    return table.flatten(0, 1)[:, :channels]


class MeanToken(nn.Module):
    """The mean over all tokens. Shapes: (batch, tokens, width) -> (batch, width)."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean, shaped as the class says."""
        return x.mean(1)


def vit(
    *,
    num_classes: int,
    image_size: int,
    in_channels: int = 3,
    width_mult: float = 1.0,
    norm_affine: bool = True,
    patch_size: int = 4,
    depth: int = 6,
) -> nn.Sequential:
    """Patches to tokens, `depth` blocks, a norm, the mean over the tokens, a linear layer.

    The width is 3 heads of `int(64 * width_mult)`. Every layer has a bias.

    Shapes: (batch, in_channels, image_size, image_size) -> (batch, num_classes).
    Errors: ValueError if `patch_size` does not divide `image_size`.
    """
    if image_size % patch_size:
        divisors = [n for n in range(1, image_size + 1) if image_size % n == 0]
        raise ValueError(
            f"patch_size={patch_size}: it must divide image_size={image_size}; the choices are "
            f"{', '.join(map(str, divisors))}"
        )
    width = NUM_HEADS * int(HEAD_WIDTH * width_mult)
    return nn.Sequential(
        Tokens(in_channels, width, patch_size),
        *(Block(width, norm_affine) for _ in range(depth)),
        nn.LayerNorm(width, elementwise_affine=norm_affine),
        MeanToken(),
        nn.Linear(width, num_classes),
    )


NETS: dict[str, Callable[..., nn.Module]] = {"vit": vit}
