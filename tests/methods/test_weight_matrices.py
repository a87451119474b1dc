"""Which parameters of a network are weight matrices, and how many inputs an output unit of each has."""

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from suite import methods
from suite.methods.param_groups import fan_in_of
from suite.testing.method.cases import MASKED, NAMES, build, each_masked, each_method, each_selecting


class Conv1D(nn.Module):
    """A linear layer as transformers writes it."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.zeros(nx, nf)), nn.Parameter(torch.zeros(nf))


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(30, 30))


FAN_INS = [  # layer, {attribute: inputs of one output unit}: counted by hand
    (nn.Linear(6, 4), {"weight": 6}),
    (nn.Linear(4, 4), {"weight": 4}),
    (Conv1D(12, 4), {"weight": 4}),
    (Conv1D(4, 4), {"weight": 4}),
    (nn.Bilinear(3, 5, 2), {"weight": 3 * 5}),
    (nn.Conv1d(6, 4, 5), {"weight": 6 * 5}),
    (nn.Conv2d(6, 4, 3), {"weight": 6 * 9}),
    (nn.Conv2d(6, 4, (1, 3)), {"weight": 6 * 3}),
    (nn.Conv3d(2, 4, 3), {"weight": 2 * 27}),
    (nn.Conv2d(6, 4, 3, groups=2), {"weight": 3 * 9}),
    (nn.Conv2d(6, 6, 3, groups=6), {"weight": 9}),
    (nn.ConvTranspose1d(8, 2, 4), {"weight": 8 * 4}),
    (nn.ConvTranspose2d(8, 32, 4), {"weight": 8 * 16}),
    (nn.ConvTranspose2d(8, 32, 4, groups=4), {"weight": 2 * 16}),
    (nn.ConvTranspose3d(4, 2, 2), {"weight": 4 * 8}),
    (nn.Embedding(50, 8), {"weight": 1}),
    (nn.EmbeddingBag(50, 8), {"weight": 1}),
    (nn.MultiheadAttention(8, 2), {"in_proj_weight": 8, "out_proj.weight": 8}),
    (
        nn.MultiheadAttention(8, 2, kdim=5, vdim=3),
        {"q_proj_weight": 8, "k_proj_weight": 5, "v_proj_weight": 3, "out_proj.weight": 8},
    ),
    (nn.LSTM(3, 5), {"weight_ih_l0": 3, "weight_hh_l0": 5}),
    (nn.LSTM(3, 5, proj_size=2), {"weight_ih_l0": 3, "weight_hh_l0": 2, "weight_hr_l0": 5}),
    (nn.GRUCell(3, 5), {"weight_ih": 3, "weight_hh": 5}),
]


@pytest.mark.parametrize(("layer", "fan_ins"), FAN_INS, ids=[repr(layer)[:60] for layer, _ in FAN_INS])
def test_fan_ins_counted_by_hand(layer: nn.Module, fan_ins: dict[str, int]) -> None:
    found = methods.prunable(layer, embeddings=True)
    assert {weight[0]: weight.fan_in for weight in found} == fan_ins
    assert all(param is layer.get_parameter(name) for name, param in found)


@each_method
@pytest.mark.parametrize(("layer", "fan_ins"), FAN_INS, ids=[repr(layer)[:60] for layer, _ in FAN_INS])
def test_weights_are_drawn_for_their_fan_in(name: str, layer: nn.Module, fan_ins: dict[str, int]) -> None:
    """Also after the optimizer was copied, pickled and loaded: a redraw needs it again."""
    model = copy.deepcopy(layer)
    settings: dict[str, Any] = {"sparsity": 0.0} if name in MASKED else {}
    optimizer = build(name, methods.prunable(model, embeddings=True), distribution="signed_constant", **settings)
    for key, fan_in in fan_ins.items():
        torch.testing.assert_close(
            model.get_parameter(key).square(), torch.full_like(model.get_parameter(key), 2 / fan_in)
        )
    loaded = pickle.loads(pickle.dumps(copy.deepcopy(optimizer)))
    loaded.load_state_dict(optimizer.state_dict())
    [group] = loaded.param_groups
    assert [fan_in_of(param, group) for param in group["params"]] == list(fan_ins.values())


class Net(nn.Module):
    """A tied embedding, another one, a layer under two names, and what gets no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(30, 20), nn.Embedding(10, 20)
        self.first = nn.Linear(20, 20)
        self.again = self.first
        self.norm, self.image_norm = nn.LayerNorm(20), nn.LayerNorm((5, 4))
        self.third = nn.Linear(20, 20, bias=False)
        self.third.weight = self.first.weight
        self.other = Unknown()
        self.head = nn.Linear(20, 30, bias=False)
        self.head.weight = self.tokens.weight


