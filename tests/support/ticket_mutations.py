"""Tickets and dense files that are real, and what can be done to them: the files of test_untrusted.py."""

import contextlib
import hashlib
import json
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from suite import methods, models, tickets
from suite.tickets import dense, networks
from suite.tickets.header import NetworkMetadata

ODD: list[Any] = [
    *(0, 1, 2, 3, -1, 7, 255, 2**16, 2**16 + 1, 2**24, 2**30, 2**31 - 1, 2**31, 2**32, 2**40, 2**52, 2**53, 2**63),
    *(2**64, 10**30, -(2**63), 0.5, 1e5, -0.0, 1e-300, 1e300, float("nan"), float("inf"), None, True, False),
    *("", "none", "raw", "range", "zlib", "seed", "signs", "draws", "changed", "values", "kaiming_uniform"),
    *(
        "kaiming_normal",
        "signed_constant",
        "float64",
        "float16",
        "bfloat16",
        "int64",
        "bool",
        "F64",
        "BF16",
        "I8",
        "U8",
        "BOOL",
    ),
    *("0.weight", "x" * 5000, "\x00", "two\nlines", "\x1b[2J", "../x", "__class__", "resnet50", "conv8", "\ud800"),
    *([], {}, [[]], [0], [2**52, 2**52], [2**20] * 8, [1] * 9, [0, 2**52], {"a": {"b": [1]}}, [None], ["range", 2**50]),
]


def trained(name: str, distribution: str | None, model: nn.Module, sparsity: float) -> Any:
    own = {"iterand": {"rerandomize_every": 2, "rerandomize_prob": 0.5}, "recycle": {"recycle_every": 3}}
    every = own.get(name, {})
    optimizer = methods.get(name)(
        methods.prunable(model), sparsity=sparsity, lr=0.3, distribution=distribution, seed=5, **every
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        for param in model.parameters():
            param.grad = torch.randn(param.shape, generator=generator)
        optimizer.step()
    return optimizer


def small(num_classes: int = 3) -> nn.Module:
    return models.build("conv2", num_classes=num_classes, image_size=4, in_channels=1, width_mult=1 / 16)


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(24, 16))


def real_tickets(folder: Path) -> list[tuple[bytes, bool]]:
    """Tickets of each kind, and whether `load` must be given the network."""
    cases = [(small, "edge_popup", "signed_constant", 0.5), (small, "iterand", "signed_constant", 0.8)]
    cases += [(small, "iterand", "kaiming_uniform", 0.7), (normed, "iterand", "kaiming_normal", 0.0)]
    cases += [(normed, "edge_popup", None, 0.5), (small, "recycle", "kaiming_uniform", 0.5)]
    cases += [(small, "biprop", "kaiming_normal", 0.5), (small, "frozen", "signed_constant", 0.5)]
    found = []
    for make, name, distribution, sparsity in cases:
        torch.manual_seed(0)
        model = make()
        about = NetworkMetadata(
            trial_id="0123", trial={"a": [1, {"b": None}]}, metrics={"test_accuracy": 0.5, "loss": None}
        )
        tickets.save(folder / "real", model, trained(name, distribution, model, sparsity), about=about)
        found.append(((folder / "real").read_bytes(), make is normed))
    return found


def real_dense() -> list[tuple[bytes, bool]]:
    torch.manual_seed(0)
    about = networks.with_build_arguments(small(), NetworkMetadata(metrics={"test_accuracy": 0.5}))
    return [
        (dense.pack(small().state_dict(), form, method="weights", about=about), False)
        for form in (*dense.FORMS, *dense.SPARSE_FORMS)
    ]


