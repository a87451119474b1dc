"""One trial from its first epoch, or its newest checkpoint, to its result."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from suite import data, methods
from suite.config import Trial
from suite.data.interface import SplitName
from suite.methods.update.signs import Signs, storage_of
from suite.records import (
    EpochMetrics,
    Result,
    Stored,
    Writer,
    correctness,
    host_name,
    non_finite_to_none,
    plugin_source,
    provenance,
    source_code,
)
from suite.train import distributed, mask_counts, network_files
from suite.train.checkpoint_manager import CheckpointManager, Progress
from suite.train.evaluate import Evaluation, evaluate
from suite.train.setup import Run, build, configure_torch
from suite.train.step import train_step

_Batch = tuple[Tensor, Tensor]


def train(
    trial: Trial,
    folder: Path,
    *,
    data_dir: Path | None = None,
    on_epoch: Callable[[EpochMetrics], None] = lambda line: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_begin: Callable[[int], None] = lambda step: None,
) -> Result:
    """Train and evaluate one trial, or go on with it, writing its records and checkpoints into ``folder``.

    As one of several processes (see ``suite.train.distributed``), each does its share; rank 0 writes.

    Args:
        trial: what is trained.
        folder: must exist.
        data_dir: where data sets lie; see ``suite.data``.
        on_epoch: is given each line of ``metrics.jsonl`` as it is written.
        should_stop: asked after each step; where any rank says yes, all save and stop at one step.
        on_begin: is given the step from which training goes on, once all is loaded.

    Raises:
        InputError: no such device, files of the data set are missing, or this is not the right number of processes.
        Stopped: as asked; the same call goes on from there.
        PeerLost: another rank ended before its time; the same call goes on from the newest checkpoint.
        RanksDiffer: ranks do not have the same weights any more.
    """
    rank_info = distributed.rank_info(trial.processes)
    device = configure_torch(trial, rank_info)
    provenance.reset_peak_memory(device)  # a worker process may have had other trials before
    images = data.load(
        trial.dataset,
        data_dir=data_dir,
        device=device,
        channels_last=trial.channels_last,
        cpus=trial.resources.cpus and trial.resources.cpus / trial.processes,
        should_stop=should_stop,
    )
    with distributed.process_group(rank_info, device, should_stop) as group:
        return _train(build(trial, images, device, group), folder, on_epoch, should_stop, on_begin)


def _train(
    run: Run,
    folder: Path,
    on_epoch: Callable[[EpochMetrics], None],
    should_stop: Callable[[], bool],
    on_begin: Callable[[int], None],
) -> Result:
    trial, checkpoints = run.trial, CheckpointManager(run, folder, should_stop)
    if trial.keep_network:
        network_files.check(run)
    progress = checkpoints.resume()
    on_begin(progress.num_updates)
    writer = Writer(folder, progress.lines) if run.group.rank == 0 else None
    while len(progress.lines) < trial.epochs and _is_finite(progress.lines):
        _train_epoch(run, progress, checkpoints)
        line = _end_epoch(run, progress, checkpoints)
        if writer:
            writer.epoch(line)
        on_epoch(line)
        checkpoints.after_epoch(progress)
    test = _evaluate(run, "test", progress, checkpoints) if _finished(run, progress) and trial.evaluate_test else None
    metrics = _metrics(progress, test)
    stored: list[Stored] = []
    if _finished(run, progress) and trial.keep_network:
        stored = network_files.save_network(
            run, folder, metrics, lambda run, split: _evaluate(run, split, progress, checkpoints)
        )
    result = _result(run, progress, metrics, test, stored, checkpoints.seconds(progress))
    if writer:
        writer.finish(result)
    return result


def lr_at(trial: Trial, epoch: int) -> float:
    """The learning rate of an epoch (from 0): linear warm-up, cosine to 0, then the constant phase; in each round."""
    schedule, lr = trial.schedule, trial.method.lr
    epochs = trial.method.schedule_epochs(trial.epochs)
    epoch %= epochs
    if epoch < schedule.warmup_epochs:
        return lr * (epoch + 1) / schedule.warmup_epochs
    if epoch >= epochs - schedule.constant_epochs:
        return schedule.constant_lr
    length = epochs - schedule.warmup_epochs - schedule.constant_epochs
    return lr / 2 * (1 + math.cos(math.pi * (epoch - schedule.warmup_epochs) / length))


def _relative_lr(trial: Trial, group: dict[str, Any]) -> float:
    """A group's learning rate beside the trial's: that of what has no mask may be another."""
    plain = group.get("plain_lr") if group.get("sparsity", 0) is None else None
    return 1.0 if plain is None else float(plain) / trial.method.lr


def _train_epoch(run: Run, progress: Progress, checkpoints: CheckpointManager) -> None:
    """What is left of one pass over the training split."""
    epoch, size = len(progress.lines), run.trial.global_batch_size
    num = run.data.num_epoch_images(size)
    for group in run.optimizer.param_groups:
        group["lr"] = lr_at(run.trial, epoch) * _relative_lr(run.trial, group)
    if progress.batch == 0 and (start_epoch := getattr(run.optimizer, "start_epoch", None)):
        start_epoch(epoch, run.trial.epochs)
    run.ddp_model.train()
    clock = time.perf_counter()
    ranks = {"rank": run.group.rank, "world_size": run.group.world_size}
    batches = run.data.train_batches(run.trial.seed, epoch, size, first=progress.batch, **ranks)
    for images, labels in _waiting(batches, progress):
        count = min(size, num - progress.batch * size)
        progress.loss_sum += train_step(run, images, labels, count)
        progress.batch += 1
        progress.num_updates += 1
        now = time.perf_counter()
        progress.train_seconds, clock = progress.train_seconds + now - clock, now
        checkpoints.after_step(progress)


def _waiting(batches: Iterator[_Batch], progress: Progress) -> Iterator[_Batch]:
    """``batches``, with the time taken that each lets us wait."""
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        progress.wait_seconds += time.perf_counter() - start
        yield batch


def _end_epoch(run: Run, progress: Progress, checkpoints: CheckpointManager) -> EpochMetrics:
    """Evaluate, and write the epoch down; ``progress`` then stands before the next one."""
    val = _evaluate(run, "val", progress, checkpoints)
    epoch, num_images = len(progress.lines), run.data.num_epoch_images(run.trial.global_batch_size)
    line: EpochMetrics = {
        "epoch": epoch,
        "step": progress.num_updates,
        "timestamp": time.time(),
        "lr": lr_at(run.trial, epoch),
        "train/loss": float(run.group.all_reduce_sum(progress.loss_sum)) / num_images,
        "val/loss": val.loss,
        "val/top1": val.top1,
        **({"round": rounds[0]} if (rounds := _rounds(run)) else {}),
        "sparsity": _num_removed(run) / max(sum(param.numel() for param in _masked(run)), 1),
        "images_per_second": num_images / progress.train_seconds,
        "wait_share": progress.wait_seconds / progress.train_seconds,
    }
    progress.lines.append(line)
    progress.batch, progress.train_seconds, progress.wait_seconds = 0, 0.0, 0.0
    progress.loss_sum = torch.zeros_like(progress.loss_sum)
    return line


def _rounds(run: Run) -> list[int]:
    """The round of training that each group of the optimizer is in, from 0, where a method has rounds."""
    return [group["round"] for group in run.optimizer.param_groups if "round" in group]


def _evaluate(run: Run, split: SplitName, progress: Progress, checkpoints: CheckpointManager) -> Evaluation:
    run.group.broadcast_buffers(run.model)
    run.model.eval()
    return evaluate(
        run.predict, run.data, split, group=run.group, after_batch=lambda: checkpoints.after_eval_batch(progress)
    )


def _finished(run: Run, progress: Progress) -> bool:
    return len(progress.lines) == run.trial.epochs and _is_finite(progress.lines)


def _is_finite(lines: list[EpochMetrics]) -> bool:
    return not lines or (math.isfinite(lines[-1]["train/loss"]) and math.isfinite(lines[-1]["val/loss"]))


def _num_params(run: Run) -> int:
    return sum(param.numel() for param in run.model.parameters())


def _masked(run: Run) -> list[Tensor]:
    groups = run.optimizer.param_groups if run.optimizer.masked else []
    return [param for group in groups if group["sparsity"] is not None for param in group["params"]]


def _masked_share(run: Run) -> float | None:
    """The share of the network's weights that are under masks; biases and norms are no weights."""
    if not run.optimizer.masked:
        return None
    found = methods.prunable(run.model, embeddings=True)
    weights = sum(param.numel() for param in [*(pair[1] for pair in found), *(each.param for each in found.missed)])
    return sum(param.numel() for param in _masked(run)) / max(weights, 1)


