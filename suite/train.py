"""One trial: data, model, method, loop. The records it writes are the truth."""

import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite import data, methods, models, provenance
from suite.config import InputError, Trial
from suite.data.arrays import ArrayData
from suite.evaluate import Evaluation, evaluate
from suite.records import Result, Writer

Line = dict[str, float | int]


@dataclass
class Run:
    """What a trial trains: one of these per attempt."""

    trial: Trial
    data: ArrayData
    model: nn.Module
    optimizer: Any
    device: torch.device
    num_updates: int = 0


def train(
    trial: Trial, folder: Path, *, data_dir: Path | None = None, on_epoch: Callable[[Line], None] = lambda line: None
) -> Result:
    """Train and evaluate one trial, writing its records into ``folder``.

    Args:
        data_dir: where data sets lie; see ``suite.data``.
        on_epoch: is given each line of ``metrics.jsonl`` as it is written.

    Raises:
        InputError: no such device, or files of the data set are missing.
    """
    started_at, clock = time.time(), time.perf_counter()
    device = settle(trial)
    provenance.reset_peak_memory(device)  # a worker process may have had other trials before
    run = build(trial, data.load(trial.dataset, data_dir=data_dir, device=device), device)
    writer = Writer(folder)
    lines = []
    for epoch in range(trial.epochs):
        lines.append(_epoch(run, epoch))
        writer.epoch(lines[-1])
        on_epoch(lines[-1])
        if not _is_finite(lines[-1]):
            break
    test = evaluate(run.model, run.data, "test") if _finished(run, lines) and trial.evaluate_test else None
    result = _result(run, lines, test, started_at, time.perf_counter() - clock)
    writer.finish(result)
    return result


def settle(trial: Trial) -> torch.device:
    """Set threads, seed and determinism; nothing is inherited from the process. Returns the device.

    Raises:
        InputError: the trial asks for a GPU and torch sees none.
    """
    torch.set_num_threads(trial.threads)
    torch.manual_seed(trial.seed)
    torch.set_float32_matmul_precision("highest")  # no TF32
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if trial.resources.gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError(f"resources.gpus: {trial.resources.gpus}: torch {torch.__version__} sees no GPU here; set 0")
    return torch.device("cuda")


def build(trial: Trial, arrays: ArrayData, device: torch.device) -> Run:
    """The model and optimizer of a trial, drawn from its seed."""
    cls = methods.get(trial.method.name)
    affine = trial.model.norm_affine
    model = models.build(
        trial.model.name,
        num_classes=arrays.num_classes,
        image_size=arrays.image_size,
        in_channels=arrays.in_channels,
        width_mult=trial.model.width_mult,
        norm_affine=not cls.masked if affine is None else affine,
    ).to(device)
    params = methods.prunable(model) if cls.masked else list(model.named_parameters())
    trained = {name for name, _ in params}
    for name, param in model.named_parameters():
        param.requires_grad_(name in trained)  # what the method does not touch needs no gradient
    optimizer = cls(params, seed=trial.seed, **trial.method.model_dump(exclude={"name"}))
    return Run(trial, arrays, model, optimizer, device)


def lr_at(trial: Trial, epoch: int) -> float:
    """The learning rate of an epoch (from 0): linear warm-up, cosine to 0, then the constant phase."""
    schedule, lr = trial.schedule, trial.method.lr
    if epoch < schedule.warmup_epochs:
        return lr * (epoch + 1) / schedule.warmup_epochs
    if epoch >= trial.epochs - schedule.constant_epochs:
        return schedule.constant_lr
    length = trial.epochs - schedule.warmup_epochs - schedule.constant_epochs
    return lr / 2 * (1 + math.cos(math.pi * (epoch - schedule.warmup_epochs) / length))


def _epoch(run: Run, epoch: int) -> Line:
    lr = lr_at(run.trial, epoch)
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    clock = time.perf_counter()
    loss = _train_epoch(run, epoch)
    seconds = time.perf_counter() - clock
    val = evaluate(run.model, run.data, "val")
    return {
        "epoch": epoch,
        "step": run.num_updates,
        "timestamp": time.time(),
        "lr": lr,
        "train/loss": loss,
        "val/loss": val.loss,
        "val/top1": val.top1,
        "sparsity": _num_removed(run) / max(sum(param.numel() for param in _masked(run)), 1),
        "images_per_second": len(run.data.train) / seconds,
    }


def _train_epoch(run: Run, epoch: int) -> float:
    """One pass over the training split; returns the mean loss over its images."""
    run.model.train()
    total = torch.zeros((), dtype=torch.float64, device=run.device)
    for images, labels in run.data.train_batches(run.trial.seed, epoch, run.trial.global_batch_size):
        run.optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(run.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        total += loss.detach() * len(labels)
        run.num_updates += 1
    return float(total) / len(run.data.train)


def _finished(run: Run, lines: list[Line]) -> bool:
    return len(lines) == run.trial.epochs and _is_finite(lines[-1])


def _is_finite(line: Line) -> bool:
    return math.isfinite(line["train/loss"]) and math.isfinite(line["val/loss"])


def _num_params(run: Run) -> int:
    return sum(param.numel() for param in run.model.parameters())


def _masked(run: Run) -> list[Tensor]:
    groups = run.optimizer.param_groups if run.optimizer.masked else []
    return [param for group in groups if group["sparsity"] is not None for param in group["params"]]


def _num_removed(run: Run) -> int:
    """Weights that the masks remove now, counted."""
    return sum(int((~run.optimizer.mask(param)).sum()) for param in _masked(run))


def _state_bytes(run: Run) -> int:
    """Bytes of live training state: parameters, gradients and the optimizer's tensors, each storage once."""
    tensors = [t for param in run.model.parameters() for t in (param, param.grad) if t is not None]
    tensors += [t for state in run.optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def _result(run: Run, lines: list[Line], test: Evaluation | None, started_at: float, seconds: float) -> Result:
    last = {key: value if math.isfinite(value) else None for key, value in lines[-1].items() if "/" in key}
    tested = {"test/top1": test.top1, "test/loss": test.loss} if test else {}
    return Result(
        trial_id=run.trial.trial_id,
        status="done" if _finished(run, lines) else "diverged",
        config=run.trial.model_dump(mode="json"),
        metrics={**last, **tested},
        test_predictions=test.predictions if test else None,
        num_epochs=len(lines),
        num_updates=run.num_updates,
        params_total=_num_params(run),
        params_kept=_num_params(run) - _num_removed(run),
        state_bytes_per_weight=_state_bytes(run) / _num_params(run),
        peak_memory_mb=provenance.peak_memory_mb(run.device),
        seconds=seconds,
        started_at=started_at,
        data_id=run.data.data_id,
        code_id=provenance.code_id(),
        git_commit=provenance.git_commit(),
        versions=provenance.versions(),
        host=socket.gethostname(),
        device=provenance.device_name(run.device),
    )
