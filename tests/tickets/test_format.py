"""Files are as docs/reference/file_formats.md has it: a reader written from that page alone reads the same network."""

import base64
import errno
import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import ticket_reader
from support.failing_files import fail_to_open
from torch import nn

from suite import methods, tickets
from suite.methods.random import DISTRIBUTIONS, draw_values_
from suite.models import build

# A conv net's ticket in base85 as version 1 of the format was first written (see `golden`): each kind of weights and
# each coding. Later versions of zlib and constriction may write other bytes, but must read these so.
GOLDEN = """
iBwBe4GJ0x0RR919s&RWc-ozmS&rf`5QgtkuVW!E+2AS&MJ9F<i^M^(1ELXkpE7HJFx@?mc2)iL)nXsPYQOLL4J?jeWvgKUMQ3*$2-u;`i$*%99V`R^)5=
Qc&U~R$gh!hfwX{|@Xl4ZVM)^8#hsMK#&S=78l<4|4mt|=z#`u2FCjzbZb*C_o@w%5*T{8_^C4I=mI04rUeGv}JBPip1Z`Ol1oy90;DyvnFkj_i%G1_U3a
tsmNR`$;LLjXuGvZ|MR)Jaa{O=%-dYiyMd)|ANkQ7QYeQYcq8ABEy?g??HbeNkEwXyifnmyTWMNN0O(s`{)_%Pn3lBf^Lv0^OBAgc~TEPI?i>ed#%>6WDf
`=uCu%jo$jpR9fk9PnLjLfy5}{YwcyY3EU1f&K4dlLvI5(4@F*i_!Lj{Ee{*>up5t{V;);+AS@XpU3zmxis)(tlDvbk<P!cFgO4%zqb=D>Uj(0~I3vbv%#
r;MhZu8+8wZb*2Z!zOxe@v_ps+^dZW%$ai8T?wf{1PqQT9)Uooohu9|@cDRoGjvt?OPFcWtB_ugL_=(_;P3KY8_^toCV8zYJh+B~0!3sC<0#3V#qZel=zd
kNfrE{wXR`X@_kFB~nFGEtwXQD#{aD(5Q^4$aEo98I_Wina<`##(BI>%6XQmNMuo(>bZ(joD1ymufXBC@a_AqFY0p}nV8W(#dd(x=`Z{y?BPNfY$ObT2z0
$k7zHY@7z`;j>=mo82^atX0C?KtWnf@n17a2+W(Hy=AZCPO00O)K9}p%$2pTK{z`%gQ0J<rN8h#@SVUOZ4{aI<oPbn!kxBj3?`S2keO=*{oQyTyP0C?I<W
nf@n0%8szW(Q(cAZ7t#Mj!?N49Eb1A>yUZG%ux|eURMZJ<}yzZeT&dw!;TMw!;TMw!;TMw!;TMw!;TMw!;TMw!;U%w!;U%w!;TMw!;TMw!;TMw!;U%w!;T
Mw!;TMw!;TMw!;TMw!;U%w!;U%w!;TMw!;U%w!;U%w!;TMw!;U%w!;U%w!;U%w!;TMw!;TMw!;TMw!;U%w!;U%w!;U%w!;U%w!;U%w!;U%w!;TMw!;TMw!
;U%w!;U%w!;TMw!;TMw!;U%w!;TMw!;U%w!;TMw!;U%w!;U%w!;TMw!;TMc-muN7&-s|0IUE30}-}t7%&50yc`%8#+pH!5reURuq@lwF?!%gnEa@_
"""
GOLDEN_DIGEST = (
    "d37d07ea1e3a0d0260c04f4038ecadf4fa1f8e89c8225b6f987d438477e9d57e"  # `digest` in docs/reference/file_formats.md
)


