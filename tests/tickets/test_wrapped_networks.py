"""Tickets of networks that something is wrapped around, and of layers that have a fan-in of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.ticket_networks import check_round_trip, trained
from torch import nn

from suite import methods, models, tickets
from suite.testing.method.cases import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own, in its compiler
Wrap = Callable[[nn.Module], nn.Module]


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def compile_part(model: nn.Module) -> nn.Module:
    model[3] = torch.compile(model[3])  # type: ignore[index, operator]
    return model


WRAPS: dict[str, Wrap] = {
    "compile": torch.compile,  # type: ignore[dict-item]
    "DataParallel": nn.DataParallel,
    "both": lambda model: torch.compile(nn.DataParallel(model)),  # type: ignore[return-value]
    "a part": compile_part,
}


@pytest.mark.parametrize("name", ["edge_popup", "iterand"])
@pytest.mark.parametrize("wrap", WRAPS)
def test_tickets_have_the_plain_names(name: str, wrap: str, tmp_path: Path) -> None:
    plain = net()
    names = list(plain.state_dict())
    wrapped = WRAPS[wrap](plain)
    optimizer = trained(name, methods.prunable(wrapped), 3, sparsity=0.5)
    tickets.save(tmp_path / "t", wrapped, optimizer)
    loaded = tickets.load(tmp_path / "t", model=net())
    assert list(loaded.state_dict()) == names
    assert fingerprint(list(loaded.state_dict().values())) == fingerprint(list(wrapped.state_dict().values()))
    again = tickets.load(tmp_path / "t", model=WRAPS[wrap](net()))
    assert fingerprint(dict(again.state_dict())) == fingerprint(dict(wrapped.state_dict()))


def test_a_wrapped_network_of_the_suite_is_built_from_its_ticket(tmp_path: Path) -> None:
    model = models.build("conv2", num_classes=3, image_size=8, width_mult=0.0625)
    wrapped = nn.DataParallel(model)
    tickets.save(tmp_path / "t", wrapped, trained("edge_popup", methods.prunable(wrapped), 2, sparsity=0.5))
    assert fingerprint(dict(tickets.load(tmp_path / "t").state_dict())) == fingerprint(dict(model.state_dict()))


@pytest.mark.parametrize("scale_fan", [False, True])
@pytest.mark.parametrize("name", ["edge_popup", "iterand"])
def test_layers_with_fan_ins_of_their_own_come_from_the_seed(name: str, scale_fan: bool, tmp_path: Path) -> None:
    """Transposed convolutions: no weight is stored, as each layer says what it was drawn with."""

    def make() -> nn.Sequential:
        layers = (
            nn.ConvTranspose2d(2, 8, 3),
            nn.Conv2d(8, 4, 3),
            nn.ConvTranspose2d(4, 2, 3),
            nn.ConvTranspose2d(2, 8, 3),
        )
        return nn.Sequential(*layers)

    model = make()
    every = {"rerandomize_every": 2} if name == "iterand" else {}
    optimizer = trained(name, methods.prunable(model), 5, sparsity=0.5, scale_fan=scale_fan, seed=4, **every)
    header = check_round_trip(tmp_path / "t", model, optimizer, make())
    assert "values" not in {layer.theta[0] for layer in header.layers}
    assert [header.sources[layer.source].fan_in for layer in header.layers] == [18, None, 36, 18]
    assert len(header.sources) == 3


def test_an_optimizer_that_begins_elsewhere(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    optimizer = trained("iterand", methods.prunable(model), 3, sparsity=0.5, first_parameter=7, seed=2)
    header = check_round_trip(tmp_path / "t", model, optimizer, nn.Sequential(nn.Linear(8, 8)))
    assert header.layers[0].position == 7 and header.layers[0].theta[0] != "values"


def test_a_frozen_layer_is_a_plain_tensor(tmp_path: Path) -> None:
    make = lambda: nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))  # noqa: E731
    model = make()
    model[0].weight.requires_grad_(False)
    optimizer = trained("edge_popup", methods.prunable(model), 0, sparsity=0.5)
    header = check_round_trip(tmp_path / "t", model, optimizer, make())
    assert [layer.name for layer in header.layers] == ["1.weight"]
