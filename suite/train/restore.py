"""A trained network, brought back to be evaluated or exported: from a ticket, or from an unfinished trial."""

from pathlib import Path

import torch
from torch import nn

from suite import data
from suite.config import InputError, Trial
from suite.data.interface import Data, SplitName
from suite.records import saved_in
from suite.train import checkpoint
from suite.train.distributed import SINGLE_PROCESS
from suite.train.evaluate import Evaluation, evaluate
from suite.train.setup import DTYPES, Run, build, configure_torch


def load_data(trial: Trial, data_dir: Path | None, device: torch.device) -> Data:
    """The data of a trial, as it would load them alone."""
    return data.load(trial.dataset, data_dir=data_dir, device=device, channels_last=trial.channels_last)


def evaluate_network(
    trial: Trial, model: nn.Module, images: Data, split: SplitName, device: torch.device
) -> Evaluation:
    """How good a network is on a split, in the precision, memory format and number of threads of its trial."""
    configure_torch(trial)
    model.to(device, DTYPES[trial.precision])
    if trial.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's own types
    run = Run(trial, images, model.eval(), model, model, None, device, SINGLE_PROCESS)
    return evaluate(run.predict, images, split)


def from_checkpoint(trial: Trial, folder: Path, data_dir: Path | None) -> Run:
    """An unfinished trial as its newest whole checkpoint has it, on the CPU; nothing is written.

    Raises:
        InputError: there is none.
    """
    state = next(filter(None, map(checkpoint.load_newest, saved_in(folder))), None)
    if state is None:
        raise InputError(f"{folder}: has neither a network nor a whole checkpoint: run its sweep first")
    cpu = torch.device("cpu")
    run = build(trial, load_data(trial, data_dir, cpu), cpu)
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    return run
