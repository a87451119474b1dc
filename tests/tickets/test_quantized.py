"""Dense networks in coded forms: the numbers of the plain ones, in fewer bytes, and nothing else is taken for them."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import ticket_reader
from support.ticket_mutations import join_dense, small, split_dense
from support.ticket_networks import Bag
from torch import Tensor, nn

from suite import tickets
from suite.tickets import NetworkMetadata, dense, entropy_coding, networks, quantized

CODED = {"int8-coded": 127, "int4": 7}


def packed(model: nn.Module, form: dense.Form) -> bytes:
    about = networks.with_build_arguments(model, NetworkMetadata())
    return dense.pack(model.state_dict(), form, method="weights", about=about)


def wide() -> nn.Module:
    """60,000 normal weights: some 7.4 bits of entropy in int8, with the largest of a channel at 127."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 190, bias=False), nn.Linear(20, 150))
    for param in model.parameters():
        nn.init.normal_(param)
    return model


@pytest.mark.parametrize(("form", "largest"), CODED.items())
def test_the_numbers_are_those_of_the_page_by_a_slow_decoder(form: dense.Form, largest: int) -> None:
    """From docs/reference/file_formats.md alone."""
    model = small()
    header, body = split_dense(packed(model, form))
    assert header["__metadata__"]["suite"]["form"] == form

    def tensor(name: str, dtype: str) -> Any:
        begin, end = header[name]["data_offsets"]
        return np.frombuffer(body[begin:end], dtype)

    section = tensor("*coded", "u1").tobytes()
    (length,) = struct.unpack("<I", section[:4])
    counts = [count for (count,) in struct.iter_unpack("<I", zlib.decompress(section[4 : 4 + length]))]
    coding = header["__metadata__"]["suite"]["coding"]
    symbols = ticket_reader.read_symbols(coding, section[4 + length :], sum(counts), counts)
    at, state = 0, dict(model.state_dict())
    for entry in header["__metadata__"]["suite"]["coded"]:
        weight, scale = state.pop(entry["name"]), tensor(entry["name"] + ".scale", "<f4")
        numbers = np.array(symbols[at : at + weight.numel()]).reshape(len(scale), -1) - largest
        at += weight.numel()
        expected = weight.flatten(1).numpy()
        assert np.abs(numbers).max(1).tolist() == [largest] * len(scale)
        assert np.abs(numbers * scale[:, None] - expected).max() <= 0.5001 * scale.max()
    assert at == len(symbols) and all(name in header for name in state)


@pytest.mark.parametrize(("form", "largest"), CODED.items())
def test_a_coded_file_loads_as_the_plain_numbers(form: dense.Form, largest: int, tmp_path: Path) -> None:
    for make in (small, wide, lambda: Bag([(30, 20), (8, 4, 3, 3)]), lambda: nn.BatchNorm1d(3)):
        model = make()
        path = tmp_path / "d"
        path.write_bytes(packed(model, form))
        state = {name: each.clone() for name, each in model.state_dict().items()}
        loaded = dict(tickets.load(path, model=None if make is small else model).state_dict())
        whole = {
            name: quantized.restore(*quantized.quantize(each, largest)) if _is_weight(each) else each
            for name, each in state.items()
        }
        assert loaded.keys() == whole.keys()
        assert all(torch.equal(loaded[name], whole[name]) for name in whole)
        assert tickets.info(path).num_weights == sum(each.numel() for each in whole.values())


def _is_weight(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim >= 2


def test_int8_coded_is_int8_in_fewer_bytes() -> None:
    """A table of counts is charged."""
    state = wide().state_dict()
    assert all(map(torch.equal, dense.rounded(state, "int8").values(), dense.rounded(state, "int8-coded").values()))
    sizes = {form: dense.sizes(packed(wide(), form), form, {}) for form in dense.FORMS}
    net = {form: size.bytes - size.parts["header"] for form, size in sizes.items()}
    assert all(size.bytes == sum(size.parts.values()) for size in sizes.values())
    numbers = [each.flatten() for each in dense._stored(state, "int8").values() if each.dtype == torch.int8]
    entropy = entropy_coding.entropy_bytes(np.bincount(torch.cat(numbers).numpy().astype(np.int64) + 127).tolist())
    assert entropy < sizes["int8-coded"].parts["weights"] - 4 * (190 + 150) < 1.002 * entropy + 600
    assert net["int4"] < 0.5 * net["int8"] and net["int8-coded"] < 0.96 * net["int8"]
    few = {form: dense.sizes(packed(small(), form), form, {}).parts["weights"] for form in dense.FORMS}
    assert few["int4"] < few["int8"]


# --- What is refused ---


def swap(header: dict[str, Any]) -> None:
    about = header["__metadata__"]["suite"]
    about["coded"] = about["coded"][::-1]


def about(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["__metadata__"]["suite"].update(changes)


def first_entry(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["__metadata__"]["suite"]["coded"][0].update(changes)


def repeat(header: dict[str, Any]) -> None:
    header["__metadata__"]["suite"]["coded"].append(header["__metadata__"]["suite"]["coded"][0])


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.update({f"other.{name}": header.pop(name)})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("*coded"), "no section of coded weights"),
        (without("0.weight.scale"), "0.weight: has no scale for each of its output channels"),
        (first_entry(shape=[3, 3]), "0.weight: has no scale for each of its output channels"),
        (first_entry(shape=[4, 1, 3, 3, 1 << 40]), "weights: at most"),
        (first_entry(name="0.bias"), "names a tensor twice"),
        (repeat, "names a tensor twice"),
        (about(coded=[]), "is in the network alone"),
        (about(form="int8"), "int8 has no coded weights"),
        (about(form="fp32", coded=[]), "is in the network alone"),
        (about(coding="none"), "cannot hold"),
        (about(coding="raw"), "cannot hold"),
        (about(coding="zip"), "is garbled"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(change: Callable[[Any], None], told: str, tmp_path: Path) -> None:
    header, body = split_dense(packed(small(), "int8-coded"))
    change(header)
    (tmp_path / "d").write_bytes(join_dense(header, body))
    with pytest.raises(tickets.TicketError, match=told):
        tickets.load(tmp_path / "d")


@pytest.mark.parametrize("form", CODED)
def test_a_section_that_was_changed_is_refused(form: dense.Form, tmp_path: Path) -> None:
    """Whatever its digest: of each byte of the section's start, and some of the rest."""
    header, body = split_dense(packed(small(), form))
    begin, end = header["*coded"]["data_offsets"]
    state = dict(small().state_dict())
    refused = 0
    for at in [*range(begin, begin + 40), *range(begin + 40, end, 97)]:
        changed = bytearray(body)
        changed[at] ^= 0x55
        (tmp_path / "d").write_bytes(join_dense(header, bytes(changed)))
        own = dense.import_safetensors().torch.load_file(tmp_path / "d")
        header["__metadata__"]["suite"]["digest"] = networks.digest(own)
        (tmp_path / "d").write_bytes(join_dense(header, bytes(changed)))
        try:  # other numbers, as many of each, are a network too
            assert dict(tickets.load(tmp_path / "d").state_dict()).keys() == state.keys()
        except tickets.TicketError:
            refused += 1
    assert refused > 40
