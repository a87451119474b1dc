"""The contract of ``suite.models``: what trials, masked methods and tickets need of a network."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from suite import config, methods, models
from suite.testing import subject

NAMES = subject.names("model")
SIZES = [(8, 1), (28, 1), (32, 3)]  # pixels a side, and channels
WIDTHS = [1 / 64, 0.1, 0.25]
each_model = pytest.mark.parametrize("name", NAMES)


def own_settings(name: str) -> dict[str, Any]:
    """Legal values of the settings that this network alone has and that have no default."""
    fields = config.MODELS[name].model_fields
    needed = {key: subject.value_of(field) for key, field in fields.items() if field.is_required() and key != "name"}
    return {**needed, **subject.settings(name)}


def build(name: str, size: int = 32, channels: int = 3, **settings: Any) -> nn.Module:
    """A narrow network; one that says by name that an image is too small for it is passed over."""
    given = {"num_classes": 7, "width_mult": 0.25, **own_settings(name), **settings}
    try:
        return models.build(name, image_size=size, in_channels=channels, **given)
    except ValueError as error:
        if "image_size" not in str(error):
            raise
        pytest.skip(str(error))


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@each_model
@pytest.mark.parametrize(("size", "channels"), SIZES)
@pytest.mark.parametrize("width_mult", WIDTHS)
def test_images_give_logits_and_every_parameter_a_gradient(
    name: str, width_mult: float, size: int, channels: int
) -> None:
    model = build(name, size, channels, width_mult=width_mult)
    logits = model(torch.randn(2, channels, size, size))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    trained = {key: param for key, param in model.named_parameters() if param.requires_grad}
    assert trained
    assert [key for key, p in trained.items() if p.grad is None or not p.grad.isfinite().all()] == []


@each_model
def test_a_wider_network_has_more_parameters(name: str) -> None:
    counts = [sum(p.numel() for p in build(name, width_mult=width).parameters()) for width in (0.25, 0.5, 1.0)]
    assert counts == sorted(set(counts))


@each_model
def test_the_network_follows_from_its_arguments_alone(name: str) -> None:
    """A ticket keeps no more of it, and rebuilds it without memory for its numbers."""
    first = build(name)
    with torch.device("meta"):
        empty = build(name)
    assert shapes(first) == shapes(build(name)) == shapes(empty)
    assert all(tensor.is_meta for tensor in empty.state_dict().values()), "a tensor is not on the default device"
    assert not any(buffer.is_meta for buffer in first.buffers())
    kept = empty.state_dict().keys()
    assert [key for key, _ in empty.named_buffers() if key not in kept] == [], "a buffer is in no state"


@each_model
def test_a_copy_and_a_loaded_state_compute_the_same(name: str) -> None:
    model, images = build(name).eval(), torch.randn(2, 3, 32, 32)
    other = build(name).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images), other(images))
        assert torch.equal(model(images), copy.deepcopy(model)(images))
        assert torch.allclose(model(images)[:1], model(images[:1]), atol=1e-4), "images depend on each other"


@each_model
@pytest.mark.parametrize("method", [name for name in methods.names() if methods.get(name).masked][:1])
def test_masked_methods_find_weights_and_train_them(name: str, method: str) -> None:
    model = build(name, norm_affine=False)
    weights = methods.prunable(model)
    assert list(weights), "prunable(model) finds no weight matrix"
    optimizer = methods.get(method)(weights, lr=0.1, sparsity=0.5)
    before = [param.detach().clone() for _, param in weights]
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    assert any(not torch.equal(param, value) for (_, param), value in zip(weights, before, strict=True))


@each_model
def test_norms_have_no_scale_and_shift_where_none_are_wanted(name: str) -> None:
    kinds = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    norms = [module for module in build(name, norm_affine=False).modules() if isinstance(module, kinds)]
    assert [type(norm).__name__ for norm in norms if any(True for _ in norm.parameters())] == []


@each_model
def test_biases_of_layers_are_zero(name: str) -> None:
    layers = [module for module in build(name).modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert all(layer.bias is None or not layer.bias.any() for layer in layers)


@each_model
def test_a_width_without_units_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="width_mult"):
        build(name, width_mult=0.0)


@each_model
def test_a_setting_that_it_does_not_have_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="no_such_setting"):
        build(name, no_such_setting=1)
