"""theta of a ``signed_constant`` layer as one bit a weight: 1/32 of the memory, the same numbers."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

_BITS = 8


@dataclass
class Signs:
    """``+constant`` where a bit is 1, ``-constant`` where it is 0.

    ``bits`` is uint8, (ceil(n / 8),), weight i of the memory's order in bit i % 8 of byte i // 8; ``size``,
    ``stride`` and ``dtype`` are those of the tensor that was packed.
    """

    bits: Tensor
    constant: float
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def packed(cls, theta: Tensor, constant: float) -> "Signs":
        """The signs of a dense tensor that holds only +-``constant``, rounded to its dtype.

        Raises:
            ValueError: it holds something else.
        """
        if not bool((theta.abs() == torch.tensor(constant, dtype=theta.dtype, device=theta.device)).all()):
            raise ValueError(f"theta: holds other values than +-{constant:g}: signs alone cannot say them")
        num = -(-theta.numel() // _BITS)
        bits = torch.empty(num, dtype=torch.uint8, device=theta.device)
        signs = cls(bits, constant, theta.shape, theta.stride(), theta.dtype)
        signs.pack_(theta)
        return signs

    def pack_(self, theta: Tensor) -> None:
        """Take the signs of ``theta``, which lies in memory as the packed tensor did."""
        flat = theta.as_strided((theta.numel(),), (1,)) > 0
        padded = torch.nn.functional.pad(flat, (0, -len(flat) % _BITS)).view(len(self.bits), _BITS)
        powers = 2 ** torch.arange(_BITS, dtype=torch.uint8, device=flat.device)
        self.bits.copy_((padded * powers).sum(1, dtype=torch.uint8))

    def block(self, start: int, num: int) -> Tensor:
        """Weights ``start`` to ``start + num - 1`` in the memory's order, (num,); ``start`` is a multiple of 8."""
        some = self.bits[start // _BITS : -(-(start + num) // _BITS)]
        return _signs_of_bytes(self.dtype, some.device).index_select(0, some.int()).view(-1)[:num].mul_(self.constant)

    def unpacked(self) -> Tensor:
        """The packed tensor, in its shape, dtype and memory format."""
        return self.block(0, self.size.numel()).as_strided(self.size, self.stride)


@cache
def _signs_of_bytes(dtype: torch.dtype, device: torch.device) -> Tensor:
    """What each byte stands for: (256, 8), +1 and -1."""
    bits = torch.arange(256, device=device).view(-1, 1) >> torch.arange(_BITS, device=device)
    return ((bits & 1) * 2 - 1).to(dtype)


def storage_of(theta: Tensor | Signs) -> Tensor:
    """The tensor that holds the random weights of a layer: the bits, or the numbers themselves."""
    return theta.bits if isinstance(theta, Signs) else theta


def unpacked(theta: Tensor | Signs) -> Tensor:
    """The random weights of a layer, whichever way they are kept."""
    return theta.unpacked() if isinstance(theta, Signs) else theta
