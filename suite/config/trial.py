"""Settings of one training run: the only place of keys, types, ranges and defaults. Loads no torch.

A trial is one :class:`Trial`. Its blocks ``dataset``, ``model`` and ``method`` may be any that ``registry`` has.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from suite.config.dataset_settings import OwnImageSettings
from suite.config.errors import InputError
from suite.config.plugins import Entry
from suite.config.registry import REGISTRY, Dataset, Method, Model
from suite.config.settings import NOT_IDENTITY, Count, Natural, NonNegative, Positive, Settings, identity, named

RESULTS_VERSION = 1  # raised when a change of code alters numbers: every trial then gets a new id

Precision = Literal["fp32", "bf16", "fp64"]


class Schedule(Settings):
    """Learning rate over the epochs: warm-up, cosine, then a constant; counts of epochs."""

    warmup_epochs: Natural = 0
    """Epochs in which the learning rate grows in equal steps to ``method.lr``."""

    constant_epochs: Natural = 0
    """Last epochs, which have the learning rate ``constant_lr``; between both phases it falls to 0 as a cosine."""

    constant_lr: NonNegative = 0.0
    """Learning rate of the last ``constant_epochs``."""


class Resources(Settings):
    """What one trial takes of the machine."""

    cpus: Positive | None = None
    """CPUs, parts of one are allowed; unset: ``threads`` times ``processes``."""

    gpus: NonNegative = 0.0
    """GPUs: 0, one for each process, or for one process a part of one, which trials then share."""


class CheckpointSettings(Settings):
    """When a trial saves itself."""

    every_seconds: NonNegative = 300.0
    """Seconds between checkpoints."""

    max_time_share: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Largest share of the time of a trial that checkpoints may take; they become rarer if they take more."""

    on_other_stream: Literal["refuse", "epoch"] = "refuse"
    """What happens if images cannot resume inside an epoch, as with another release of DALI. ``refuse``: the trial
    refuses to resume; ``epoch``: it goes back to the end of the last epoch."""


class SchedulerSettings(Settings):
    """Which trials of a sweep are stopped early: with ``fifo`` none.

    ``asha``: at ``grace_epochs``, and each ``reduction_factor`` times as many, a trial goes on only if its ``val/top1``
    is among the best 1 / ``reduction_factor`` of those that have come so far (Li et al. 2020).
    """

    name: Literal["fifo", "asha"] = "fifo"
    """``fifo`` stops no trial early; ``asha`` stops those that are behind, in searches only."""

    grace_epochs: Count = 1
    """Epochs after which ``asha`` compares trials for the first time."""

    reduction_factor: Annotated[int, Field(ge=2)] = 4
    """``asha`` keeps the best 1 / ``reduction_factor`` of trials at each comparison."""


Scheduler = Annotated[SchedulerSettings, BeforeValidator(named)]  # `scheduler: asha`


