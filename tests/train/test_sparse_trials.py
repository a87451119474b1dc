"""Trials that train weights under a mask: what they train, how they are interrupted, and what they leave."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.evaluations import record_evaluations
from support.trial_processes import records_of, trial_of

from suite import data, load_network, methods, tickets, train
from suite.config import Trial
from suite.records import DENSE, TICKET, read_metrics
from suite.stopping import Stopped
from suite.tickets import networks
from suite.train import setup
from suite.train.loop import lr_at
from suite.train.step import train_step

SPARSE_METHODS = ("random_mask", "magnitude", "imp")
each_sparse = pytest.mark.parametrize("method", SPARSE_METHODS)
RESNET = {"name": "resnet18", "width_mult": 0.0625}


def build(trial: Trial) -> setup.Run:
    device = setup.configure_torch(trial)
    return setup.build(trial, data.load(trial.dataset, data_dir=None, device=device), device)


def trial_with(method: dict[str, Any], **changes: Any) -> Trial:
    return Trial.model_validate({**trial_of("weights").model_dump(mode="json"), "method": method, **changes})


@each_sparse
def test_norms_and_biases_are_trained_as_in_dense_networks(method: str) -> None:
    run = build(trial_of(method, model=RESNET))
    before = {name: param.detach().clone() for name, param in run.model.named_parameters()}
    for images, labels in itertools.islice(run.data.train_batches(3, 0, 64), 3):
        train_step(run, images, labels, len(labels))
    dense = build(trial_of("weights", model=RESNET))
    assert before.keys() == dict(dense.model.named_parameters()).keys()
    assert all(not torch.equal(param, before[name]) for name, param in run.model.named_parameters())


@each_sparse
def test_a_trial_that_is_interrupted_ends_with_the_same_bits(method: str, tmp_path: Path) -> None:
    """In the middle of each epoch, and at the border between two, where a method may rewind."""
    trial, quiet, folder = trial_of(method), tmp_path / "quiet", tmp_path / "hit"
    quiet.mkdir()
    folder.mkdir()
    steps: list[int] = []
    train.train(trial, quiet, should_stop=lambda: bool(steps.append(1)))
    for last in (5, len(steps) // 2 - 1, len(steps) // 2 - 8, 3):
        asked = itertools.count()
        with pytest.raises(Stopped):
            train.train(trial, folder, should_stop=lambda asked=asked, last=last: next(asked) >= last)
    train.train(trial, folder)
    assert records_of(folder) == records_of(quiet)


@each_sparse
def test_a_sparse_network_is_kept_and_evaluated_in_each_form(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = record_evaluations(monkeypatch)
    trial = trial_of(method, checkpoint={})
    folder = tmp_path / "trials" / trial.trial_id
    folder.mkdir(parents=True)
    result = train.train(trial, folder)
    assert [each.form for each in result.stored] == [
        *("fp32", "sparse-fp32", "bf16", "sparse-bf16", "int8", "sparse-int8", "int8-coded", "int4")
    ]
    forms = {each.form: each for each in result.stored}
    for form in ("fp32", "bf16", "int8"):
        assert forms[form].metrics == forms[f"sparse-{form}"].metrics
        assert forms[f"sparse-{form}"].bytes < forms[form].bytes
    assert [split for split, _ in evaluated] == ["val", "val", *["test", *["val", "test"] * 3]]
    assert not (folder / TICKET).exists()
    path = folder / DENSE
    assert forms["sparse-fp32"].bytes == path.stat().st_size
    exact = evaluated[2][1]
    for model in (tickets.load(path), load_network(trial.trial_id, tmp_path)):
        assert all(map(networks.same_bits, model.parameters(), exact))
    removed = sum(int((param == 0).sum()) for param in tickets.load(path).parameters() if param.ndim >= 2)
    assert result.params_total - result.params_kept == removed > 0.79 * 0.9 * result.params_total


def test_imp_leaves_a_line_of_each_round_and_restarts_the_learning_rate(tmp_path: Path) -> None:
    """The line of a round's last epoch is of the network before it is pruned and rewound."""
    schedule = {"warmup_epochs": 1, "constant_epochs": 0}
    method = {"name": "imp", "lr": 0.1, "sparsity": 0.75, "rounds": 3, "rewind_epoch": 1}
    trial = trial_with(method, epochs=6, schedule=schedule, keep_network=False, checkpoint={})
    assert [lr_at(trial, epoch) for epoch in range(6)] == [0.1, 0.1] * 3
    train.train(trial, tmp_path)
    lines = read_metrics(tmp_path)
    assert [line["round"] for line in lines] == [0, 0, 1, 1, 2, 2]
    assert [round(line["sparsity"], 2) for line in lines] == [0, 0, 0.5, 0.5, 0.75, 0.75]
    assert lines[1]["val/top1"] > lines[2]["val/top1"] - 0.2


def test_what_has_no_rounds_has_no_such_key(tmp_path: Path) -> None:
    train.train(trial_of("magnitude", keep_network=False, checkpoint={}), tmp_path)
    lines = read_metrics(tmp_path)
    assert "round" not in lines[0]
    assert [round(line["sparsity"], 2) for line in lines] == [0.8, 0.8]


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"name": "imp", "rounds": 3}, {"epochs": 4}, r"epochs\n.*must be a multiple of method.rounds \(3\)"),
    ({"name": "imp", "rounds": 2, "rewind_epoch": 2}, {"epochs": 4}, r"must be more than .* \(4\)"),
    ({"name": "imp", "rounds": 2}, {"epochs": 4, "schedule": {"warmup_epochs": 3}}, r"at most the epochs of a round"),
    ({"name": "imp", "rounds": 1}, {"epochs": 4}, "greater than or equal to 2"),
    ({"name": "magnitude", "end_epoch": 5}, {"epochs": 4}, r"must be at least method.end_epoch \(5\)"),
    ({"name": "magnitude", "end_epoch": 1, "begin_epoch": 2}, {"epochs": 4}, r"must be at least begin_epoch \(2\)"),
]


@pytest.mark.parametrize(("method", "changes", "said"), REFUSED)
def test_epochs_that_do_not_suit_a_method_are_refused(
    method: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        trial_with({"lr": 0.1, "sparsity": 0.5, **method}, **changes)


def test_they_say_what_they_train() -> None:
    for name in SPARSE_METHODS:
        assert methods.get(name).masked and methods.trains_weights(methods.get(name))
    assert [methods.trains_weights(methods.get(name)) for name in ("weights", "edge_popup", "iterand")] == [1, 0, 0]
