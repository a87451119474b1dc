"""Settings: the only place of keys, types, ranges and defaults. Loads no torch.

A trial is one :class:`Trial`. To add a method, model family or dataset, write its settings class here and
put it into the union of its kind.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

RESULTS_VERSION = 1  # raised when a change of code alters numbers: every trial then gets a new id

Distribution = Literal["kaiming_uniform", "kaiming_normal", "signed_constant"]
RankBy = Literal["scores", "abs_scores"]
ScoreInit = Literal["kaiming_uniform", "fan_in_uniform"]
Augment = Literal["none", "protocol", "crop"]
Precision = Literal["fp32", "bf16", "fp64"]
NOT_IDENTITY: dict[str, Any] = {"identity": False}  # of a setting that cannot change numbers

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, nothing is converted, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    # JSON tells -0.0 from 0.0, and so would trial_id.
    _one_zero = field_validator("*")(lambda value: 0.0 if isinstance(value, float) and value == 0 else value)


class MethodSettings(Settings):
    """What every method has: the settings of SGD."""

    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 0.0


class WeightsSettings(MethodSettings):
    """Weight optimization: SGD on the weights."""

    name: Literal["weights"]
    distribution: Distribution = "kaiming_uniform"


class MaskedSettings(MethodSettings):
    """What the masked methods share."""

    sparsity: Annotated[float, Field(ge=0, lt=1)]
    distribution: Distribution = "signed_constant"
    rank_by: RankBy = "scores"
    score_init: ScoreInit = "kaiming_uniform"
    scale_fan: bool = False  # theta's standard deviation times sqrt(1 / share kept), "scaled kaiming normal"
    max_score_grad_norm: Positive | None = None
    pack_signs: bool = False  # one bit a weight of theta in memory

    @field_validator("pack_signs")
    @classmethod
    def _signs_alone(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("distribution", "signed_constant") != "signed_constant":
            raise ValueError("must be false but with distribution: signed_constant, whose weights differ in sign alone")
        return value


class EdgePopupSettings(MaskedSettings):
    """Edge-popup: SGD on the scores of fixed random weights."""

    name: Literal["edge_popup"]


class IteRandSettings(MaskedSettings):
    """IteRand: edge-popup which draws pruned weights again every K_per steps with probability r."""

    name: Literal["iterand"]
    rerandomize_every: Count = 300
    rerandomize_prob: Annotated[float, Field(ge=0, le=1)] = 0.1


class ModelSettings(Settings):
    """What every network has. Unset, ``norm_affine`` and ``train_biases``: trained in dense methods only."""

    width_mult: Annotated[float, Field(ge=1 / 64)] = 1.0  # the narrowest layers have 64 channels at 1
    norm_affine: bool | None = None
    train_biases: bool | None = None  # else they stay 0


class ConvSettings(ModelSettings):
    """The convolutional networks of 2, 4 and 6 layers with three linear ones."""

    name: Literal["conv2", "conv4", "conv6"]


class ResNetSettings(ModelSettings):
    """Residual networks: the ImageNet form for images above 64 pixels, else the CIFAR form."""

    name: Literal["resnet18", "resnet34", "resnet50", "resnet101"]


class ArraySettings(Settings):
    """What data sets in memory have. ``train_images``: of the training split, classes in proportion; unset: all."""

    train_images: Count | None = None


class DigitsSettings(ArraySettings):
    """The 1,797 handwritten digits (8x8) that scikit-learn carries."""

    name: Literal["digits"]
    augment: Literal["none"] = "none"


class GreyImageSettings(ArraySettings):
    """MNIST and Fashion-MNIST (28x28, one channel), from a data folder."""

    name: Literal["mnist", "fashion_mnist"]
    augment: Augment = "none"


class CifarSettings(ArraySettings):
    """CIFAR-10 and CIFAR-100 (32x32), from a data folder; ``protocol`` is the paper's augmentation."""

    name: Literal["cifar10", "cifar100"]
    augment: Augment = "protocol"