def quiet(model: nn.Module, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return methods.prunable(model, **options)


def test_each_weight_is_found_once_and_the_rest_is_said() -> None:
    model = Net()
    with pytest.warns(UserWarning, match=r"81\.0% of the weights get no mask: other\.table \(30, 30\), its layer's"):
        found = methods.prunable(model)
    assert [name for name, _ in found] == ["first.weight"]
    assert found[0].owner is model.first and found[0].layout == "out, in"
    assert {each.name: each.reason for each in found.left_out} == {
        "tokens.weight": "tied embedding",
        "places.weight": "embedding",
        "first.bias": "bias or scale",
        "norm.weight": "norm",
        "norm.bias": "norm",
        "image_norm.weight": "norm",
        "image_norm.bias": "norm",
        "other.table": "its layer's layout is not known",
    }
    assert found.share == 400 / (400 + 600 + 200 + 900)


def test_embeddings_when_they_are_asked_for() -> None:
    """A tied one is drawn as the linear layer needs it."""
    found = quiet(Net(), embeddings=True)
    assert {weight[0]: weight.fan_in for weight in found} == {
        "tokens.weight": 20,
        "places.weight": 1,
        "first.weight": 20,
    }


def test_a_small_rest_is_no_warning() -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.Embedding(10, 10))  # 1 % is not more than 1 %
    assert [name for name, _ in methods.prunable(model)] == ["0.weight"]
    assert [each.name for each in methods.prunable(model).missed] == ["1.weight"]


def test_networks_of_the_suite_are_covered_whole() -> None:
    from suite import models

    for name in set(models.names()) - {"timm"}:
        with torch.device("meta"):
            found = methods.prunable(models.build(name, num_classes=10, image_size=32))
        assert found.share == 1.0 and found.missed == []


def test_groups_of_all_that_trains() -> None:
    model = Net()
    model.norm.bias.requires_grad_(False)
    with pytest.warns(UserWarning, match="get no mask"):
        masked, matrices, vectors = methods.trainable(model)
    assert [name for name, _ in masked["params"]] == ["first.weight"]
    assert [name for name, _ in matrices["params"]] == ["tokens.weight", "places.weight", "other.table"]
    names = ["first.bias", "norm.weight", "image_norm.weight", "image_norm.bias"]
    assert [name for name, _ in vectors["params"]] == names
    assert vectors["weight_decay"] == 0.0 and "weight_decay" not in matrices


@each_selecting
def test_what_has_no_mask_trains_at_a_rate_of_its_own(name: str) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6))
    before = model[1].weight.detach().clone()
    optimizer = build(name, methods.trainable(model), lr=0.5, plain_lr=0.01, momentum=0.0, weight_decay=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.01]
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert torch.equal(model[1].weight, before - 0.01)  # no weight decay
    given = build(name, [{"params": [nn.Parameter(torch.ones(3))], "sparsity": None, "lr": 0.3}], plain_lr=0.01)
    assert given.param_groups[0]["lr"] == 0.3


WAYS: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "weight_norm": (parametrizations.weight_norm, r"parametrize\.remove_parametrizations\(module, 'weight'\)"),
    "spectral_norm": (parametrizations.spectral_norm, r"parametrize\.remove_parametrizations\(module, 'weight'\)"),
    "orthogonal": (parametrizations.orthogonal, r"parametrize\.remove_parametrizations\(module, 'weight'\)"),
    "old weight_norm": (torch.nn.utils.weight_norm, r"remove_weight_norm\(module, 'weight'\)"),
    "old spectral_norm": (torch.nn.utils.spectral_norm, r"remove_spectral_norm\(module, 'weight'\)"),
    "prune": (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), r"prune\.remove\(module, 'weight'\)"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_parametrized_weights_are_refused(way: str, enabled: bool) -> None:
    parametrize, cure = WAYS[way]
    model = nn.Sequential(nn.Linear(4, 4))
    parametrize(model[0])
    with torch.set_grad_enabled(enabled), pytest.raises(ValueError, match=rf"parameter 0\.weight: .*{cure}"):
        methods.prunable(model)


@each_masked
@torch.no_grad()
def test_a_computed_weight_is_refused_without_its_layer_too(name: str) -> None:
    layer = parametrizations.weight_norm(nn.Linear(4, 4))
    with pytest.raises(ValueError, match="number 0 of its group: requires no gradient and is no"):
        build(name, [layer.weight])


@each_masked
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_weight_parametrized_afterwards_is_noticed(name: str, way: str) -> None:
    parametrize, cure = WAYS[way]
    model = nn.Sequential(nn.Linear(4, 4))
    optimizer = build(name, methods.prunable(model))
    parametrize(model[0])
    with pytest.raises(RuntimeError, match=rf"parameter 0\.weight: is parametrized.*{cure}"):
        optimizer.step()


@each_masked
def test_a_replaced_parameter_is_noticed(name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    optimizer = build(name, methods.prunable(model))
    model.load_state_dict({key: value.clone() for key, value in model.state_dict().items()}, assign=True)
    with pytest.raises(RuntimeError, match=r"parameter 0\.weight: was replaced in its layer"):
        optimizer.step()


def test_a_parametrized_bias_is_nothing_to_masks() -> None:
    layer = nn.Linear(4, 4)
    nn.utils.parametrize.register_parametrization(layer, "bias", nn.Identity())
    assert [name for name, _ in methods.prunable(layer)] == ["weight"]


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_weights_that_are_not_there_yet() -> None:
    with pytest.raises(ValueError, match=r"parameter 0\.weight: is not initialized yet: run a batch"):
        methods.prunable(nn.Sequential(nn.LazyLinear(3)))
    for name in NAMES:
        with pytest.raises(ValueError, match="parameter w: is not initialized yet: run a batch"):
            build(name, [("w", nn.LazyLinear(3).weight)])


def test_pairs_can_be_copied_and_pickled() -> None:
    found = methods.prunable(nn.ConvTranspose2d(2, 4, 3))
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert other[0].fan_in == 18 and other[0].owner.weight is other[0][1] and len(other.left_out) == 1
