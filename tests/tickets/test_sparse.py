"""Sparse networks as masks and the numbers under them: bit for bit, in fewer bytes; nothing else is taken for one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import ticket_reader
from support.ticket_mutations import join_dense, small, split_dense
from support.ticket_networks import Bag
from torch import nn

from suite import tickets
from suite.methods.update.plain import keep_mask
from suite.tickets import NetworkMetadata, dense, entropy_coding, networks

FORMS = dense.SPARSE_FORMS


def pruned(model: nn.Module, sparsity: float = 0.8) -> nn.Module:
    """The network without its smallest weights; what is left has a -0 in it, which is a number too."""
    for param in model.parameters():
        if param.ndim >= 2:
            keep = keep_mask(param.detach(), sparsity, "abs_scores")
            param.data = torch.where(keep, param.data, 0.0)
            param.data.view(-1)[0] = -0.0
    return model


def packed(model: nn.Module, form: dense.Form) -> bytes:
    about = networks.with_build_arguments(model, NetworkMetadata())
    return dense.pack(model.state_dict(), form, method="magnitude", about=about)


@pytest.mark.parametrize("form", FORMS)
def test_a_sparse_file_loads_as_the_plain_numbers(form: dense.Form, tmp_path: Path) -> None:
    """In float32 with the bits of the network itself."""
    for make in (small, lambda: Bag([(30, 20), (8, 4, 3, 3), (1, 1)]), lambda: nn.BatchNorm1d(3)):
        model = pruned(make())
        state = {name: each.clone() for name, each in model.state_dict().items()}
        (tmp_path / "d").write_bytes(packed(model, form))
        loaded = dict(tickets.load(tmp_path / "d", model=None if make is small else make()).state_dict())
        plain = dense.rounded(state, form.removeprefix("sparse-"))  # type: ignore[arg-type]
        assert loaded.keys() == plain.keys()
        assert all(torch.equal(loaded[name], plain[name]) for name in plain)
        if form == "sparse-fp32":
            assert all(networks.same_bits(loaded[name], state[name]) for name in state)
        info = tickets.info(tmp_path / "d")
        assert info.num_weights == sum(each.numel() for each in state.values())
        assert info.stored.bytes == sum(info.stored.parts.values()) == (tmp_path / "d").stat().st_size


@pytest.mark.parametrize("form", FORMS)
def test_the_numbers_are_those_of_the_page_by_a_slow_decoder(form: dense.Form) -> None:
    """From docs/reference/file_formats.md alone."""
    model = pruned(small())
    header, body = split_dense(packed(model, form))

    def tensor(name: str, dtype: str) -> Any:
        begin, end = header[name]["data_offsets"]
        return np.frombuffer(body[begin:end], dtype)

    at, section = 0, tensor("*masks", "u1").tobytes()
    entries = header["__metadata__"]["suite"]["sparse"]
    for entry in entries:
        weight, (coding, length) = model.state_dict()[entry["name"]], entry["mask"]
        num = weight.numel()
        symbols = ticket_reader.read_symbols(
            coding, section[at : at + length], num, [num - entry["kept"], entry["kept"]]
        )
        at += length
        values = tensor(entry["name"] + ".kept", {"float32": "<f4", "bfloat16": "<u2", "int8": "i1"}[entry["dtype"]])
        if form == "sparse-bf16":
            values = (values.astype("<u4") << 16).view("<f4")
        found = np.zeros(num, np.float32)
        found[np.array(symbols) == 1] = values
        found = found.reshape(weight.shape)
        if form == "sparse-int8":
            found = found * tensor(entry["name"] + ".scale", "<f4").reshape(-1, *[1] * (weight.ndim - 1))
        expected = dense.rounded(model.state_dict(), form)[entry["name"]].numpy()
        assert np.array_equal(found, expected)
    assert at == len(section) and len(entries) == 5


@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_bytes_are_those_of_masks_at_their_entropy_and_of_kept_weights(sparsity: float) -> None:
    torch.manual_seed(0)
    model = pruned(nn.Sequential(nn.Linear(300, 190), nn.Linear(190, 150)), sparsity)
    sizes = {form: dense.sizes(packed(model, form), form, {}) for form in (*dense.FORMS, *FORMS)}
    masks = [each != 0 for each in model.state_dict().values() if each.ndim >= 2]
    kept = sum(int(mask.sum()) for mask in masks) + 2  # and the -0
    entropy = sum(entropy_coding.entropy_bytes([int((~mask).sum()), int(mask.sum())]) for mask in masks)
    for form, per_weight, scales in (("sparse-fp32", 4, 0), ("sparse-bf16", 2, 0), ("sparse-int8", 1, 340 * 4)):
        assert sizes[form].parts["weights"] == per_weight * kept + scales
        assert entropy < sizes[form].parts["mask"] < 1.01 * entropy + 16
        assert sizes[form].parts["tensors"] == sizes["fp32"].parts["tensors"]
        assert sizes[form].bytes < sizes[form.removeprefix("sparse-")].bytes


# --- What is refused ---


def about(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["__metadata__"]["suite"].update(changes)


def first_entry(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["__metadata__"]["suite"]["sparse"][0].update(changes)


def repeat(header: dict[str, Any]) -> None:
    header["__metadata__"]["suite"]["sparse"].append(header["__metadata__"]["suite"]["sparse"][0])


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.update({f"other.{name}": header.pop(name)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("*masks"), "no section of masks"),
        (without("0.weight.kept"), "0.weight: has no numbers for each of the weights that it keeps"),
        (without("0.weight.scale"), "0.weight: has no scale for each of its output channels"),
        (first_entry(kept=1), "0.weight: has no numbers for each of the weights that it keeps"),
        (first_entry(kept=10**6), "0.weight: has no numbers for each of the weights that it keeps"),
        (first_entry(dtype="float32"), "0.weight: has no numbers for each of the weights that it keeps"),
        (first_entry(dtype="int64"), "0.weight: has no numbers for each of the weights that it keeps"),
        (first_entry(shape=[4, 1, 3, 3, 1 << 40]), "is garbled"),
        (first_entry(mask=["raw", 3]), "no section of masks"),
        (first_entry(name="0.bias"), "names a tensor twice"),
        (repeat, "is garbled"),
        (about(sparse=[]), "is garbled"),
        (about(form="int8"), "int8 has no masks"),
        (about(form="fp32", sparse=[]), "is garbled"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(change: Callable[[Any], None], said: str, tmp_path: Path) -> None:
    header, body = split_dense(packed(pruned(small()), "sparse-int8"))
    change(header)
    (tmp_path / "d").write_bytes(join_dense(header, body))
    with pytest.raises(tickets.TicketError, match=said):
        tickets.load(tmp_path / "d")


def test_masks_that_were_changed_are_refused_or_keep_as_many(tmp_path: Path) -> None:
    """Whatever their digest."""
    model = pruned(small())
    header, body = split_dense(packed(model, "sparse-fp32"))
    begin, end = header["*masks"]["data_offsets"]
    refused = 0
    for at in range(begin, end):
        changed = bytearray(body)
        changed[at] ^= 0x55
        (tmp_path / "d").write_bytes(join_dense(header, bytes(changed)))
        header["__metadata__"]["suite"]["digest"] = networks.digest(
            dense.import_safetensors().torch.load_file(tmp_path / "d")
        )
        (tmp_path / "d").write_bytes(join_dense(header, bytes(changed)))
        try:
            loaded = tickets.load(tmp_path / "d").state_dict()
        except tickets.TicketError:
            refused += 1
            continue
        for name, each in model.state_dict().items():
            assert each.ndim < 2 or (loaded[name].abs() > 0).sum() == (each.abs() > 0).sum()
    assert 0 < refused <= end - begin
