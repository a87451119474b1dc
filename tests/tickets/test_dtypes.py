"""Networks, and the states of their optimizers, of any dtypes; and what is saved was read back before."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.ticket_networks import DTYPES, Bag, change, check_round_trip, train, trained
from torch import Tensor

from suite import tickets
from suite.methods.random import DISTRIBUTIONS
from suite.testing.method.cases import fingerprint
from suite.tickets import NetworkMetadata, dense, masked
from suite.tickets.header import Header


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("first", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("distribution", [*DISTRIBUTIONS, None])
def test_a_state_of_another_dtype_than_the_network(
    distribution: str | None, first: torch.dtype, dtype: torch.dtype, tmp_path: Path
) -> None:
    """As the contract allows: what an optimizer restores keeps its dtypes; before and after more steps."""
    name = "iterand" if distribution else "edge_popup"
    shapes: list[tuple[int, ...]] = [(30, 20), (8, 4, 3, 3)]
    begun, model = Bag(shapes, first), Bag(shapes, dtype)
    state = trained(name, [*begun.weights], distribution=distribution).state_dict()
    optimizer = trained(name, [*model.weights], 0, distribution=distribution)
    optimizer.load_state_dict(state)
    assert {optimizer.theta(param).dtype for param in model.weights} == {first}
    for num_steps in (0, 5):
        train(optimizer, num_steps)
        header = check_round_trip(tmp_path / "t", model, optimizer, Bag(shapes, dtype))
        assert {layer.theta[0] == "values" for layer in header.layers} == {distribution is None}


@pytest.mark.parametrize("pack_signs", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("first", [torch.float32, torch.float64], ids=str)
def test_a_network_that_was_converted(first: torch.dtype, dtype: torch.dtype, pack_signs: bool, tmp_path: Path) -> None:
    model = Bag([(30, 20), (8, 4, 3, 3)], first)
    optimizer = trained("iterand", [*model.weights], pack_signs=pack_signs)
    check_round_trip(tmp_path / "t", model.to(dtype), optimizer, Bag([(30, 20), (8, 4, 3, 3)]).to(dtype))


def test_layers_of_several_dtypes(tmp_path: Path) -> None:
    model, other = Bag([(30, 20)] * len(DTYPES)), Bag([(30, 20)] * len(DTYPES))
    for each in (model, other):
        for param, dtype in zip(each.weights, DTYPES, strict=True):
            param.data = param.data.to(dtype)
    optimizer = trained("iterand", [*model.weights], distribution="kaiming_uniform")
    header = check_round_trip(tmp_path / "t", model, optimizer, other)
    assert [layer.dtype for layer in header.layers] == [str(dtype).removeprefix("torch.") for dtype in DTYPES]


def test_random_weights_of_a_dtype_that_no_ticket_holds(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"before")
    model = Bag([(30, 20)], torch.bfloat16)
    optimizer = trained("edge_popup", [*model.weights])
    change(optimizer, model.weights[0], Tensor.bfloat16)
    with pytest.raises(ValueError, match=r"^weights.0: theta is bfloat16: a ticket holds one of float32, float64$"):
        tickets.save(tmp_path / "t", model, optimizer)
    assert (tmp_path / "t").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("tensor", "rule"),
    [
        (torch.zeros(3, dtype=torch.complex64), "complex64: a ticket holds tensors of float32, float64, float16, "),
        (torch.zeros(3, dtype=torch.uint16), "uint16: a ticket holds tensors of float32, float64, float16, "),
        (torch.zeros([1] * 9), "has 9 dimensions: a ticket holds tensors of at most 8"),
    ],
)
def test_a_tensor_that_no_ticket_holds(tensor: Tensor, rule: str, tmp_path: Path) -> None:
    model = Bag([(30, 20)])
    optimizer = trained("edge_popup", [*model.weights])
    model.register_buffer("more", tensor)
    with pytest.raises(ValueError, match=rf"^more: {rule}"):
        tickets.save(tmp_path / "t", model, optimizer)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", dense.FORMS)
@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.uint16], ids=str)
def test_a_tensor_that_no_dense_file_holds(dtype: torch.dtype, form: dense.Form) -> None:
    state = {"a": torch.zeros(3, 3), "more": torch.zeros(3, 3, dtype=dtype)}
    with pytest.raises(ValueError, match=r"^more: u?\w+: must be floating point, or one of int64, int32, int16, "):
        dense.pack(state, form, method="weights", about=NetworkMetadata())


@pytest.mark.parametrize("form", dense.FORMS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_dense_file_holds_any_network_as_float32(dtype: torch.dtype, form: dense.Form, tmp_path: Path) -> None:
    model = Bag([(30, 20)], dtype)
    dense.write(tmp_path / "d", dense.pack(model.state_dict(), form, method="weights", about=NetworkMetadata()))
    loaded = tickets.load(tmp_path / "d", model=Bag([(30, 20)]))
    if form == "fp32":
        expected = {key: each.float() if each.is_floating_point() else each for key, each in model.state_dict().items()}
        assert fingerprint(dict(loaded.state_dict())) == fingerprint(expected)
    if dtype != torch.float32:
        with pytest.raises(tickets.TicketError, match=f"bias: is float32: the network has {str(dtype)[6:]}"):
            tickets.load(tmp_path / "d", model=Bag([(30, 20)], dtype))


# --- Saving reads back ---


@pytest.mark.parametrize("wrong", ["theta", "mask", "tensors", "header"])
def test_a_ticket_that_would_not_give_the_network_is_not_written(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever in the code is at fault: the file that was there stays."""
    (tmp_path / "t").write_bytes(b"before")
    model = Bag([(30, 20), (10, 10)])
    optimizer = trained("iterand", [*model.weights])
    encode, about = masked.encode_network, NetworkMetadata()
    if wrong == "header":
        about = NetworkMetadata(data_id="".join(map(chr, range(0x4E00, 0x9000))) * 100)  # larger than any header

    def garbled(*args: Any) -> tuple[Header, list[bytes]]:
        header, sections = encode(*args)
        if wrong in ("mask", "theta", "tensors"):
            at = {"mask": 0, "theta": 1, "tensors": -1}[wrong]
            sections[at] = sections[at][:-1] + bytes([sections[at][-1] ^ 1])
        return header, sections

    monkeypatch.setattr(masked, "encode_network", garbled)
    with pytest.raises(ValueError, match=r"t: is not written: read back, the ticket "):
        tickets.save(tmp_path / "t", model, optimizer, about=about)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
