"""What is saved is loaded bit for bit, whatever the network and its training, in about as many bits as it needs."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from support.ticket_networks import DTYPES, Bag, change, check_round_trip, train, trained

from suite import methods, tickets
from suite.methods.random import DISTRIBUTIONS, draw_values_
from suite.models import build
from suite.testing.method.cases import fingerprint

NETS = {
    "conv6": dict(num_classes=10, image_size=32),
    "resnet18": dict(num_classes=10, image_size=32, width_mult=0.25),
    "resnet50": dict(num_classes=100, image_size=65, width_mult=0.25),
}


@pytest.mark.slow
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("name", ["edge_popup", "iterand"])
@pytest.mark.parametrize("net", NETS)
def test_networks_that_models_build_makes(net: str, name: str, distribution: str, tmp_path: Path) -> None:
    """Loaded from the file alone, and into a network of another seed."""
    model = build(net, **NETS[net])
    every = {"rerandomize_every": 1} if name == "iterand" else {}
    optimizer = trained(name, methods.prunable(model), 3, sparsity=0.7, distribution=distribution, seed=1, **every)
    header = check_round_trip(tmp_path / "t", model, optimizer)
    again = tickets.load(tmp_path / "t", model=build(net, **NETS[net]))
    assert fingerprint(dict(again.state_dict())) == fingerprint(dict(model.state_dict()))
    kind = "seed" if name == "edge_popup" else "signs" if distribution == "signed_constant" else "draws"
    assert kind in {layer.theta[0] for layer in header.layers} <= {kind, "seed"}  # a small layer may not be redrawn
    assert {layer.name for layer in header.layers} == dict(methods.prunable(model)).keys()


def random_case(chance: random.Random) -> tuple[Bag, str, list[dict[str, Any]]]:
    """A network, a method, and groups of most of its weights: some are in no group, as where they are frozen."""
    dims = lambda: tuple(chance.choice([1, 1, 2, 3, 5, 8]) for _ in range(chance.randint(2, 4)))  # noqa: E731
    shapes = [chance.choice([dims(), dims(), (1, 1), (1, 1, 1, 1)]) for _ in range(chance.randint(1, 5))]
    model = Bag([*shapes, (20, 30)], chance.choice(DTYPES))
    weights, groups = list(model.weights), []
    name = chance.choice(["edge_popup", "iterand", "iterand"])
    while weights:
        some, weights = weights[: chance.randint(1, 3)], weights[3:]
        distribution = chance.choice([*DISTRIBUTIONS, None] if name == "edge_popup" else DISTRIBUTIONS)
        groups.append(
            {
                "params": some,
                "distribution": distribution,
                "sparsity": chance.choice([0.0, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.99, 0.999999, chance.random()]),
                "seed": chance.choice([0, 1, 2**32 - 1, chance.randrange(2**32)]),
                "rank_by": chance.choice(["scores", "abs_scores"]),
                "score_init": chance.choice(["kaiming_uniform", "fan_in_uniform"]),
                "fan_in": chance.choice([None, None, 1, 7, 2**31 - 1]),
                "pack_signs": distribution == "signed_constant" and chance.random() < 0.5,
                "scale_fan": distribution is not None and chance.random() < 0.5,
            }
        )
        if name == "iterand":
            groups[-1] |= {"rerandomize_every": chance.randint(1, 3), "rerandomize_prob": chance.choice([0, 0.2, 1])}
    dense = {"params": [model.bias, *model.norm.parameters()], "sparsity": None, "distribution": "kaiming_uniform"}
    groups.insert(chance.randint(0, len(groups)), dense)
    return model, name, groups


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.slow] * (seed >= 50)) for seed in range(150)])
def test_any_network_and_settings(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    chance = random.Random(seed)
    model, name, groups = random_case(chance)
    masked = {id(p) for group in groups if group["sparsity"] is not None for p in group["params"]}
    optimizer = methods.get(name)(groups, sparsity=0.5, lr=chance.choice([0.1, 3.0]), momentum=chance.choice([0, 0.9]))
    train(optimizer, chance.choice([0, 1, 7, 25]), seed)
    other = Bag([tuple(param.shape) for param in model.weights], model.bias.dtype)
    header = check_round_trip(tmp_path / "t", model, optimizer, other)
    assert len(header.layers) == len(masked)
    ours = [group for group in groups if group["sparsity"] is not None and group["distribution"] is not None]
    if len(ours) == len(groups) - 1:  # the seed gives all weights: none is stored
        assert "values" not in {layer.theta[0] for layer in header.layers}


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_real_redraws(distribution: str, every: int, tmp_path: Path) -> None:
    """40 steps at a high rate: weights come and go, and draws of all ages survive."""
    model = build("conv2", num_classes=5, image_size=8, width_mult=0.125)
    optimizer = trained(
        "iterand",
        methods.prunable(model),
        40,
        distribution=distribution,
        rerandomize_every=every,
        rerandomize_prob=0.2,
        lr=1.0,
    )
    for layer in check_round_trip(tmp_path / "t", model, optimizer).layers:
        if distribution == "signed_constant":
            assert layer.theta[0] == "signs"
            assert 0 < layer.turned < layer.kept
        else:
            assert layer.theta[0] == "draws"


def test_a_ticket_of_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    """Nothing is remembered outside the optimizer's state."""
    one, other = Bag([(30, 20)]), Bag([(30, 20)])
    first = trained("iterand", [*one.weights], distribution="kaiming_normal")
    second = trained("iterand", [*other.weights], 0, distribution="kaiming_normal")
    second.load_state_dict(first.state_dict())
    other.load_state_dict(one.state_dict())
    for model, optimizer, file in ((one, first, "one"), (other, second, "other")):
        train(optimizer, 5, seed=9)
        tickets.save(tmp_path / file, model, optimizer)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("pack_signs", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_channels_last(dtype: torch.dtype, pack_signs: bool, tmp_path: Path) -> None:
    model = build("conv2", num_classes=5, image_size=8, width_mult=0.125).to(dtype)
    model = model.to(memory_format=torch.channels_last)
    optimizer = trained("iterand", methods.prunable(model), pack_signs=pack_signs)
    other = build("conv2", num_classes=5, image_size=8, width_mult=0.125).to(dtype)
    check_round_trip(tmp_path / "t", model, optimizer, other.to(memory_format=torch.channels_last))
    check_round_trip(tmp_path / "t", model, optimizer)


def test_packed_signs_make_the_same_ticket(tmp_path: Path) -> None:
    for file, packed in (("one", False), ("two", True)):
        model = Bag([(8, 4, 3, 3), (30, 20)])
        torch.manual_seed(0)
        model.load_state_dict(Bag([(8, 4, 3, 3), (30, 20)]).state_dict())
        tickets.save(tmp_path / file, model, trained("iterand", [*model.weights], pack_signs=packed))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("number", [0.125, -0.0, 0.0, math.inf, math.nan, 1e-45])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("name", ["edge_popup", "iterand"])
def test_weights_changed_by_hand_are_stored(name: str, distribution: str, number: float, tmp_path: Path) -> None:
    """Even one number that no draw has: it is stored, or all of its layer where later draws gave most."""
    model = Bag([(30, 20), (10, 10)])
    optimizer = trained(name, [*model.weights], distribution=distribution)
    row, column = optimizer.mask(model.weights[0]).nonzero()[0]

    def one_number(theta: torch.Tensor) -> torch.Tensor:
        theta[row, column] = number
        return theta

    change(optimizer, model.weights[0], one_number)
    header = check_round_trip(tmp_path / "t", model, optimizer, Bag([(30, 20), (10, 10)]))
    assert [layer.theta[0] in ("changed", "values") for layer in header.layers] == [True, False]
    assert header.layers[0].turned == 1 or name == "iterand"


def test_the_sign_of_zero_does_not_get_lost(tmp_path: Path) -> None:
    """-0 is equal to 0, which a word of 2^31 gives in kaiming_uniform: the search for draws must tell them apart."""
    model = Bag([(40, 50)])
    optimizer = trained("iterand", [*model.weights], distribution="kaiming_uniform", sparsity=0.0)
    change(optimizer, model.weights[0], lambda theta: torch.full_like(theta, -0.0))
    check_round_trip(tmp_path / "t", model, optimizer, Bag([(40, 50)]))


def test_a_model_of_another_maker_must_be_given(tmp_path: Path) -> None:
    model = Bag([(30, 20)])
    tickets.save(tmp_path / "t", model, trained("edge_popup", [*model.weights]))
    with pytest.raises(tickets.TicketError, match="give that network to load"):
        tickets.load(tmp_path / "t")
    other = Bag([(30, 21)])
    before = fingerprint(dict(other.state_dict()))
    with pytest.raises(tickets.TicketError, match=r"weights\.0: has shape \[30, 20\]: the network has \[30, 21\]"):
        tickets.load(tmp_path / "t", model=other)
    assert fingerprint(dict(other.state_dict())) == before


def test_shared_weights(tmp_path: Path) -> None:
    """One parameter under two names."""
    model, other = Bag([(30, 20), (30, 20)]), Bag([(30, 20), (30, 20)])
    for each in (model, other):
        each.weights[1] = each.weights[0]
    check_round_trip(tmp_path / "t", model, trained("edge_popup", [model.weights[0]]), other)


def test_a_network_changed_by_hand_is_not_saved_in_vain(tmp_path: Path) -> None:
    model = Bag([(30, 20)])
    optimizer = trained("edge_popup", [*model.weights])
    with torch.no_grad():
        model.weights[0].mul_(2)
    try:
        tickets.save(tmp_path / "t", model, optimizer)
    except ValueError:
        return
    tickets.load(tmp_path / "t", model=model)


def test_a_network_of_another_dtype_is_refused_or_takes_the_files(tmp_path: Path) -> None:
    model, other = Bag([(30, 20)], torch.float64), Bag([(30, 20)], torch.float32)
    tickets.save(tmp_path / "t", model, trained("edge_popup", [*model.weights], distribution="kaiming_uniform"))
    try:
        tickets.load(tmp_path / "t", model=other)
    except tickets.TicketError:
        return
    assert torch.equal(other.weights[0].double(), model.weights[0])


# --- Sizes ---


def entropy(*counts: int) -> float:
    """Bits, each symbol said without regard to the others."""
    return sum(count * math.log2(sum(counts) / count) for count in counts if count)


@pytest.mark.parametrize("sparsity", [0.02, 0.3, 0.5, 0.6, 0.7, 0.95])
@pytest.mark.parametrize("name", ["edge_popup", "iterand"])
def test_never_above_a_bit_a_weight_and_a_bit_a_survivor(name: str, sparsity: float, tmp_path: Path) -> None:
    model = Bag([(100, 100), (40, 30, 3, 3), (7, 4001)])
    optimizer = trained(name, [*model.weights], 12, sparsity=sparsity)
    for layer in check_round_trip(tmp_path / "t", model, optimizer, model).layers:
        assert 8 * layer.mask[1] <= layer.num + 7
        assert 8 * layer.theta[2] <= (layer.kept + 7 if name == "iterand" else 0)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("sparsity", [0.6, 0.7])
@pytest.mark.parametrize("name", ["edge_popup", "iterand"])
def test_within_a_hundredth_of_the_entropy(name: str, sparsity: float, distribution: str, tmp_path: Path) -> None:
    model = Bag([(400, 256), (128, 100, 3, 3)])
    params = [*model.weights]
    optimizer = trained(name, params, 6, sparsity=sparsity, distribution=distribution, seed=3)
    for layer, param in zip(check_round_trip(tmp_path / "t", model, optimizer, model).layers, params, strict=True):
        mask = optimizer.mask(param)
        kept = int(mask.sum())
        assert layer.num >= 100_000
        assert 8 * layer.mask[1] <= 1.01 * entropy(layer.num - kept, kept)
        bound = 0.0
        if name == "iterand":
            drawn = [
                draw_values_(
                    torch.empty(param.shape),
                    distribution,
                    fan_in=param[0].numel(),
                    seed=3,
                    draw=draw,
                    parameter=layer.position,
                )
                for draw in range(4)
            ]
            theta = optimizer.theta(param)
            if distribution == "signed_constant":
                turned = int((theta != drawn[0])[mask].sum())
                bound = entropy(kept - turned, turned)
            else:
                bound = entropy(*(int((theta == values)[mask].sum()) for values in drawn))
        assert 8 * layer.theta[2] <= 1.01 * bound + (256 if bound else 0)  # counts of draws are a head of some bytes
