"""What a trial trains, drawn from its seed; nothing is inherited from the process."""

import inspect
import math
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from suite import methods, models
from suite.config import InputError, ModelSettings, Trial
from suite.data.interface import Data
from suite.train.distributed import SINGLE_PROCESS, Group, RankInfo

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}  # of parameters and images
_OF_EVERY_MODEL = {"name", *ModelSettings.model_fields}
_MOST_SHAPES = 64  # of batches that a compiled network meets: full and short ones, of three splits


@dataclass
class Run:
    """What one process of a trial trains.

    ``compiled_model`` is the model, compiled where the trial says so; ``ddp_model`` is that with averaged gradients.
    """

    trial: Trial
    data: Data
    model: nn.Module
    compiled_model: nn.Module
    ddp_model: nn.Module
    optimizer: Any
    device: torch.device
    group: Group

    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W), without an exchange between ranks."""
        return self.compute_logits(self.compiled_model, images)

    def compute_logits(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """What a network makes of images, in the trial's precision and memory format; float32 at least."""
        images = self.prepared(images)
        with self._autocast():
            logits = network(images)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def prepared(self, images: Tensor) -> Tensor:
        """Images as the network takes them."""
        if not (self.trial.precision == "bf16" and images.dtype == torch.float16):  # autocast makes bfloat16 of those
            images = images.to(DTYPES[self.trial.precision])
        return images.contiguous(memory_format=torch.channels_last) if self.trial.channels_last else images

    def dummy_images(self, num: int) -> Tensor:
        """As many images that show nothing."""
        size = self.data.image_size
        return torch.zeros((num, self.data.in_channels, size, size), device=self.device)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.trial.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def configure_torch(trial: Trial, rank_info: RankInfo | None = None) -> torch.device:
    """Set threads, seed, determinism and rounding; nothing is inherited from the process. Returns the device.

    Raises:
        InputError: the trial asks for a GPU and torch sees none.
    """
    torch.set_num_threads(trial.threads)
    torch.manual_seed(trial.seed)
    torch.set_float32_matmul_precision("high" if trial.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = trial.tf32
    torch.backends.cudnn.benchmark = not trial.deterministic
    torch.backends.cudnn.deterministic = trial.deterministic
    deterministic = trial.deterministic and trial.resources.gpus > 0
    if deterministic or torch.are_deterministic_algorithms_enabled():  # the call imports torch's compiler: seconds
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    if not trial.compile:
        _keep_compiler_out()
    else:
        torch._dynamo.reset()  # what earlier trials of this process compiled
        torch._dynamo.config.recompile_limit = _MOST_SHAPES
    if trial.resources.gpus == 0:
        return torch.device("cpu")
    if trial.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    if not torch.cuda.is_available():
        raise InputError(f"resources.gpus: {trial.resources.gpus}: torch {torch.__version__} sees no GPU here; set 0")
    return torch.device("cuda", _device_number(rank_info or RankInfo()))


def _keep_compiler_out() -> None:
    """Let optimizers run as they are: torch would import its compiler, for more than a second, to leave them alone."""
    if "torch._dynamo" not in sys.modules:
        for method in (Optimizer.add_param_group, Optimizer.zero_grad, Optimizer.state_dict, Optimizer.load_state_dict):
            plain = inspect.unwrap(method)
            vars(plain).setdefault("__dynamo_disable", plain)  # where torch keeps the form that is not compiled


def _device_number(rank_info: RankInfo) -> int:
    num = torch.cuda.device_count()
    if num == 1 and "RANK" not in os.environ:
        return 0  # a task of a SLURM step may see no GPU but its own
    if rank_info.local_rank >= num:
        raise InputError(
            f"resources.gpus: {rank_info.local_rank + 1} processes on this machine need one each, it has {num}"
        )
    return rank_info.local_rank


def build(trial: Trial, images: Data, device: torch.device, group: Group = SINGLE_PROCESS) -> Run:
    """The model and optimizer of a trial, drawn from its seed: equal on all ranks."""
    cls = methods.get(trial.method.name)
    affine = trial.model.norm_affine
    model = _network(trial, images, norm_affine=methods.trains_weights(cls) if affine is None else affine)
    if trial.sync_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    model.to(device, DTYPES[trial.precision])
    if trial.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's own types
    trained = _trained(trial, model)
    for name, param in model.named_parameters():
        param.requires_grad_(name in trained)  # what stays as it is needs no gradient
    groups = _groups(trial, model, trained) if cls.masked else _all_weights(model)
    optimizer = cls(groups, seed=trial.seed, **_settings(trial, images, cls))
    if prepare := getattr(optimizer, "prepare", None):
        prepare()  # before the clock of the first epoch runs
    run = Run(trial, images, model, model, model, optimizer, device, group)
    _check_smallest_part(run)
    if trial.compile:  # each shape for itself: what is compiled does not depend on which came first
        run.compiled_model = run.ddp_model = torch.compile(model, dynamic=False)  # type: ignore[assignment]
    if group.world_size > 1:
        size = min(trial.global_batch_size, images.num_epoch_images(trial.global_batch_size))
        part = run.dummy_images(max(1, -(-size // group.world_size) // trial.accumulation_steps))
        run.ddp_model = group.wrap_ddp(run.compiled_model, lambda network: run.compute_logits(network, part))
    return run


def _network(trial: Trial, images: Data, norm_affine: bool) -> nn.Module:
    settings = trial.model
    try:
        return models.build(
            settings.name,
            num_classes=images.num_classes,
            image_size=images.image_size,
            in_channels=images.in_channels,
            width_mult=settings.width_mult,
            norm_affine=norm_affine,
            **settings.model_dump(exclude=_OF_EVERY_MODEL),  # its own
        )
    except ValueError as error:  # it does not fit the images: no trial of it can run
        raise InputError(f"model {settings.name}, dataset {trial.dataset.name}: {error}") from None


def _settings(trial: Trial, images: Data, cls: type[Optimizer]) -> dict[str, Any]:
    """Those of the optimizer: epochs become updates, and it learns how many there are where it asks."""
    settings, total = trial.method.model_dump(exclude={"name"}), num_steps(trial, images)
    per_epoch = total // trial.epochs
    if schedule := settings.get("sparsity_schedule"):
        begin, end = schedule.pop("begin_epoch"), schedule.pop("end_epoch") or trial.epochs
        settings["sparsity_schedule"] = schedule | {"begin_update": per_epoch * begin, "end_update": per_epoch * end}
    known = {"num_steps": total, "steps_per_epoch": per_epoch}
    return settings | {key: value for key, value in known.items() if key in inspect.signature(cls).parameters}


def _trained(trial: Trial, model: nn.Module) -> set[str]:
    """Names of the parameters that a trial trains: all, but biases and norms where it does not want them."""
    trains_all, settings = methods.trains_weights(methods.get(trial.method.name)), trial.model
    fixed = set()
    if not (trains_all if settings.train_biases is None else settings.train_biases):
        fixed = {f"{name.removesuffix('weight')}bias" for name, _ in methods.prunable(model)}
    return {name for name, _ in model.named_parameters()} - fixed


def _groups(trial: Trial, model: nn.Module, trained: set[str]) -> list[dict[str, Any]]:
    """A group of the weights, which get masks, and one or two of what else is trained, by plain SGD.

    Without ``plain_lr`` that has the scores' learning rate and weight decay.
    """
    if getattr(trial.method, "plain_lr", None) is not None:  # a plugin may have none
        return methods.trainable(model)
    weights = methods.prunable(model)
    others = [(name, p) for name, p in model.named_parameters() if name in trained - {name for name, _ in weights}]
    plain = {"params": others, "sparsity": None, "distribution": None}
    return [{"params": weights}, *([plain] if others else [])]


def _all_weights(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """All parameters, weight matrices with what is known of their fan-in."""
    known = {weight[0]: weight for weight in methods.prunable(model, embeddings=True)}
    return [known.get(name, (name, param)) for name, param in model.named_parameters()]


def _check_smallest_part(run: Run) -> None:
    """Raise InputError where a last batch is dealt out so small that batch norm has one value per channel."""
    trial, num = run.trial, run.data.num_epoch_images(run.trial.global_batch_size)
    if num == 0:
        there = run.data.num_images("train")
        raise InputError(f"global_batch_size: {trial.global_batch_size}: must be at most the {there} training images")
    last = num % trial.global_batch_size or min(num, trial.global_batch_size)
    parts = num_micro_batches(trial, last)
    if 1 not in {size for share in _dealt(last, trial.processes) for size in _dealt(share, parts)}:
        return
    before = [buffer.clone() for buffer in run.model.buffers()]
    try:
        with torch.no_grad():
            run.predict(run.dummy_images(1))
    except ValueError as error:
        raise InputError(
            f"global_batch_size: {trial.global_batch_size}: the last of {num} images come to a process one alone, "
            f"which {trial.model.name} cannot normalize ({error}): choose another size"
        ) from None
    for buffer, value in zip(run.model.buffers(), before, strict=True):
        buffer.copy_(value)


def num_steps(trial: Trial, data: Data) -> int:
    """The updates of a whole trial."""
    return trial.epochs * math.ceil(data.num_epoch_images(trial.global_batch_size) / trial.global_batch_size)


def num_micro_batches(trial: Trial, count: int) -> int:
    """In how many parts each rank goes through its share of a batch of ``count`` images: the same on all ranks."""
    share = -(-count // trial.processes)
    return -(-share // (trial.global_batch_size // (trial.processes * trial.accumulation_steps)))


def _dealt(num: int, among: int) -> set[int]:
    """Sizes of nearly equal shares."""
    return {num // among, -(-num // among)}