def _num_removed(run: Run) -> int:
    """Weights that the masks remove now, counted."""
    return sum(int((~mask).sum()) for _, mask in mask_counts.masks_of(run))


def state_bytes(run: Run) -> int:
    """Bytes of live training state: parameters, their gradients and the optimizer's tensors, each storage once."""
    params = list(run.model.parameters())
    states = [value for state in run.optimizer.state.values() for value in state.values()]
    tensors = [*params, *(storage_of(state) for state in states if isinstance(state, Tensor | Signs))]
    live = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(live.values()) + sum(param.nbytes for param in params if param.requires_grad)


def _metrics(progress: Progress, test: Evaluation | None) -> dict[str, float | None]:
    last = {key: value for key, value in progress.lines[-1].items() if "/" in key}
    return non_finite_to_none(last | ({"test/top1": test.top1, "test/loss": test.loss} if test else {}))


def _result(
    run: Run,
    progress: Progress,
    metrics: dict[str, float | None],
    test: Evaluation | None,
    stored: list[Stored],
    seconds: float,
) -> Result:
    return Result(
        trial_id=run.trial.trial_id,
        status="done" if _finished(run, progress) else "diverged",
        config=run.trial.model_dump(mode="json"),
        metrics=metrics,
        test_predictions=test.predictions if test else None,
        test_correct=correctness.encode(test.correct) if test else "",
        num_epochs=len(progress.lines),
        num_updates=progress.num_updates,
        params_total=_num_params(run),
        params_kept=_num_params(run) - _num_removed(run),
        num_classes=run.data.num_classes,
        masked_share=_masked_share(run),
        layers=mask_counts.uneven_layers(run),
        kept_in_addition=mask_counts.num_kept_in_addition(run),
        stored=stored,
        state_bytes_per_weight=state_bytes(run) / _num_params(run),
        peak_memory_mb=provenance.peak_memory_mb(run.device),
        seconds=seconds,
        started_at=progress.started_at,
        data_id=run.data.data_id,
        code_id=source_code.code_id_of_trial(run.trial),
        git_commit=source_code.git_commit(),
        versions=provenance.versions(),
        host=host_name(),
        device=provenance.device_name(run.device),
        attempts=progress.attempts,
        plugins=plugin_source.used_by(run.trial),
    )