class DecoderSettings(Settings):
    """How DALI decodes on a GPU: the share that its JPEG unit takes, and sizes (pixels, bytes) to reserve beforehand.

    Unset, the sizes are those of ImageNet's largest picture, as NVIDIA's own example has them.
    """

    hw_load: Annotated[float, Field(ge=0, le=1)] = 0.65
    width_hint: Annotated[Natural, Field(json_schema_extra=NOT_IDENTITY)] = 5980
    height_hint: Annotated[Natural, Field(json_schema_extra=NOT_IDENTITY)] = 6430
    device_padding: Annotated[Natural, Field(json_schema_extra=NOT_IDENTITY)] = 211_025_920
    host_padding: Annotated[Natural, Field(json_schema_extra=NOT_IDENTITY)] = 140_544_512


class ImageNetSettings(Settings):
    """Photos in class folders, ``ROOT/train/CLASS/*`` and ``ROOT/val/CLASS/*`` (the test set), as ImageNet has them.

    ``root`` and ``manifest`` lie below the data folder, or are absolute; ``stage`` is absolute, environment variables
    allowed. ``loader_threads`` (unset: the CPUs that each process may use) are DALI's threads, or
    torchvision's workers. ``shuffle_buffer`` images are mixed where they come from tar shards. ``num_images`` is for
    ``synthetic`` data only. ``mmap`` is for local disks: a file that is cut short under it kills the process.
    """

    name: Literal["imagenet"]
    loader: Literal["dali", "torchvision", "synthetic"] = "dali"
    storage: Literal["files", "tar"] = "files"
    root: Annotated[str, Field(json_schema_extra=NOT_IDENTITY)] = "imagenet"
    manifest: Annotated[str | None, Field(json_schema_extra=NOT_IDENTITY)] = None
    stage: Annotated[str | None, Field(json_schema_extra=NOT_IDENTITY)] = None
    image_size: Annotated[int, Field(ge=32)] = 224
    resize: Annotated[int, Field(ge=32)] = 256
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.01
    output: Literal["fp32", "fp16"] = "fp32"
    shuffle_buffer: Count = 4096
    num_images: Count | None = None
    decoder: DecoderSettings = DecoderSettings()
    max_excluded_share: Annotated[Share, Field(json_schema_extra=NOT_IDENTITY)] = 0.001
    loader_threads: Annotated[Natural | None, Field(json_schema_extra=NOT_IDENTITY)] = None
    prefetch: Annotated[Count, Field(json_schema_extra=NOT_IDENTITY)] = 2
    mmap: Annotated[bool, Field(json_schema_extra=NOT_IDENTITY)] = False

    @field_validator("storage", "output", "num_images", "stage", "resize", "loader_threads")
    @classmethod
    def _belongs(cls, value: Any, info: ValidationInfo) -> Any:
        given = info.data
        if info.field_name == "storage" and value == "tar" and given.get("loader") != "dali":
            raise ValueError("tar shards are read by loader: dali only")
        if info.field_name == "output" and value == "fp16" and given.get("loader") == "torchvision":
            raise ValueError("must be fp32 with loader: torchvision")
        if info.field_name == "num_images" and value is not None and given.get("loader") != "synthetic":
            raise ValueError("belongs to loader: synthetic; the images themselves say how many there are")
        if info.field_name == "stage" and value is not None and given.get("storage") != "tar":
            raise ValueError("only storage: tar is copied to a node's own disk")
        if info.field_name == "loader_threads" and value == 0 and given.get("loader") == "dali":
            raise ValueError("must be at least 1: DALI decodes in threads")
        if info.field_name == "resize" and value < given.get("image_size", 0):
            raise ValueError(f"must be at least image_size ({given['image_size']}), which is cropped from it")
        return value


class Schedule(Settings):
    """Learning rate over the epochs: warm-up, cosine, then a constant; counts of epochs."""

    warmup_epochs: Natural = 0
    constant_epochs: Natural = 0
    constant_lr: NonNegative = 0.0


class Resources(Settings):
    """What one trial takes of the machine: CPUs (unset: threads x processes) and GPUs; parts of one are allowed."""

    cpus: Positive | None = None
    gpus: NonNegative = 0.0


