"""What ranks do in the tests of exactness, and one process to compare: they run the same functions.

``run_jobs``, ``run_two_rank_jobs`` and ``run_four_rank_jobs`` are what ``ranks.on_ranks`` calls.
"""

import gc
import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from support.ranks import CPU, METHODS, fresh_rendezvous, join_group, settings_of
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from suite import data, train
from suite.config import Trial
from suite.data.arrays import ArrayData
from suite.data.sources import RawDataset
from suite.stopping import Stopped
from suite.train import checkpoint_manager, distributed, loop, setup
from suite.train.distributed import SINGLE_PROCESS, Group, RankInfo
from suite.train.step import train_step

MASKED = [method for method in METHODS if method != "weights"]
WIDER = {"name": "conv2", "width_mult": 0.5}  # 105 thousand weights
RESNET = {"name": "resnet18", "width_mult": 0.0625}
EXACT = {"precision": "fp64"}
ONE_LEFT = 314  # of 1257 digits: four batches, and a last one of one image


# The first steps of a trial -----------------------------------------------------------------------------------------


def batches(run: setup.Run) -> Iterator[tuple[Tensor, Tensor, int]]:
    """The shares of this rank and the size of the whole batch, epoch after epoch."""
    size, num, group = run.trial.global_batch_size, len(run.data.train), run.group
    for epoch in itertools.count():
        shares = run.data.train_batches(run.trial.seed, epoch, size, rank=group.rank, world_size=group.world_size)
        for number, (images, labels) in enumerate(shares):
            yield images, labels, min(size, num - number * size)


def build_run(settings: dict[str, Any], group: Group, arrays: ArrayData | None = None) -> setup.Run:
    trial = Trial.model_validate(settings)
    device = setup.configure_torch(trial, RankInfo(group.rank, group.rank, group.world_size))
    run = setup.build(trial, arrays or data.load(trial.dataset, data_dir=None, device=device), device, group)
    run.ddp_model.train()
    return run


def masks_of(run: setup.Run) -> Tensor:
    """All mask bits, in the order of the weights."""
    params = [param for group in run.optimizer.param_groups for param in group["params"]]
    masked = [run.optimizer.mask(param).contiguous().flatten() for param in params] if run.optimizer.masked else []
    return torch.cat([torch.zeros(0, dtype=torch.bool), *masked])


def thetas_of(run: setup.Run) -> bytes:
    """The weights under the masks: a redraw changes them."""
    states = run.optimizer.state.values() if run.optimizer.masked else ()
    return b"".join(state["theta"].contiguous().numpy().tobytes() for state in states)


def record(settings: dict[str, Any], num_steps: int, group: Group = SINGLE_PROCESS) -> dict[str, Any]:
    """After each step a hash of the masks, one of the weights under them, and the mean loss; at the end what there is.

    "masks at the end" are the mask bits, "params" the effective parameters.
    """
    run = build_run(settings, group)
    found: dict[str, Any] = {"masks": [], "thetas": [], "losses": []}
    for images, labels, count in itertools.islice(batches(run), num_steps):
        loss = train_step(run, images, labels, count)
        found["losses"].append(float(group.all_reduce_sum(loss)) / count)
        found["masks"].append(hashlib.sha256(masks_of(run).numpy().tobytes()).hexdigest())
        found["thetas"].append(hashlib.sha256(thetas_of(run)).hexdigest())
    found["masks at the end"] = masks_of(run)
    found["params"] = {name: param.detach().clone() for name, param in run.model.named_parameters()}
    return found


def run_jobs(jobs: dict[str, tuple[dict[str, Any], int]]) -> dict[str, Any]:
    """``record`` of each job as one of several ranks."""
    found: dict[str, Any] = {}
    for name, (settings, num_steps) in jobs.items():
        with join_group() as group:
            found[name] = record(settings, num_steps, group)
    return found


def run_two_rank_jobs(jobs: dict[str, tuple[dict[str, Any], int]], folder: str) -> dict[str, Any]:
    """``run_jobs``, the statistics of a norm, and one trial from end to end."""
    found = run_jobs(jobs)
    with join_group() as group:
        found["norms"] = norms(group)
    with fresh_rendezvous():
        train.train(Trial.model_validate(FULL_TRIAL), Path(folder))
    return found


def norms(group: Group) -> list[dict[str, Tensor]]:
    """Two steps of a network with batch norm: the loss of this rank, and its first convolution and norm.

    ``weight`` is what the batch met; the statistics are those after the step, ``shared`` after ``broadcast_buffers``.
    """
    run = build_run(settings_of("weights", model=RESNET, processes=group.world_size, **EXACT), group)
    convolution, norm = run.model.get_submodule("stem.0.0"), run.model.get_submodule("stem.0.1")
    found = []
    for images, labels, count in itertools.islice(batches(run), 2):
        step = {"weight": convolution.weight.detach().clone()}
        step["loss"] = train_step(run, images, labels, count)
        found.append(step | {name: buffer.clone() for name, buffer in norm.named_buffers()})
    group.broadcast_buffers(run.model)
    found.append({name: buffer.clone() for name, buffer in norm.named_buffers()})
    return found