class Trial(Settings):
    """One training run: everything that can change its numbers, with one seed."""

    model_config = ConfigDict(defer_build=True)  # plugins are looked for when the first trial is made

    dataset: Dataset
    """The data set: a block, or its name alone."""

    model: Model
    """The network."""

    method: Method
    """How the network is trained."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Seed of all random numbers: initial weights, scores, redraws, order and augmentation of images."""

    epochs: Count
    """Passes over the training images."""

    schedule: Schedule = Schedule()
    """Learning rate over the epochs."""

    evaluate_test: bool = True
    """Evaluate the test split once, after the last epoch."""

    keep_network: Annotated[bool, Field(json_schema_extra=NOT_IDENTITY)] = True
    """Keep the trained network beside its record, a masked one as a ticket."""

    threads: Count = 1
    """CPU threads of each process."""

    processes: Count = 1
    """Number of processes (ranks) that train together."""

    accumulation_steps: Count = 1
    """Parts in which each process goes through its share of a batch before an update."""

    global_batch_size: Count
    """Images in one update, over all processes: a multiple of ``processes`` times ``accumulation_steps``."""

    precision: Precision = "fp32"
    """``fp32``; ``bf16``: autocast over float32 parameters; ``fp64``: for checks of exactness."""

    compile: bool = False
    """Compile the network with ``torch.compile``."""

    channels_last: bool = False
    """Keep images and weights in memory with channels last."""

    tf32: bool = False
    """Allow TF32 in matrix products and convolutions on GPUs."""

    deterministic: bool = True
    """Use deterministic algorithms on GPUs."""

    resources: Annotated[Resources, Field(json_schema_extra=NOT_IDENTITY)] = Resources()
    """What the trial takes of the machine."""

    sync_batch_norm: bool = False
    """Share the statistics of batch normalization between processes; needs GPUs."""

    checkpoint: Annotated[CheckpointSettings, Field(json_schema_extra=NOT_IDENTITY)] = CheckpointSettings()
    """When the trial saves itself."""

    @field_validator("epochs")
    @classmethod
    def _sparsity_schedule_fits(cls, epochs: int, info: ValidationInfo) -> int:
        if schedule := getattr(info.data.get("method"), "sparsity_schedule", None):
            for key, least in (("begin_epoch", schedule.begin_epoch + 1), ("end_epoch", schedule.end_epoch or 0)):
                if epochs < least:
                    raise ValueError(f"must be at least {least}, by method.sparsity_schedule.{key}")
        return epochs

    @field_validator("schedule")
    @classmethod
    def _schedule_fits(cls, schedule: Schedule, info: ValidationInfo) -> Schedule:
        epochs, method = info.data.get("epochs"), info.data.get("method")
        if epochs is None or method is None:
            return schedule
        most = method.schedule_epochs(epochs)
        if schedule.warmup_epochs + schedule.constant_epochs > most:
            what = "epochs" if most == epochs else "the epochs of a round"
            raise ValueError(f"warmup_epochs + constant_epochs must be at most {what} ({most})")
        return schedule

    @field_validator("epochs")
    @classmethod
    def _epochs_suit_method(cls, epochs: int, info: ValidationInfo) -> int:
        if (method := info.data.get("method")) is not None:
            method.schedule_epochs(epochs)
        return epochs

    @field_validator("global_batch_size")
    @classmethod
    def _batch_divides(cls, size: int, info: ValidationInfo) -> int:
        processes, parts = info.data.get("processes", 1), info.data.get("accumulation_steps", 1)
        share = processes * parts
        if size % share:
            near = " or ".join(str(size // share * share + more) for more in (0, share) if size // share * share + more)
            raise ValueError(f"must be a multiple of {processes} processes x {parts} accumulation_steps, as {near}")
        return size

    @field_validator("resources")
    @classmethod
    def _one_device_per_process(cls, resources: Resources, info: ValidationInfo) -> Resources:
        processes = info.data.get("processes", 1)
        if processes > 1 and resources.gpus not in (0, processes):
            raise ValueError(f"gpus must be 0 or one for each of the {processes} processes")
        if processes == 1 and resources.gpus > 1:
            raise ValueError("gpus must be at most 1 for one process; processes says how many there are")
        return resources

    @field_validator("sync_batch_norm")
    @classmethod
    def _synchronized_on_gpus(cls, sync: bool, info: ValidationInfo) -> bool:
        if sync and (resources := info.data.get("resources")) and not resources.gpus:
            raise ValueError("must be false without GPUs (resources.gpus): torch has SyncBatchNorm only there")
        return sync

    @property
    def num_cpus(self) -> float:
        """CPUs that the trial takes of the machine."""
        return self.resources.cpus or float(self.threads * self.processes)

    @property
    def plugins(self) -> list[Entry]:
        """The plugins that the trial uses."""
        blocks = (REGISTRY.find("dataset", self.dataset.name), REGISTRY.find("model", self.model.name))
        return [entry for entry in (*blocks, REGISTRY.find("method", self.method.name)) if entry.is_plugin]

    @property
    def trial_id(self) -> str:
        """First 12 hex digits of SHA-256 over plugins and the settings that can change numbers, defaults removed.

        Raises:
            InputError: the content of the user's own images is not filled in, without which two files would be one.
        """
        if isinstance(self.dataset, OwnImageSettings) and self.dataset.content is None:
            raise InputError(f"dataset.content: is unset: must be that of {self.dataset.place}")
        known = {"results_version": RESULTS_VERSION} | identity(self)
        if found := self.plugins:
            known["plugins"] = {entry.kind: entry.identity for entry in found}
        text = json.dumps(known, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
