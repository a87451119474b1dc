"""The trained network, kept in a file beside its record; trained weights are tried in smaller forms, too."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from suite import methods, tickets
from suite.config import identity
from suite.data.interface import SplitName
from suite.records import DENSE, TICKET, Stored, non_finite_to_none, plugin_source
from suite.records.file_errors import retrying
from suite.tickets import NetworkMetadata, dense, entropy_coding, networks
from suite.train.evaluate import Evaluation
from suite.train.setup import Run

Metrics = Mapping[str, float | None]
Evaluate = Callable[[Run, SplitName], Evaluation]


def check(run: Run) -> None:
    """Raise InputError where a library is missing: before the training, not after it."""
    dense.import_safetensors()
    entropy_coding.import_constriction()


def save_network(run: Run, folder: Path, metrics: Metrics, evaluate: Evaluate) -> list[Stored]:
    """Write the network into ``folder``, and say in which forms it can be stored; called on all ranks alike.

    A masked network of random weights becomes a ticket. One whose weights were trained becomes safetensors in float32,
    under its masks where it has some, and is evaluated in the smaller forms too (equal numbers once): the smallest of
    about the same accuracy is what tickets are compared with.

    Raises:
        OSError: the disk is full, say.
    """
    found = {key: value for key, value in metrics.items() if not key.startswith("train/")}
    settings = identity(run.trial)
    about = NetworkMetadata(
        trial_id=run.trial.trial_id,
        trial=settings,
        data_id=run.data.data_id,
        metrics=found,
        plugins=[use.model_dump() for use in plugin_source.used_by(run.trial)],
    )
    about = networks.with_build_arguments(run.model, about)
    if methods.trains_weights(run.optimizer):
        return _keep_weights(run, folder, about, evaluate)
    return _keep_ticket(run, folder, about)


def _keep_ticket(run: Run, folder: Path, about: NetworkMetadata) -> list[Stored]:
    if run.group.rank != 0:
        return []
    plain = dense.pack(run.model.state_dict(), "fp32", method=run.trial.method.name, about=about)
    path = folder / TICKET
    ticket = retrying(lambda: tickets.save(path, run.model, run.optimizer, about=about), path)
    return [ticket, dense.sizes(plain, "fp32", about.metrics if run.trial.precision != "fp64" else {})]


def _keep_weights(run: Run, folder: Path, about: NetworkMetadata, evaluate: Evaluate) -> list[Stored]:
    state, stored = run.model.state_dict(), []
    last, metrics = state, about.metrics
    for form in dense.forms_of(run.optimizer.masked):
        rounded = dense.rounded(state, form)
        if not _equal(rounded, last):
            metrics = _evaluated(_with(run, rounded), about.metrics, evaluate)
        last = rounded
        if run.group.rank == 0:
            of_form = about.model_copy(update={"metrics": metrics})
            content = dense.pack(state, form, method=run.trial.method.name, about=of_form)
            stored.append(dense.sizes(content, form, metrics))
            if form == ("sparse-fp32" if run.optimizer.masked else "fp32"):
                _write_dense(folder / DENSE, content)
    return stored


def _write_dense(path: Path, content: bytes) -> None:
    retrying(lambda: dense.write(path, content), path)


def _equal(rounded: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, rounded[name].to(tensor)) for name, tensor in other.items())


def _evaluated(run: Run, metrics: Metrics, evaluate: Evaluate) -> dict[str, float | None]:
    splits: list[SplitName] = ["val", "test"] if "test/top1" in metrics else ["val"]
    found = {split: evaluate(run, split) for split in splits}
    return non_finite_to_none(
        {f"{split}/{key}": getattr(each, key) for split, each in found.items() for key in ("top1", "loss")}
    )


def _with(run: Run, state: Mapping[str, Tensor]) -> Run:
    """The trial with a network of its own: one that is stopped meanwhile saves the trained one."""
    model = copy.deepcopy(run.model)
    model.load_state_dict(state)
    return replace(run, model=model, compiled_model=model, ddp_model=model)
