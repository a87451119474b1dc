"""Which parameters a trial trains: weights always, biases and norms as its settings say."""

import itertools
from pathlib import Path

import pytest
import torch
from support.trial_processes import trial_of

from suite import data, methods, tickets, train
from suite.config import Trial
from suite.records import TICKET
from suite.train import setup
from suite.train.setup import Run
from suite.train.step import train_step

MODEL = {"name": "resnet18", "width_mult": 0.0625}
CHOICES = list(itertools.product(["weights", "edge_popup", "iterand"], [None, False, True], [None, False, True]))


def build(trial: Trial) -> Run:
    device = setup.configure_torch(trial)
    return setup.build(trial, data.load(trial.dataset, data_dir=None, device=device), device)


@pytest.mark.parametrize(("method", "norm_affine", "train_biases"), CHOICES)
def test_what_is_not_trained_stays(method: str, norm_affine: bool | None, train_biases: bool | None) -> None:
    run = build(trial_of(method, model=MODEL | {"norm_affine": norm_affine, "train_biases": train_biases}))
    before = {name: param.detach().clone() for name, param in run.model.named_parameters()}
    for images, labels in itertools.islice(run.data.train_batches(3, 0, 64), 8):
        train_step(run, images, labels, len(labels))
    weights = {name for name, _ in methods.prunable(run.model)}
    norms = before.keys() - weights - {"head.bias"}
    dense = method == "weights"
    trained = set(weights)
    if dense if norm_affine is None else norm_affine:
        trained |= norms
        assert norms
    if dense if train_biases is None else train_biases:
        trained.add("head.bias")
    for name, param in run.model.named_parameters():
        assert param.requires_grad == (name in trained)
        assert torch.equal(param, before[name]) == (name not in trained)


@pytest.mark.parametrize(
    ("method", "keys"), [("weights", ["train_biases"]), ("edge_popup", ["norm_affine", "train_biases"])]
)
def test_networks_begin_equal_whatever_else_is_trained(method: str, keys: list[str]) -> None:
    models = [MODEL | dict.fromkeys(keys, value) for value in (False, True)]
    without, with_them = (dict(build(trial_of(method, model=model)).model.named_parameters()) for model in models)
    assert all(torch.equal(param, with_them[name]) for name, param in without.items())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["edge_popup", "iterand"])
def test_a_ticket_has_trained_norms_and_biases(tmp_path: Path, method: str) -> None:
    trial = trial_of(method, model=MODEL | {"norm_affine": True, "train_biases": True})
    result = train.train(trial, tmp_path)
    assert result.status == "done" and result.params_kept < result.params_total
    state = tickets.load(tmp_path / TICKET).state_dict()
    assert not torch.equal(state["head.bias"], torch.zeros(10))
    assert not torch.equal(state["stem.0.1.weight"], torch.ones(64))
