"""The bytes of a ticket: what it is, its header, the sections that the header lists, and SHA-256 over all of that."""

import hashlib
import io
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from suite.records import write_bytes_atomic
from suite.tickets.header import MAGIC, MOST_HEADER_BYTES, VERSION, Header, Layer, TicketError

_HEAD = struct.Struct("<8sII")  # magic, version, bytes of the header
_DIGEST_BYTES = 32
_BLOCK = 1 << 20


@dataclass(frozen=True)
class TicketFile:
    """A ticket whose header was read and whose checksum is right; ``source`` is its file, or its bytes in memory."""

    source: Path | bytes
    header: Header
    num_bytes: int
    first: int  # where its sections begin

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Of the network's tensors, by name."""
        return self.header.shapes

    @property
    def num_weights(self) -> int:
        """Numbers of the network's state, masked or not."""
        return self.header.num_weights

    def sections(self) -> Iterator[tuple[Layer, bytes, bytes]]:
        """Each layer with the bytes of its mask and of its weights."""
        with _opened(self.source) as file:
            file.seek(self.first)
            for layer in self.header.layers:
                yield layer, file.read(layer.mask[1]), file.read(layer.theta[2])

    def tensors(self) -> bytes:
        """The bytes of the tensors that are stored as they are."""
        with _opened(self.source) as file:
            file.seek(self.num_bytes - _DIGEST_BYTES - self.header.tensors_bytes)
            return file.read(self.header.tensors_bytes)


def pack(header: Header, sections: Sequence[bytes]) -> bytes:
    """The bytes of a ticket."""
    packed = header.packed()
    content = b"".join([_HEAD.pack(MAGIC, VERSION, len(packed)), packed, *sections])
    return content + hashlib.sha256(content).digest()


def write(path: Path, content: bytes) -> int:
    """Write what ``pack`` made whole or not at all; returns its bytes."""
    write_bytes_atomic(path, content)
    return len(content)


def read(source: Path | bytes) -> TicketFile:
    """Look at a ticket: all but the sections' contents is checked, in memory that does not grow with what it says.

    Raises:
        TicketError: it is none, of another version, cut short, or garbled.
    """
    with _opened(source) as file:
        size = len(source) if isinstance(source, bytes) else os.fstat(file.fileno()).st_size
        return _read(source, file, size)


def _opened(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _read(source: Path | bytes, file: BinaryIO, size: int) -> TicketFile:
    head = file.read(_HEAD.size)
    if not head.startswith(MAGIC):
        raise TicketError("is no ticket: it begins with other bytes")
    if len(head) < _HEAD.size:
        raise TicketError("is cut short")
    _, version, length = _HEAD.unpack(head)
    if version != VERSION:
        raise TicketError(f"is of version {version}: this suite reads version {VERSION}")
    if length > min(size, MOST_HEADER_BYTES):
        raise TicketError(f"is cut short or garbled: its header would have {length} bytes")
    header = Header.parsed(file.read(length))
    first = _HEAD.size + length
    if size != first + header.section_bytes + _DIGEST_BYTES:
        raise TicketError(f"has {size} bytes: it must have {first + header.section_bytes + _DIGEST_BYTES}")
    file.seek(0)
    digest, left = hashlib.sha256(), size - _DIGEST_BYTES
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            raise TicketError("was cut short while it was read")
        digest.update(block)
        left -= len(block)
    if digest.digest() != file.read(_DIGEST_BYTES):
        raise TicketError("is garbled: its checksum differs")
    return TicketFile(source, header, size, first)
