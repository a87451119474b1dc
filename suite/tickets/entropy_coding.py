"""Symbols as bytes: packed as they are, or at their entropy by a range coder; the only importer of constriction.

``docs/reference/file_formats.md`` says which bits come out, so that they can be read without this code.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from suite.config import InputError

Coding = Literal["none", "raw", "range"]  # of one section
Symbols = npt.NDArray[np.int32]

PRECISION = 24  # bits of a probability in the range coder
_CHUNK = 1 << 20  # symbols decoded at once: what a lying header costs in memory
_WORD = _COUNT = np.dtype("<u4")
_LAST_WORDS = 16  # bytes that the end of a section may take, or save
_LOST_BITS = 0.006  # of a symbol, at most: -log2(1 - 2^-8)


class CorruptData(Exception):
    """Bytes that no encoder here has written."""


def encode(symbols: Symbols, counts: Sequence[int]) -> tuple[Coding, bytes]:
    """The shorter form of symbols 0 to ``len(counts) - 1``, of which each appears ``counts`` times.

    Raises:
        InputError: constriction is not installed.
    """
    if is_plain(counts):
        return "none", b""
    coder = import_constriction().queue.RangeEncoder()
    coder.encode(np.ascontiguousarray(symbols), _model(counts))
    words: bytes = coder.get_compressed().astype(_WORD).tobytes()
    is_shorter = len(words) < -(-len(symbols) * bits_of(counts) // 8)
    return ("range", words) if is_shorter else ("raw", _packed(symbols, bits_of(counts)))


def decode(coding: Coding, data: bytes, counts: Sequence[int]) -> Iterator[Symbols]:
    """The symbols that ``encode`` was given, in chunks.

    Raises:
        CorruptData: the bytes are not those of such symbols.
    """
    num, seen = sum(counts), np.zeros(len(counts), dtype=np.int64)
    check_length(coding, len(data), counts)
    for chunk in _FORMS[coding](data, counts, num):
        seen += np.bincount(chunk, minlength=len(counts))[: len(counts)]
        yield chunk
    if seen.tolist() != list(counts):
        raise CorruptData("its symbols are not as many as it says")


def encode_with_counts(symbols: Symbols) -> tuple[Coding, bytes]:
    """The coding of symbols from 0 up, and their section: how often each appears, then which is where."""
    counts = np.bincount(symbols)
    head = zlib.compress(counts.astype(_COUNT).tobytes(), 9)
    coding, data = encode(symbols, counts.tolist())
    return coding, len(head).to_bytes(4, "little") + head + data


def split_counts(section: bytes, num: int, most: int) -> tuple[list[int], bytes]:
    """The counts at the start of a section of ``num`` symbols, each below ``most``; and the rest of it.

    Raises:
        CorruptData: these are no such counts.
    """
    length = int.from_bytes(section[:4], "little")
    head = inflated(section[4 : 4 + length], _COUNT.itemsize * most)
    if len(head) % _COUNT.itemsize or len(section) < 4 + length:
        raise CorruptData("its counts are cut short")
    counts: list[int] = np.frombuffer(head, dtype=_COUNT).tolist()
    if sum(counts) != num:
        raise CorruptData(f"its counts are of {sum(counts)} symbols: must be {num}")
    return counts, section[4 + length :]


def inflated(data: bytes, most: int) -> bytes:
    """What zlib compressed, which is at most so many bytes.

    Raises:
        CorruptData: it is no such stream, is cut short, longer, or followed by something.
    """
    unpacker = zlib.decompressobj()
    try:
        out = unpacker.decompress(data, most + 1)
    except zlib.error as error:
        raise CorruptData(str(error)) from None
    if not unpacker.eof or unpacker.unused_data or len(out) > most:
        raise CorruptData(f"a compressed part of it is cut short, or more than {most} bytes")
    return out


def entropy_bytes(counts: Sequence[int]) -> float:
    """What so many symbols of each kind need at least where each is coded without regard to the others."""
    total = sum(counts)
    return sum(count * math.log2(total / count) for count in counts if count) / 8


def bits_of(counts: Sequence[int]) -> int:
    """Bits of one symbol, packed as it is."""
    return max(len(counts) - 1, 1).bit_length()


def is_plain(counts: Sequence[int]) -> bool:
    """There is at most one kind of symbol, and nothing to say about where it stands."""
    return sum(count > 0 for count in counts) <= 1


def check_length(coding: Coding, length: int, counts: Sequence[int]) -> None:
    """Raise CorruptData where so many bytes cannot hold these symbols: before any memory is taken for them."""
    if is_plain(counts) or coding == "none":
        fits = is_plain(counts) and coding == "none" and length == 0
    elif coding == "raw":
        fits = length == -(-sum(counts) * bits_of(counts) // 8)
    else:  # each symbol adds what its width says, and what the coder's division loses of at least 2^8
        bits = sum(count * (PRECISION - math.log2(width)) for count, width in zip(counts, _widths(counts), strict=True))
        fits = length % 4 == 0 and -_LAST_WORDS <= length - bits / 8 <= _LAST_WORDS + sum(counts) * _LOST_BITS / 8
    if not fits:
        raise CorruptData(f"{length} bytes cannot hold what it says they do")


def _plain(data: bytes, counts: Sequence[int], num: int) -> Iterator[Symbols]:
    symbol = next((symbol for symbol, count in enumerate(counts) if count), 0)
    for start in range(0, num, _CHUNK):
        yield np.full(min(_CHUNK, num - start), symbol, dtype=np.int32)


def _unpacked(data: bytes, counts: Sequence[int], num: int) -> Iterator[Symbols]:
    bits, buffer = bits_of(counts), np.frombuffer(data, dtype=np.uint8)
    powers = 1 << np.arange(bits, dtype=np.int32)
    for start in range(0, num, _CHUNK):
        size = min(_CHUNK, num - start)
        some = buffer[start * bits // 8 : -(-(start + size) * bits // 8)]
        chunk = np.unpackbits(some, count=size * bits, bitorder="little").reshape(size, bits) @ powers
        if chunk.max(initial=0) >= len(counts):
            raise CorruptData("it has a symbol out of range")
        yield chunk.astype(np.int32)


def _decoded(data: bytes, counts: Sequence[int], num: int) -> Iterator[Symbols]:
    decoder = import_constriction().queue.RangeDecoder(np.frombuffer(data, dtype=_WORD).astype(np.uint32))
    model = _model(counts)
    for start in range(0, num, _CHUNK):
        try:
            yield decoder.decode(model, min(_CHUNK, num - start))
        except AssertionError as error:
            raise CorruptData(str(error)) from None


_FORMS = {"none": _plain, "raw": _unpacked, "range": _decoded}


def _packed(symbols: Symbols, bits: int) -> bytes:
    """Bit j of symbol i is bit ``i * bits + j``, lowest first."""
    spread = (symbols[:, None] >> np.arange(bits, dtype=np.int32)) & 1
    return np.packbits(spread.astype(np.uint8), bitorder="little").tobytes()


def _widths(counts: Sequence[int]) -> list[int]:
    """How many of the 2^24 parts of the unit interval each symbol has: in proportion to its count, and at least one."""
    scale = (2**PRECISION - len(counts)) / float(sum(counts))
    lefts, before = [], 0.0
    for symbol, count in enumerate(counts):
        lefts.append(int(before * scale) + symbol)
        before += count
    return [right - left for left, right in zip(lefts, [*lefts[1:], 2**PRECISION], strict=True)]


def _model(counts: Sequence[int]) -> Any:
    return import_constriction().model.Categorical(np.array(counts, dtype=np.float64), perfect=False)


def import_constriction() -> Any:
    """The range coder's library.

    Raises:
        InputError: it is not installed.
    """
    try:
        import constriction
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install constriction") from None
    return constriction.stream