def append_sha256(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def split_ticket(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a real ticket, and its sections."""
    length = int.from_bytes(data[12:16], "little")
    return json.loads(zlib.decompress(data[16 : 16 + length])), data[16 + length : -32]


def join_ticket(header: dict[str, Any] | bytes, body: bytes) -> bytes:
    packed = zlib.compress(header if isinstance(header, bytes) else json.dumps(header).encode(), 1)
    return append_sha256(data_start(len(packed)) + packed + body)


def data_start(length: int) -> bytes:
    return b"\x89TKT\r\n\x1a\n" + struct.pack("<II", 1, length)


def split_dense(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["suite"] = json.loads(header["__metadata__"]["suite"])
    return header, data[8 + length :]


def join_dense(header: dict[str, Any], body: bytes) -> bytes:
    header = json.loads(json.dumps(header))
    with contextlib.suppress(KeyError, TypeError):  # it may be gone
        header["__metadata__"]["suite"] = json.dumps(header["__metadata__"]["suite"])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 5, 30])):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(6):
            case 0 | 1 if at < len(out):
                out[at] ^= 1 << chance.randrange(8)
            case 2 if at < len(out):
                out[at] = chance.choice([0, 255, chance.randrange(256)])
            case 3:
                out[at:at] = chance.randbytes(chance.choice([1, 4, 100]))
            case 4:
                del out[at : at + chance.choice([1, 4, 100])]
            case 5 if chance.random() < 0.3:
                del out[at:]
    return bytes(out) if out != data else mutate_bytes(data, chance)


def mutate_json(value: Any, chance: random.Random) -> Any:
    """JSON with one thing in it replaced, moved, removed or added."""
    value = json.loads(json.dumps(value))
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key, item in list(node.items() if isinstance(node, dict) else enumerate(node)):
            places.append((node, key))
            if isinstance(item, dict | list):
                walk(item)

    for _ in range(chance.choice([1, 1, 2, 3])):
        places.clear()
        walk(value)
        if not places:
            break
        node, key = chance.choice(places)
        item = node[key]
        match chance.randrange(8):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[str(chance.choice(ODD))] = item
            case 1:
                node.insert(key, item)
            case 2:
                other, place = chance.choice(places)
                if type(other) is type(node) and place in (other if isinstance(other, dict) else range(len(other))):
                    node[key] = json.loads(json.dumps(other[place]))
            case 3 | 4 if isinstance(item, int):
                node[key] = chance.choice([item + 1, item - 1, item * 2, item // 2, -item, item << 20, float(item)])
            case _:
                node[key] = chance.choice(ODD)
    return value


def fitted(header: Any, body: bytes) -> bytes:
    """Sections as long as a twisted header says, so that the file's size does not give it away."""
    with contextlib.suppress(KeyError, TypeError, IndexError):
        total = sum(layer["mask"][1] + layer["theta"][2] for layer in header["layers"]) + header["tensors_bytes"]
        if 0 <= total < 1 << 20:
            return body[:total].ljust(total, b"\x55")
    return body


def mutated(kind: str, number: int, data: bytes, chance: random.Random) -> bytes:
    if kind in ("bytes", "safetensors"):
        return mutate_bytes(data, chance)
    if kind == "bytes_right" and number % 2:
        return append_sha256(mutate_bytes(data[:-32], chance))
    if kind == "bytes_right":  # else nearly all are seen to be garbled by zlib or the JSON's reader
        header, body = split_ticket(data)
        return join_ticket(header, fitted(header, mutate_bytes(body, chance)))
    if kind == "header_right":
        header, body = split_ticket(data)
        header = mutate_json(header, chance)
        return join_ticket(header, fitted(header, body) if chance.random() < 0.7 else body)
    header, body = split_dense(data)
    return join_dense(mutate_json(header, chance), mutate_bytes(body, chance) if chance.random() < 0.3 else body)


def zip_bomb(num_bytes: int, fill: bytes = b"\0") -> bytes:
    """What unpacks to so many equal bytes, made in little memory: the tests measure that of those who unpack it."""
    packer, block = zlib.compressobj(9), fill * (1 << 20)
    return b"".join([packer.compress(block) for _ in range(num_bytes >> 20)]) + packer.flush()


def bombs(real: list[tuple[bytes, bool]]) -> Iterator[tuple[str, bytes, bool]]:
    """Files that say or unpack to much more than they are."""
    data, _ = real[1]
    header, body = split_ticket(data)
    layers, last = header["layers"], header["layers"][-1]
    drawn, drawn_body = split_ticket(real[3][0])
    yield "header of 1 GiB", append_sha256(data_start(1 << 19) + zip_bomb(1 << 30, b" ")[: 1 << 19]), False
    packed = zip_bomb(1 << 28, b" ")
    yield "header of 256 MiB, whole", append_sha256(data_start(len(packed)) + packed), False
    yield "deep header", join_ticket(b'{"trial":{"a":' + b"[" * 2_000_000, b""), False
    yield "long number", join_ticket(b'{"num_updates":' + b"9" * 4_000_000 + b"}", b""), False
    yield "many layers", join_ticket(header | {"layers": [last | {"name": f"{i}"} for i in range(15_000)]}, b""), False
    yield "many keys", join_ticket(header | {"metrics": {str(i): 1.0 for i in range(200_000)}}, body), False
    packed = zip_bomb(1 << 30)
    before = body[: len(body) - header["tensors_bytes"]]
    bomb = header | {"tensors_bytes": len(packed), "tensors_coding": "zlib"}
    yield "tensors of 1 GiB", join_ticket(bomb, before + packed), False
    lie = bomb | {"tensors": [tensor | {"shape": [2**28]} for tensor in header["tensors"]]}
    yield "tensors of 1 GiB that it says", join_ticket(lie, before + packed), False
    first, counts = drawn["layers"][0], zip_bomb(1 << 28)
    section = len(counts).to_bytes(4, "little") + counts
    for draws in (0, 4, 2**16):
        bomb = json.loads(json.dumps(drawn | {"sources": [drawn["sources"][0] | {"num_draws": draws}]}))
        bomb["layers"][0]["theta"] = ["draws", "range", len(section)]
        at = first["mask"][1]
        rest = drawn_body[at + first["theta"][2] :]
        yield f"draw counts of 256 MiB, {draws} draws", join_ticket(bomb, drawn_body[:at] + section + rest), True
    for shape in ([2**40], [2**40, 2**40], [2**53 - 1] * 8, [2**30, 16], [0, 2**52, 2**52]):
        kept = min(2**53 - 1, torch.tensor(shape, dtype=torch.float64).prod().long().item() // 2)
        some = [*layers[:-1], last | {"shape": shape, "kept": max(kept, 0), "turned": 0}]
        for network in ({}, {"num_classes": 2**30}, {"width_mult": 1e5}, {"image_size": 2**30}, {"name": "resnet50"}):
            lie = header | {"layers": some, "network": header["network"] | network}
            yield f"shape {shape} {network}", join_ticket(lie, body), False
    # Lies that hold together: of 300 KB of classes, each number is there, or follows from what is said.
    for classes in (2**18, 2**20, 2**30 - 1):
        full = last | {"shape": [classes, 16], "kept": classes * 16, "turned": 0}
        full |= {"mask": ["none", 0], "theta": ["seed", "none", 0]}
        tensors = [tensor | ({"shape": [classes]} if tensor["shape"] == [3] else {}) for tensor in header["tensors"]]
        sections = sum(layer["mask"][1] + layer["theta"][2] for layer in layers[:-1])
        packed = zlib.compress(bytes(4 * min(classes, 2**22) + 4 * (4 + 4 + 16 + 16)), 9)
        lie = header | {"layers": [*layers[:-1], full], "tensors": tensors, "tensors_coding": "zlib"}
        lie |= {"tensors_bytes": len(packed), "network": header["network"] | {"num_classes": classes}}
        yield f"{classes} classes", join_ticket(lie, body[:sections] + packed), False
    for length in (0, 2**20, 2**32 - 1):
        yield f"header said to have {length} bytes", append_sha256(data_start(length) + bytes(100)), False