def net(*, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Sequential:
    """Two masked weights of 864 and 1500 numbers, and norms with statistics."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(6, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(60, 25)).to(dtype)
    with torch.no_grad():
        for tensor in (*model[1].parameters(), *model[1].buffers()):
            tensor.copy_(torch.rand(tensor.shape))
    return model


def trained(
    name: str, model: nn.Module, *, num_steps: int = 12, groups: list[dict[str, Any]] | None = None, **settings: Any
) -> Any:
    """An optimizer that took steps with gradients of no meaning."""
    if name == "iterand":
        settings = {"rerandomize_every": 2, "rerandomize_prob": 0.3} | settings
    params = groups or [{"params": methods.prunable(model)}]
    optimizer = methods.get(name)(params, **{"sparsity": 0.6, "lr": 0.3, **settings})
    generator = torch.Generator().manual_seed(1)
    for _ in range(num_steps):
        for param in model.parameters():
            param.grad = torch.randn(param.shape, generator=generator).to(param.dtype)
        optimizer.step()
    return optimizer


def set_theta(optimizer: Any, model: nn.Module, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    """Other random weights, as redraws could have left them; the mask stays, and the network follows."""
    for name, param in methods.prunable(model):
        state = optimizer.state[param]
        state["theta"] = change(name, state["theta"].clone())
        with torch.no_grad():
            param.copy_(torch.where(optimizer.mask(param), state["theta"], 0.0))


def check_read_equal(path: Path, model: nn.Module) -> ticket_reader.SlowTicket:
    """The slow reader finds each bit of the network, masked or not."""
    found = ticket_reader.read(path.read_bytes())
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    assert found.weights.keys() | found.tensors.keys() == state.keys()
    for name, tensor in state.items():
        own = found.weights[name] if name in found.weights else found.tensors[name]
        kind = str(tensor.dtype).removeprefix("torch.")
        expected = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        assert list(own.shape) == list(tensor.shape), name
        assert (ticket_reader.bits_of(own, kind) if name in found.weights else own.tobytes()) == expected, name
    assert found.digest == found.header["digest"]
    return found


def forms(found: ticket_reader.SlowTicket) -> set[tuple[str, ...]]:
    """(mask's coding, kind of weights, their coding) of each layer."""
    return {(layer["mask"][0], *layer["theta"][:2]) for layer in found.header["layers"]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("name", ["edge_popup", "iterand"])
def test_the_slow_reader_finds_the_same_network(
    name: str, distribution: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = net(dtype=dtype)
    optimizer = trained(name, model, distribution=distribution, seed=7)
    tickets.save(tmp_path / "t", model, optimizer)
    if (distribution, dtype) == ("kaiming_normal", torch.float64):  # the page does not say this CDF's last bits
        found = ticket_reader.read((tmp_path / "t").read_bytes())
        for key, param in methods.prunable(model):
            np.testing.assert_allclose(found.weights[key], param.detach().numpy(), rtol=1e-14, atol=0)
    else:
        found = check_read_equal(tmp_path / "t", model)
    kind = "seed" if name == "edge_popup" else "signs" if distribution == "signed_constant" else "draws"
    assert {form[1] for form in forms(found)} == {kind}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("first", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("distribution", [*DISTRIBUTIONS, None])
def test_random_weights_of_another_dtype_than_the_network(
    distribution: str | None, first: torch.dtype, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = net(dtype=first)
    optimizer = trained("iterand" if distribution else "edge_popup", model, distribution=distribution, seed=7)
    tickets.save(tmp_path / "t", model.to(dtype), optimizer)
    usual = torch.promote_types(dtype, torch.float32)
    said = None if first == usual else str(first).removeprefix("torch.")
    if (distribution, first) == ("kaiming_normal", torch.float64):  # the page does not say this CDF's last bits
        found = ticket_reader.read((tmp_path / "t").read_bytes())
    else:
        found = check_read_equal(tmp_path / "t", model)
    assert {layer.get("theta_dtype") for layer in found.header["layers"]} == {said}


@pytest.mark.parametrize("sparsity", [0.0, 0.02, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_masks_of_all_densities(distribution: str, sparsity: float, tmp_path: Path) -> None:
    model = net()
    tickets.save(tmp_path / "t", model, trained("iterand", model, distribution=distribution, sparsity=sparsity))
    codings = {form[0] for form in forms(check_read_equal(tmp_path / "t", model))}
    assert codings == {{0.0: "none", 0.5: "raw"}.get(sparsity, "range")}


@pytest.mark.parametrize(
    ("coding", "turned"), [("none", lambda n: n), ("raw", lambda n: n // 2), ("range", lambda n: n // 10)]
)
def test_signs_in_each_coding(coding: str, turned: Callable[[int], int], tmp_path: Path) -> None:
    model = net()
    optimizer = trained("edge_popup", model, sparsity=0.0)

    def turn(name: str, theta: torch.Tensor) -> torch.Tensor:
        order = torch.randperm(theta.numel(), generator=torch.Generator().manual_seed(2))
        theta.view(-1)[order[: turned(theta.numel())]] *= -1
        return theta

    set_theta(optimizer, model, turn)
    tickets.save(tmp_path / "t", model, optimizer)
    assert forms(check_read_equal(tmp_path / "t", model)) == {("none", "signs", coding)}


@pytest.mark.parametrize(("coding", "used"), [("none", [5]), ("raw", [0, 1, 2, 3]), ("range", [0, 3, 4, 5, 6])])
@pytest.mark.parametrize("distribution", ["kaiming_uniform", "kaiming_normal"])
def test_draw_numbers_in_each_coding(distribution: str, coding: str, used: list[int], tmp_path: Path) -> None:
    """`range`: draws 1 and 2 are not used, yet have their part of the unit interval."""
    model = net()
    every = dict(rerandomize_every=10**6, distribution=distribution, seed=3)
    optimizer = trained("iterand", model, num_steps=1, **every)
    optimizer.param_groups[0].update(num_updates=12, rerandomize_every=2)  # as if six redraws had been
    positions = {name: position for position, (name, _) in enumerate(methods.prunable(model))}

    def redraw(name: str, theta: torch.Tensor) -> torch.Tensor:
        which = torch.arange(theta.numel()) // 3 % len(used)
        for place, number in enumerate(used):
            fan_in = theta[0].numel()
            draw = dict(fan_in=fan_in, seed=3, draw=number, parameter=positions[name])
            values = draw_values_(torch.empty_like(theta), distribution, **draw)
            theta = torch.where(which.view(theta.shape) == place, values, theta)
        return theta

    set_theta(optimizer, model, redraw)
    tickets.save(tmp_path / "t", model, optimizer)
    assert {form[1:] for form in forms(check_read_equal(tmp_path / "t", model))} == {("draws", coding)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_values_that_no_seed_gives(dtype: torch.dtype, tmp_path: Path) -> None:
    model = net(dtype=dtype)
    tickets.save(tmp_path / "t", model, trained("edge_popup", model, distribution=None))
    assert {form[1:] for form in forms(check_read_equal(tmp_path / "t", model))} == {("values", "raw")}


def test_groups_fan_in_and_a_group_without_masks(tmp_path: Path) -> None:
    model = net()
    groups = [
        {"params": [*model[1].parameters(), model[0].bias], "sparsity": None},
        {"params": [model[0].weight], "seed": 2**32 - 1, "fan_in": 7, "distribution": "kaiming_normal"},
        {"params": [model[3].weight], "sparsity": 0.9},
    ]
    tickets.save(tmp_path / "t", model, trained("iterand", model, groups=groups))
    found = check_read_equal(tmp_path / "t", model)
    assert [(layer["source"], layer["position"]) for layer in found.header["layers"]] == [(1, 3), (2, 4)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("distribution", ["signed_constant", "kaiming_uniform"])
@pytest.mark.parametrize("name", ["edge_popup", "iterand"])
def test_scaled_weights_come_from_the_seed(name: str, distribution: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Each group by its own share kept, a `fan_in` of its own among them; what is not scaled does not say so."""
    model = net(dtype=dtype)
    groups = [
        {"params": [model[0].weight], "scale_fan": True, "sparsity": 0.7, "fan_in": 11},
        {"params": [model[3].weight], "scale_fan": True, "sparsity": 0.3},
        {"params": [model[3].bias, *model[1].parameters()], "sparsity": None},
    ]
    tickets.save(tmp_path / "t", model, trained(name, model, groups=groups, distribution=distribution, seed=7))
    found = check_read_equal(tmp_path / "t", model)
    assert [source.get("scale_fan") for source in found.header["sources"]] == [True, True, None]
    kind = "seed" if name == "edge_popup" else "signs" if distribution == "signed_constant" else "draws"
    assert {form[1] for form in forms(found)} == {kind}


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    for distribution in DISTRIBUTIONS:
        model = net()
        optimizer = trained("iterand", model, distribution=distribution)
        for file in ("one", "two"):
            tickets.save(tmp_path / file, model, optimizer)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def golden(path: Path) -> nn.Module:
    """How the golden ticket was made: signs, draws twice, weights of the seed, and weights that no seed gives."""
    model = build("conv2", num_classes=3, image_size=4, in_channels=1, width_mult=1 / 16)
    first, second, third, fourth, last = (param for _, param in methods.prunable(model))
    groups = [
        {"params": [first], "sparsity": 0.7},
        {"params": [second], "distribution": "kaiming_uniform", "sparsity": 0.8},
        {"params": [third], "distribution": "kaiming_normal", "sparsity": 0.5},
        {"params": [fourth, last], "sparsity": 0.0},
    ]
    optimizer = trained("iterand", model, groups=groups, seed=11)
    set_theta(optimizer, model, lambda name, theta: theta * 1.5 if len(theta) == 3 else theta)
    tickets.save(path, model, optimizer)
    return model


def test_an_old_file_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(base64.b85decode("".join(GOLDEN.split())))
    model = tickets.load(tmp_path / "old")
    found = check_read_equal(tmp_path / "old", model)
    assert {form[1] for form in forms(found)} == {"seed", "signs", "draws", "values"}
    assert {coding for form in forms(found) for coding in form[::2]} == {"none", "raw", "range"}
    assert found.digest == GOLDEN_DIGEST


def test_the_golden_ticket_can_be_made_again(tmp_path: Path) -> None:
    """Not with equal bytes: these may depend on the version of zlib, and the training on that of torch."""
    check_read_equal(tmp_path / "new", golden(tmp_path / "new"))


def test_the_slow_reader_knows_philox() -> None:
    """A vector published with Random123, so that two readers cannot share one mistake."""
    counter, key = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert ticket_reader.philox(counter, key) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def test_the_slow_reader_refuses_what_it_must(tmp_path: Path) -> None:
    """It has the right to: else it would find nothing wrong with anything."""
    model = net()
    tickets.save(tmp_path / "t", model, trained("iterand", model))
    data = bytearray((tmp_path / "t").read_bytes())
    header_bytes = int.from_bytes(data[12:16], "little")
    assert zlib.decompress(data[16 : 16 + header_bytes])
    data[16 + header_bytes + 10] ^= 1
    with pytest.raises(AssertionError, match="SHA-256"):
        ticket_reader.read(bytes(data))
    data[-32:] = hashlib.sha256(data[:-32]).digest()
    try:
        found = ticket_reader.read(bytes(data))
    except (AssertionError, StopIteration):
        return
    assert found.digest != found.header["digest"]


def test_a_file_that_cannot_be_read_is_not_called_garbled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.ticket"
    golden(path)
    fail_to_open(monkeypatch, path)
    for read in (tickets.load, tickets.info):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
            read(path)
        assert caught.value.filename == str(path)