FP64_JOBS = {f"fp64 {method}": (settings_of(method, processes=2, **EXACT), 50) for method in METHODS}
JOBS: dict[str, tuple[dict[str, Any], int]] = {
    **{f"fp32 {method}": (settings_of(method, processes=2, model=WIDER), 100) for method in MASKED},
    **{
        f"{parts} parts": (settings_of("iterand", processes=2, accumulation_steps=parts, **EXACT), 25)
        for parts in (2, 4)
    },
    **{
        f"one left {method}": (settings_of(method, processes=2, global_batch_size=ONE_LEFT, **EXACT), 15)
        for method in METHODS
    },
    "one left in parts": (
        settings_of("iterand", processes=2, global_batch_size=628, accumulation_steps=2, **EXACT),
        12,
    ),
}


FULL_TRIAL = settings_of("iterand", model=RESNET, processes=2, global_batch_size=316)


# Batch norm ---------------------------------------------------------------------------------------------------------


def tiny(num_train: int) -> ArrayData:
    """Images of 16 pixels, which resnets shrink to 2: one image has a variance there."""
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (num_train + 2, 1, 16, 16), dtype=np.uint8)
    index = np.arange(num_train + 2)
    splits = {"train": index[:num_train], "val": index[-2:-1], "test": index[-1:]}
    source = RawDataset(images, numbers.integers(0, 10, num_train + 2), splits, num_classes=10)
    return ArrayData.build(source, augment="none", device=CPU)


SMALL = settings_of("weights", model=RESNET, processes=4, global_batch_size=16, **EXACT)
FEWER = {"3 left": 2 * 16 + 3, "1 left": 16 + 1}  # training images: some ranks have none in the last batch


def shares_left_empty(num_train: int) -> dict[str, Tensor]:
    """An epoch of a network with batch norm as one of 4 ranks: what it has then."""
    with join_group() as group:
        return an_epoch_of(num_train, group)


def an_epoch_of(num_train: int, group: Group) -> dict[str, Tensor]:
    run = build_run(SMALL, group, tiny(num_train))
    for images, labels, count in itertools.islice(batches(run), -(-num_train // 16)):
        train_step(run, images, labels, count)
    group.broadcast_buffers(run.model)
    return {name: value.clone() for name, value in run.model.state_dict().items()}


# Stopped and gone on with ---------------------------------------------------------------------------------------------

ALWAYS = {"every_seconds": 0.0, "max_time_share": 1.0}  # a checkpoint at every step, and at the end
FOUR_RANK_TRIALS: dict[str, dict[str, Any]] = {
    "weights, resnet18": settings_of("weights", model=RESNET, processes=4, global_batch_size=316),
    "weights, conv2": settings_of("weights", processes=4, global_batch_size=316),
    "iterand, conv2": settings_of(
        "iterand", processes=4, global_batch_size=312, accumulation_steps=2, precision="bf16", channels_last=True
    ),
}
STOPS = ("step 3", "evaluation", "step 1")  # of each attempt: in the first epoch, after it, and in the second
DONE = "step 1000000"


def train_until_stop(settings: dict[str, Any], folder: Path, *, stop_at: str = DONE) -> int | str:
    """Train until one rank asks for a stop: steps done, or how it was stopped."""
    trial = Trial.model_validate({**settings, "checkpoint": ALWAYS})
    reached = {"step": 0, "evaluation": 0}

    def count(what: str, function: Callable[..., Any]) -> Any:
        def counted(*args: Any, **options: Any) -> Any:
            reached[what] += 1
            return function(*args, **options)

        return mock.patch.object(loop, function.__name__, counted)

    def should_stop() -> bool:
        what, _, number = stop_at.partition(" ")
        return distributed.rank_info_from_env().rank == trial.processes - 1 and reached[what] == int(number or 1)

    with count("step", loop.train_step), count("evaluation", loop.evaluate):
        try:
            return train.train(trial, folder, should_stop=should_stop).num_updates
        except Stopped as stopped:
            return str(stopped)


def networks_at_the_end(folder: Path) -> list[int]:
    """How many networks with an exchange of gradients there still are, each time the group of a trial is ended."""
    found, end = [], torch.distributed.destroy_process_group

    def watch(*args: Any) -> None:
        found.append(sum(isinstance(thing, DistributedDataParallel) for thing in gc.get_objects()))
        end(*args)

    folder.mkdir(exist_ok=True)
    with fresh_rendezvous(), mock.patch.object(torch.distributed, "destroy_process_group", watch):
        train.train(Trial.model_validate(FOUR_RANK_TRIALS["weights, conv2"]), folder)
    return found


def run_four_rank_jobs(folder: str, jobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each trial without a stop, and with several: how each attempt ended. And networks after short last batches."""
    checkpoint_manager._MOST_SECONDS = 0  # ranks ask each other at every step
    ended: dict[str, Any] = {name: shares_left_empty(num_train) for name, num_train in FEWER.items()}
    ended["networks at the end"] = networks_at_the_end(Path(folder, "ended"))
    for name, settings in jobs.items():
        ended[name] = []
        for kind, stops in (("quiet", (DONE,)), ("stopped", (*STOPS, DONE))):
            path = Path(folder, name, kind)
            path.mkdir(parents=True, exist_ok=True)
            for stop_at in stops:
                with fresh_rendezvous():
                    ended[name].append(train_until_stop(settings, path, stop_at=stop_at))
    return ended
