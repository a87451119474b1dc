"""What a record says of the masks, layer by layer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.trial_processes import trial_of

from suite import data, tickets, train
from suite.config import Trial
from suite.records import Result
from suite.train import mask_counts, setup


def with_method(name: str, **settings: Any) -> Trial:
    trial = trial_of(name, epochs=1)
    return trial.model_copy(update={"method": trial.method.model_copy(update=settings)})


def test_a_record_has_the_layers_of_a_global_threshold(tmp_path: Path) -> None:
    result = train.train(with_method("edge_popup", scope="global", sparsity=0.9), tmp_path)
    weights, kept = sum(layer.weights for layer in result.layers), sum(layer.kept for layer in result.layers)
    assert kept == weights - round(0.9 * (weights - 1)) + result.kept_in_addition
    assert len({round(layer.kept / layer.weights, 3) for layer in result.layers}) > 1
    model = tickets.load(tmp_path / "network.ticket")
    counts = {name: int((param != 0).sum()) for name, param in model.named_parameters()}
    assert {layer.name: layer.kept for layer in result.layers} == {
        name: counts[name] for name in counts if counts[name]
    }


@pytest.mark.parametrize("method", ["weights", "edge_popup"])
def test_a_record_has_no_layers_where_all_are_alike(method: str, tmp_path: Path) -> None:
    result = train.train(trial_of(method, epochs=1, keep_network=False), tmp_path)
    assert (result.layers, result.kept_in_addition) == ([], 0)
    older = result.model_dump(exclude={"layers", "kept_in_addition"})
    assert Result(**older) == result


@pytest.mark.parametrize("sparsity", [0.3, 0.8, 0.95])
def test_rounding_in_small_layers_is_no_difference(sparsity: float) -> None:
    narrow = {"name": "conv2", "width_mult": 0.0625}
    trial = with_method("edge_popup", sparsity=sparsity).model_copy(
        update={"model": trial_of("weights", model=narrow).model}
    )
    device = setup.configure_torch(trial)
    run = setup.build(trial, data.load(trial.dataset, data_dir=None, device=device), device)
    assert mask_counts.uneven_layers(run) == []


def test_a_layer_that_would_be_empty_is_in_the_record() -> None:
    trial = with_method("edge_popup", scope="global", sparsity=0.5)
    device = setup.configure_torch(trial)
    run = setup.build(trial, data.load(trial.dataset, data_dir=None, device=device), device)
    first, *_ = run.optimizer.param_groups[0]["params"]
    assert mask_counts.num_kept_in_addition(run) == 0
    with torch.no_grad():
        run.optimizer.state[first]["scores"].sub_(100.0)
    assert mask_counts.num_kept_in_addition(run) == 1
    assert mask_counts.uneven_layers(run)[0].kept == 1
