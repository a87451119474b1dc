"""Where a layer's tensors lie, and how its weights are read and written."""

import triton
import triton.language as tl

# Rows of the table of addresses, (5, layers).
PARAM, GRAD, THETA = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
SCORE, BUFFER = tl.constexpr(3), tl.constexpr(4)


@triton.jit
def address(table, row: tl.constexpr, num_layers, layer, dtype: tl.constexpr):
    return tl.load(table + row * num_layers + layer).to(tl.pointer_type(dtype))


@triton.jit
def wide(table, row: tl.constexpr, num_layers, layer, WIDE: tl.constexpr):
    """The address of float32 numbers; where ``WIDE``, four of them are read and written at once."""
    # Not by address(): older Tritons lose what is said of a function's result.
    pointer = tl.load(table + row * num_layers + layer).to(tl.pointer_type(tl.float32))
    return tl.multiple_of(pointer, 16) if WIDE else pointer


@triton.jit
def theta_at(table, num_layers, layer, constants, position, there, PACKED: tl.constexpr, WIDE: tl.constexpr):
    if PACKED:
        byte = tl.load(address(table, THETA, num_layers, layer, tl.uint8) + (position >> 3), mask=there, other=0)
        constant = tl.load(constants + layer)
        return tl.where((byte.to(tl.int32) >> (position & 7)) & 1 != 0, constant, -constant)
    else:
        return tl.load(wide(table, THETA, num_layers, layer, WIDE) + position, mask=there, other=0.0)


@triton.jit
def write(weight, position, there, table, num_layers, layer, WIDE: tl.constexpr):
    tl.store(wide(table, PARAM, num_layers, layer, WIDE) + position, weight, mask=there)


@triton.jit
def store_above_threshold(cut, place, position, is_wrong, table, num_layers, layer, constants, PACKED):
    theta = theta_at(table, num_layers, layer, constants, position, is_wrong, PACKED, False)
    write(tl.where(place > cut, theta, 0.0), position, is_wrong, table, num_layers, layer, False)