class CheckpointSettings(Settings):
    """When a trial saves itself: by time, and never for more than this share of it.

    ``on_other_stream``: what happens where images cannot go on inside an epoch, as with another release of DALI: the
    trial refuses, or goes back to the border of the last ``epoch``.
    """

    every_seconds: NonNegative = 300.0
    max_time_share: Annotated[float, Field(gt=0, le=1)] = 0.01
    on_other_stream: Literal["refuse", "epoch"] = "refuse"


class SchedulerSettings(Settings):
    """Which trials of a sweep are stopped early: with ``fifo`` none.

    ``asha``: at ``grace_epochs``, and each ``reduction_factor`` times as many, a trial goes on only if its ``val/top1``
    is among the best 1 / ``reduction_factor`` of those that have come so far (Li et al. 2020).
    """

    name: Literal["fifo", "asha"] = "fifo"
    grace_epochs: Count = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 4


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Method = Annotated[WeightsSettings | EdgePopupSettings | IteRandSettings, Field(discriminator="name")]
Model = Annotated[ConvSettings | ResNetSettings, Field(discriminator="name")]
_Dataset = DigitsSettings | GreyImageSettings | CifarSettings | ImageNetSettings
DatasetBlock = Annotated[_Dataset, Field(discriminator="name")]
Dataset = Annotated[DatasetBlock, BeforeValidator(_named)]  # `dataset: digits` is `dataset: {name: digits}`
Scheduler = Annotated[SchedulerSettings, BeforeValidator(_named)]  # `scheduler: asha`


class Trial(Settings):
    """One training run: everything that can change its numbers, with one seed.

    ``processes`` is the number of ranks; ``threads`` is of each. ``global_batch_size`` is over all of them, and each
    rank goes through its share in ``accumulation_steps`` parts before an update. ``precision``: "bf16" is autocast over
    float32 parameters, "fp64" is for checks of exactness. ``tf32`` and ``deterministic`` matter on GPUs.
    ``keep_network``: the trained network stays beside its record, a masked one as a ticket.
    """

    dataset: Dataset
    model: Model
    method: Method
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    epochs: Count
    schedule: Schedule = Schedule()
    evaluate_test: bool = True
    keep_network: Annotated[bool, Field(json_schema_extra=NOT_IDENTITY)] = True
    threads: Count = 1
    processes: Count = 1
    accumulation_steps: Count = 1
    global_batch_size: Count
    precision: Precision = "fp32"
    compile: bool = False
    channels_last: bool = False
    tf32: bool = False
    deterministic: bool = True
    resources: Annotated[Resources, Field(json_schema_extra=NOT_IDENTITY)] = Resources()
    sync_batch_norm: bool = False
    checkpoint: Annotated[CheckpointSettings, Field(json_schema_extra=NOT_IDENTITY)] = CheckpointSettings()

    @field_validator("schedule")
    @classmethod
    def _schedule_fits(cls, schedule: Schedule, info: ValidationInfo) -> Schedule:
        if (epochs := info.data.get("epochs")) and schedule.warmup_epochs + schedule.constant_epochs > epochs:
            raise ValueError(f"warmup_epochs + constant_epochs must be at most epochs ({epochs})")
        return schedule

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
    def trial_id(self) -> str:
        """First 12 hex digits of SHA-256 over the settings that can change numbers, defaults removed."""
        text = json.dumps({"results_version": RESULTS_VERSION} | identity(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def identity(settings: Settings) -> dict[str, Any]:
    """The settings that can change numbers, without those at their defaults: adding a key renames nothing."""
    out: dict[str, Any] = {}
    for key, field in type(settings).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("identity") is False:
            continue
        value = _identity_of(getattr(settings, key))
        if field.is_required() or value != _identity_of(field.default):
            out[key] = value
    return out


def _identity_of(value: Any) -> Any:
    return identity(value) if isinstance(value, Settings) else value


def by_name(union: Any) -> dict[str, type[Settings]]:
    """The settings classes of a union, by each name they answer to."""
    return {name: cls for cls in get_args(get_args(union)[0]) for name in get_args(cls.model_fields["name"].annotation)}


METHODS = by_name(Method)
MODELS = by_name(Model)
DATASETS = by_name(DatasetBlock)
