"""What tickets of recycling, biprop and frozen networks hold, by the code and by the slow reader of the page."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support import ticket_reader
from support.ticket_mutations import join_ticket, split_ticket
from support.ticket_networks import DTYPES, Bag, check_round_trip, trained

from suite import tickets
from suite.methods.random import DISTRIBUTIONS
from suite.tickets.header import Layer

SHAPES: list[tuple[int, ...]] = [(8, 4, 3, 3), (30, 20), (1, 1)]


def saved(path: Path, name: str, dtype: torch.dtype = torch.float32, **settings: Any) -> tuple[list[Layer], Any]:
    """The layers of a ticket that both readers find equal to the network, and its optimizer."""
    torch.manual_seed(0)
    model = Bag(SHAPES, dtype)
    optimizer = trained(name, [*model.weights], **settings)
    header = check_round_trip(path, model, optimizer, Bag(SHAPES, dtype))
    assert ticket_reader.read(path.read_bytes()).digest == header.digest
    return list(header.layers), optimizer


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("distribution", ["signed_constant", "kaiming_uniform"])
def test_recycled_weights_are_stored_alone(distribution: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Other distributions than that of signs: those that recycling changed, and which they are."""
    layers, optimizer = saved(
        tmp_path / "t", "recycle", dtype, distribution=distribution, recycle_every=4, sparsity=0.3
    )
    assert [layer.theta[0] for layer in layers[:2]] == ["signs" if distribution == "signed_constant" else "changed"] * 2
    assert all(0 < layer.turned < layer.kept for layer in layers[:2])
    if distribution != "signed_constant":
        number = 8 if dtype == torch.float64 else 4
        weight = optimizer.param_groups[0]["params"][1]
        assert layers[1].theta[2] < number * layers[1].turned + layers[1].kept / 8 + 8 < number * layers[1].kept
        assert layers[1].kept == int(optimizer.mask(weight).sum())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("distribution", [*DISTRIBUTIONS, None])
def test_biprop_has_a_number_a_layer_beside_the_mask(
    distribution: str | None, dtype: torch.dtype, tmp_path: Path
) -> None:
    layers, optimizer = saved(tmp_path / "t", "biprop", dtype, distribution=distribution)
    params = optimizer.param_groups[0]["params"]
    assert [layer.magnitude for layer in layers] == [optimizer.magnitude(param) for param in params]
    assert {layer.theta[0] for layer in layers} == {"values" if distribution is None else "seed"}


@pytest.mark.parametrize("prob", [0.0, 0.3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_frozen_weights_take_no_bits(dtype: torch.dtype, prob: float, tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "frozen_removed": 0.35,
        "frozen_kept": 0.25,
        "rerandomize_every": 3,
        "rerandomize_prob": prob,
    }
    layers, optimizer = saved(tmp_path / "t", "frozen", dtype, sparsity=0.5, distribution="kaiming_uniform", **own)
    for layer, param in zip(layers, optimizer.param_groups[0]["params"], strict=True):
        pattern = optimizer.frozen(param)
        assert layer.frozen == (int((pattern < 0).sum()), int((pattern > 0).sum()))
        assert layer.mask[1] <= (int((pattern == 0).sum()) + 7) // 8
    assert layers[1].mask[1] < 600 / 8 / 2
    assert layers[1].theta[0] == ("draws" if prob else "seed")


@pytest.mark.parametrize(
    ("key", "value"), [("frozen", [600, 600]), ("frozen", [0, 0]), ("frozen", [209, 151]), ("magnitude", -1.0)]
)
def test_lies_about_what_is_frozen_are_refused(key: str, value: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Bag([(30, 20)])
    shares: dict[str, float] = {"frozen_removed": 0.35, "frozen_kept": 0.25}
    tickets.save(tmp_path / "t", model, trained("frozen", [*model.weights], **shares))
    header, body = split_ticket((tmp_path / "t").read_bytes())
    assert header["layers"][0]["frozen"] == [210, 150]
    header["layers"][0][key] = value
    (tmp_path / "t").write_bytes(join_ticket(header, body))
    with pytest.raises(tickets.TicketError):
        tickets.load(tmp_path / "t", model=model)
