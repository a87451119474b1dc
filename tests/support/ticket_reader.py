"""Reads tickets slowly, one symbol at a time, from what docs/reference/file_formats.md says and nothing else.

Imports neither suite nor constriction: what it agrees with is the page, not the code.
"""

import hashlib
import json
import math
import statistics
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = bytes.fromhex("89544B540D0A1A0A")
PRECISION = 24
M32, M64 = 2**32 - 1, 2**64 - 1
NUMBERS = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "?",
}


@dataclass
class SlowTicket:
    header: dict[str, Any]
    weights: dict[str, NDArray[Any]]  # of masked parameters; bfloat16 as float32 of the same values
    tensors: dict[str, NDArray[Any]]  # all else; bfloat16 as its bits
    digest: str  # of what was read


# --- The file ---


def read(data: bytes) -> SlowTicket:
    assert hashlib.sha256(data[:-32]).digest() == data[-32:], "SHA-256"
    assert data[:8] == MAGIC
    version, size = struct.unpack("<II", data[8:16])
    assert version == 1
    header = json.loads(zlib.decompress(data[16 : 16 + size]).decode("utf-8"))
    at, end = 16 + size, len(data) - 32
    state: dict[str, tuple[str, list[int], bytes]] = {}

    weights: dict[str, NDArray[Any]] = {}
    for layer in header["layers"]:
        mask_coding, mask_bytes = layer["mask"]
        kind, coding, theta_bytes = layer["theta"]
        mask = data[at : at + mask_bytes]
        theta = data[at + mask_bytes : at + mask_bytes + theta_bytes]
        at += mask_bytes + theta_bytes
        source = header["sources"][layer["source"]]
        weights[layer["name"]] = values = read_layer(layer, source, mask_coding, mask, kind, coding, theta)
        state[layer["name"]] = layer["dtype"], layer["shape"], bits_of(values, layer["dtype"])

    assert at + header["tensors_bytes"] == end, "what is left over belongs to nothing"
    numbers = data[at:end]
    if header["tensors_coding"] == "zlib":
        numbers = zlib.decompress(numbers)
    at, tensors = 0, {}
    for tensor in header["tensors"]:
        name, shape, dtype = tensor["name"], tensor["shape"], tensor["dtype"]
        count = math.prod(shape) * np.dtype(NUMBERS[dtype]).itemsize
        tensors[name] = np.frombuffer(numbers[at : at + count], NUMBERS[dtype]).reshape(shape)
        state[name] = dtype, shape, numbers[at : at + count]
        at += count
    assert at == len(numbers)

    digest = hashlib.sha256()
    for name in sorted(state):
        dtype, shape, bits = state[name]
        digest.update(f"{name} {dtype} {shape}\n".encode() + bits)
    return SlowTicket(header, weights, tensors, digest.hexdigest())


def read_layer(
    layer: dict[str, Any], source: dict[str, Any], mask_coding: str, mask: bytes, kind: str, coding: str, theta: bytes
) -> NDArray[Any]:
    shape, dtype, kept = layer["shape"], layer["dtype"], layer["kept"]
    theta_dtype = layer.get("theta_dtype", "float64" if dtype == "float64" else "float32")
    n = math.prod(shape)
    removed, locked = layer.get("frozen", [0, 0])
    is_survivor = frozen_of(n, removed, locked, source["seed"], layer["position"])
    free = [i for i in range(n) if is_survivor[i] is None]
    said = read_symbols(mask_coding, mask, len(free), [n - kept - removed, kept - locked])
    for i, symbol in zip(free, said, strict=True):
        is_survivor[i] = symbol
    survivors = [i for i in range(n) if is_survivor[i]]
    assert len(survivors) == kept

    weights = np.zeros(n, np.float64 if theta_dtype == "float64" else np.float32)
    if kind == "values":
        assert coding == "raw"
        weights[survivors] = np.frombuffer(theta, weights.dtype.newbyteorder("<"))
        return rounded_to(mapped(weights, layer), dtype).reshape(shape)

    draws, signs, changed, values = [0] * kept, [1] * kept, [0] * kept, iter(())
    if kind == "signs":
        turned = layer.get("turned", 0)
        signs = [1 - 2 * s for s in read_symbols(coding, theta, kept, [kept - turned, turned])]
    elif kind == "draws":
        (length,) = struct.unpack("<I", theta[:4])
        counts = [c for (c,) in struct.iter_unpack("<I", zlib.decompress(theta[4 : 4 + length]))]
        assert sum(counts) == kept
        draws = read_symbols(coding, theta[4 + length :], kept, counts)
    elif kind == "changed":
        turned = layer.get("turned", 0)
        end = len(theta) - turned * weights.itemsize
        changed = read_symbols(coding, theta[:end], kept, [kept - turned, turned])
        values = iter(np.frombuffer(theta[end:], weights.dtype.newbyteorder("<")))
    else:
        assert (kind, theta) == ("seed", b"")
    fan_in = source.get("fan_in")
    if fan_in is None:
        fan_in = math.prod(shape[1:])
    if source.get("scale_fan", False):
        fan_in = fan_in * (1 - source["sparsity"])
    for i, draw, sign, is_changed in zip(survivors, draws, signs, changed, strict=True):
        word = word_of(source["seed"], layer["position"], draw, i)
        value = sign * value_of(word, source["distribution"], fan_in, weights.dtype.type)
        weights[i] = next(values) if is_changed else value
    return rounded_to(mapped(weights, layer), dtype).reshape(shape)


