"""The trained network, kept in a file beside its record; and for a dense one what it is worth in smaller forms."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from suite import tickets
from suite.config import identity
from suite.data import SplitName
from suite.evaluate import Evaluation
from suite.records import DENSE, TICKET, Stored
from suite.tickets import About, dense, networks
from suite.train.setup import Run

Metrics = Mapping[str, float | None]
Evaluate = Callable[[SplitName], Evaluation]


def keep(run: Run, folder: Path, metrics: Metrics, evaluate: Evaluate) -> list[Stored]:
    """Write the network into ``folder``, and say in which forms it can be stored; called on all ranks alike.

    A masked network becomes a ticket. A dense one becomes safetensors in float32, and is evaluated in the smaller
    forms too: the smallest of about the same accuracy is what tickets are compared with.

    Raises:
        OSError: the disk is full, say.
    """
    found = {key: value for key, value in metrics.items() if not key.startswith("train/")}
    settings = identity(run.trial)
    about = About(trial_id=run.trial.trial_id, trial=settings, data_id=run.data.data_id, metrics=found)
    about = networks.named(run.model, about)
    return _keep_ticket(run, folder, about) if run.optimizer.masked else _keep_dense(run, folder, about, evaluate)


def _keep_ticket(run: Run, folder: Path, about: About) -> list[Stored]:
    if run.group.rank != 0:
        return []
    plain = dense.pack(run.model.state_dict(), "fp32", method=run.trial.method.name, about=about)
    ticket = tickets.save(folder / TICKET, run.model, run.optimizer, about=about)
    return [ticket, Stored(form="fp32", bytes=len(plain), metrics=about.metrics)]


def _keep_dense(run: Run, folder: Path, about: About, evaluate: Evaluate) -> list[Stored]:
    stored = []
    for form in dense.FORMS:
        with _rounded(run.model, form) as changed:
            found = _evaluated(about.metrics, evaluate) if changed else about.metrics
        of_form = about.model_copy(update={"metrics": found})
        content = dense.pack(run.model.state_dict(), form, method=run.trial.method.name, about=of_form)
        if form == "fp32" and run.group.rank == 0:
            dense.write(folder / DENSE, content)
        stored.append(Stored(form=form, bytes=len(content), metrics=found))
    return stored


def _evaluated(metrics: Metrics, evaluate: Evaluate) -> dict[str, float | None]:
    splits: list[SplitName] = ["val", "test"] if "test/top1" in metrics else ["val"]
    found = {split: evaluate(split) for split in splits}
    return {f"{split}/{key}": getattr(each, key) for split, each in found.items() for key in ("top1", "loss")}


@contextmanager
def _rounded(model: nn.Module, form: dense.Form) -> Iterator[bool]:
    """The network as it comes back out of a form, for a while; whether that is another one."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rounded = {name: tensor.to(state[name]) for name, tensor in dense.rounded(state, form).items()}
    changed = any(not torch.equal(tensor, state[name]) for name, tensor in rounded.items())
    try:
        if changed:
            model.load_state_dict(rounded)
        yield changed
    finally:
        model.load_state_dict(state)