def mapped(weights: NDArray[Any], layer: dict[str, Any]) -> NDArray[Any]:
    magnitude = layer.get("magnitude")
    return weights if magnitude is None else np.sign(weights) * weights.dtype.type(magnitude)


def frozen_of(n: int, removed: int, locked: int, seed: int, position: int) -> list[int | None]:
    """0 for a weight that is removed for ever, 1 for one that is kept for ever, None for a free one."""
    found: list[int | None] = [None] * n
    if removed + locked:
        order = sorted(range(n), key=lambda i: (word_of(seed, position, 0, i, stream=5), i))
        for place, i in enumerate(order):
            found[i] = 0 if place < removed else 1 if place >= n - locked else None
    return found


# --- Sequences of symbols ---


def read_symbols(coding: str, section: bytes, n: int, counts: list[int]) -> list[int]:
    assert sum(counts) == n
    if coding == "none":
        assert section == b"" and sum(c > 0 for c in counts) <= 1
        return [s for s, c in enumerate(counts) for _ in range(c)]
    symbols = read_raw(section, n, len(counts)) if coding == "raw" else read_range(section, n, counts)
    assert [symbols.count(s) for s in range(len(counts))] == counts
    return symbols


def read_raw(section: bytes, n: int, m: int) -> list[int]:
    b = (m - 1).bit_length()
    assert len(section) == (n * b + 7) // 8
    whole = int.from_bytes(section, "little")
    return [whole >> (i * b) & (2**b - 1) for i in range(n)]


def read_range(section: bytes, n: int, counts: list[int]) -> list[int]:
    m, before, begins = len(counts), 0, []
    for i, count in enumerate(counts):
        begins.append(math.floor(float(before) * (float(2**PRECISION - m) / float(n))) + i)
        before += count
    begins.append(2**PRECISION)

    assert len(section) % 4 == 0
    words = [word for (word,) in struct.iter_unpack("<I", section)]
    following = iter(words + [0] * (n + 2))
    point = next(following) << 32 | next(following)
    low, span = 0, M64
    symbols = []
    for _ in range(n):
        s = span >> PRECISION
        q = ((point - low) & M64) // s
        symbol = next(i for i in range(m) if begins[i] <= q < begins[i + 1])
        symbols.append(symbol)
        low = (low + s * begins[symbol]) & M64
        span = s * (begins[symbol + 1] - begins[symbol])
        if span < 2**32:
            low, span = low << 32 & M64, span << 32 & M64
            point = point << 32 & M64 | next(following)
    return symbols


# --- Weights from the seed ---


def word_of(seed: int, position: int, draw: int, i: int, stream: int = 0) -> int:
    block = i // 4
    return philox((block % 2**32, block // 2**32, draw, position), (seed, stream))[i % 4]


@lru_cache(maxsize=100_000)
def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & M32, (p0 >> 32) ^ c3 ^ k1, p0 & M32
        k0, k1 = (k0 + 0x9E3779B9) & M32, (k1 + 0xBB67AE85) & M32
    return c0, c1, c2, c3


def value_of(word: int, distribution: str, fan_in: float, real: Any) -> Any:
    """One weight; `real` is np.float32 or np.float64, in which it is computed."""
    if distribution == "signed_constant":
        c = real(math.sqrt(2 / fan_in))
        return c if word >= 2**31 else -c
    if distribution == "kaiming_uniform":
        return real(word // 256 - 2**23) * real(math.sqrt(6 / fan_in) / 2**23)
    assert distribution == "kaiming_normal"
    # The page says "in float32", but rounds once, after the product. The CDF's last bits in float64 differ between
    # programs: only float32 and below are certain to come out equal.
    return real(statistics.NormalDist().inv_cdf((word + 0.5) / 2**32) * math.sqrt(2 / fan_in))


def rounded_to(weights: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype == "bfloat16":  # the upper half of a float32, to the nearest, ties to the even one
        bits = weights.astype(np.float32).view(np.uint32).astype(np.uint64)
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
        return bits.astype(np.uint32).view(np.float32)
    if dtype == "float16":
        weights = weights.astype(np.float32)
    return weights.astype({"float64": np.float64, "float32": np.float32, "float16": np.float16}[dtype])


def bits_of(weights: NDArray[Any], dtype: str) -> bytes:
    if dtype == "bfloat16":
        return (weights.view(np.uint32) >> 16).astype("<u2").tobytes()
    return weights.astype(NUMBERS[dtype]).tobytes()
