"""Every setting of a trial: whether it can change numbers, and so belongs to the trial's id.

Whoever adds a setting adds it here. What is in the id needs no reason; what is not says why a result counts
whatever the setting is. ``tests/train/test_same_numbers.py`` trains with those of ``CANNOT``.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from suite.config import NamedSettings, Settings, Trial

DIGITS = {"dataset": {"name": "digits"}}
MNIST = {"dataset": {"name": "mnist"}}
CIFAR = {"dataset": {"name": "cifar10"}}
WEIGHTS = {"method": {"name": "weights", "lr": 0.1}}
ITERAND = {"method": {"name": "iterand", "lr": 0.1, "sparsity": 0.5}}
RAMP = {"method": {**ITERAND["method"], "sparsity_schedule": {"shape": "cubic"}}}
RECYCLE = {"method": {"name": "recycle", "lr": 0.1, "sparsity": 0.5}}
BIPROP = {"method": {"name": "biprop", "lr": 0.1, "sparsity": 0.5}}
FROZEN = {"method": {"name": "frozen", "lr": 0.1, "sparsity": 0.5}}
RANDOM_MASK = {"method": {"name": "random_mask", "lr": 0.1, "sparsity": 0.5}}
MAGNITUDE = {"method": {"name": "magnitude", "lr": 0.1, "sparsity": 0.5, "end_epoch": 1}}
IMP = {"method": {"name": "imp", "lr": 0.1, "sparsity": 0.5, "rounds": 2}, "epochs": 12}
ARRAYS = {"dataset": {"name": "arrays", "content": "0123456789abcdef"}}
FOLDER = {"dataset": {"name": "folder", "content": "0123456789abcdef"}}
PHOTOS = {"dataset": {"name": "imagenet"}}
SHARDS = {"dataset": {"name": "imagenet", "storage": "tar"}}
NOISE = {"dataset": {"name": "imagenet", "loader": "synthetic"}}
ON_GPU = {"resources": {"gpus": 1.0}}
RESNET = {"model": {"name": "resnet18"}}
VIT = {"model": {"name": "vit"}}
TIMM = {"model": {"name": "timm", "architecture": "convnext_atto"}}


class Change(NamedTuple):
    """Another value of a setting, of a trial that is otherwise as usual but for ``base``."""

    path: str
    value: Any
    base: Mapping[str, Any] = MappingProxyType({})


CHANGES: dict[str, Change] = {  # numbers, or what a record says of them
    "MethodSettings.lr": Change("method.lr", 0.2),
    "MethodSettings.momentum": Change("method.momentum", 0.5),
    "MethodSettings.weight_decay": Change("method.weight_decay", 0.1),
    "UpdateSettings.update": Change("method.update", "adam"),
    "UpdateSettings.beta1": Change("method.beta1", 0.5),
    "UpdateSettings.beta2": Change("method.beta2", 0.5),
    "UpdateSettings.eps": Change("method.eps", 1e-6),
    "WeightsSettings.name": Change("method", ITERAND["method"]),
    "WeightsSettings.distribution": Change("method.distribution", "kaiming_normal"),
    "MaskedSettings.sparsity": Change("method.sparsity", 0.25, ITERAND),
    "MaskedSettings.scope": Change("method.scope", "global", ITERAND),
    "MaskedSettings.sparsity_schedule": Change("method.sparsity_schedule", {"shape": "linear"}, ITERAND),
    "SparsitySchedule.shape": Change("method.sparsity_schedule.shape", "linear", RAMP),
    "SparsitySchedule.start": Change("method.sparsity_schedule.start", 0.25, RAMP),
    "SparsitySchedule.begin_epoch": Change("method.sparsity_schedule.begin_epoch", 1, RAMP),
    "SparsitySchedule.end_epoch": Change("method.sparsity_schedule.end_epoch", 2, RAMP),
    "MaskedSettings.distribution": Change("method.distribution", "kaiming_normal", ITERAND),
    "MaskedSettings.rank_by": Change("method.rank_by", "abs_scores", ITERAND),
    "MaskedSettings.score_init": Change("method.score_init", "fan_in_uniform", ITERAND),
    "MaskedSettings.max_score_grad_norm": Change("method.max_score_grad_norm", 1.0, ITERAND),
    "MaskedSettings.pack_signs": Change("method.pack_signs", True, ITERAND),
    "MaskedSettings.scale_fan": Change("method.scale_fan", True, ITERAND),
    "MaskedSettings.plain_lr": Change("method.plain_lr", 0.01, ITERAND),
    "EdgePopupSettings.name": Change("method.name", "edge_popup", ITERAND),
    "IteRandSettings.name": Change("method.name", "edge_popup", ITERAND),
    "IteRandSettings.rerandomize_every": Change("method.rerandomize_every", 7, ITERAND),
    "IteRandSettings.rerandomize_prob": Change("method.rerandomize_prob", 0.5, ITERAND),
    "SparseSettings.sparsity": Change("method.sparsity", 0.25, RANDOM_MASK),
    "SparseSettings.distribution": Change("method.distribution", "kaiming_normal", RANDOM_MASK),
    "RandomMaskSettings.name": Change("method", ITERAND["method"], RANDOM_MASK),
    "RandomMaskSettings.layout": Change("method.layout", "erk", RANDOM_MASK),
    "MagnitudeSettings.name": Change("method", ITERAND["method"], MAGNITUDE),
    "MagnitudeSettings.scope": Change("method.scope", "global", MAGNITUDE),
    "MagnitudeSettings.begin_epoch": Change("method.begin_epoch", 1, MAGNITUDE),
    "MagnitudeSettings.end_epoch": Change("method.end_epoch", 2, MAGNITUDE),
    "MagnitudeSettings.prune_every": Change("method.prune_every", 7, MAGNITUDE),
    "ImpSettings.name": Change("method", ITERAND["method"], IMP),
    "ImpSettings.rounds": Change("method.rounds", 3, IMP),
    "ImpSettings.scope": Change("method.scope", "global", IMP),
    "ImpSettings.rewind_epoch": Change("method.rewind_epoch", 1, IMP),
    "RecycleSettings.name": Change("method.name", "edge_popup", RECYCLE),
    "RecycleSettings.recycle_every": Change("method.recycle_every", 7, RECYCLE),
    "RecycleSettings.recycle_share": Change("method.recycle_share", 0.1, RECYCLE),
    "BiPropSettings.name": Change("method.name", "edge_popup", BIPROP),
    "BiPropSettings.distribution": Change("method.distribution", "kaiming_uniform", BIPROP),
    "BiPropSettings.rank_by": Change("method.rank_by", "scores", BIPROP),
    "FrozenSettings.name": Change("method.name", "edge_popup", FROZEN),
    "FrozenSettings.frozen_removed": Change("method.frozen_removed", 0.1, FROZEN),
    "FrozenSettings.frozen_kept": Change("method.frozen_kept", 0.1, FROZEN),
    "FrozenSettings.rerandomize_every": Change("method.rerandomize_every", 7, FROZEN),
    "FrozenSettings.rerandomize_prob": Change("method.rerandomize_prob", 0.5, FROZEN),
    "ModelSettings.width_mult": Change("model.width_mult", 0.5),
    "ModelSettings.norm_affine": Change("model.norm_affine", True),
    "ModelSettings.train_biases": Change("model.train_biases", False),
    "ConvSettings.name": Change("model.name", "conv4"),
    "ResNetSettings.name": Change("model.name", "resnet34", RESNET),
    "VitSettings.name": Change("model", RESNET["model"], VIT),
    "VitSettings.patch_size": Change("model.patch_size", 2, VIT),
    "VitSettings.depth": Change("model.depth", 2, VIT),
    "TimmSettings.name": Change("model", RESNET["model"], TIMM),
    "TimmSettings.architecture": Change("model.architecture", "resnet18", TIMM),
    "ArraySettings.train_images": Change("dataset.train_images", 100),
    "DigitsSettings.name": Change("dataset.name", "mnist"),
    "GreyImageSettings.name": Change("dataset.name", "fashion_mnist", MNIST),
    "GreyImageSettings.augment": Change("dataset.augment", "crop", MNIST),
    "CifarSettings.name": Change("dataset.name", "cifar100", CIFAR),
    "CifarSettings.augment": Change("dataset.augment", "none", CIFAR),
    "OwnImageSettings.content": Change("dataset.content", "fedcba9876543210", FOLDER),
    "OwnImageSettings.val_share": Change("dataset.val_share", 0.2, ARRAYS),
    "OwnImageSettings.test_share": Change("dataset.test_share", 0.3, ARRAYS),
    "OwnImageSettings.augment": Change("dataset.augment", "crop", ARRAYS),
    "ArrayFileSettings.name": Change("dataset", FOLDER["dataset"], ARRAYS),
    "FolderSettings.name": Change("dataset", ARRAYS["dataset"], FOLDER),
    "FolderSettings.image_size": Change("dataset.image_size", 32, FOLDER),
    "ImageNetSettings.name": Change("dataset", "digits", PHOTOS),
    "ImageNetSettings.loader": Change("dataset.loader", "torchvision", PHOTOS),
    "ImageNetSettings.storage": Change("dataset.storage", "tar", PHOTOS),
    "ImageNetSettings.image_size": Change("dataset.image_size", 192, PHOTOS),
    "ImageNetSettings.resize": Change("dataset.resize", 288, PHOTOS),
    "ImageNetSettings.val_share": Change("dataset.val_share", 0.5, PHOTOS),
    "ImageNetSettings.output": Change("dataset.output", "fp16", PHOTOS),
    "ImageNetSettings.shuffle_buffer": Change("dataset.shuffle_buffer", 64, SHARDS),
    "ImageNetSettings.num_images": Change("dataset.num_images", 64, NOISE),
    "DecoderSettings.hw_load": Change("dataset.decoder.hw_load", 0.5, PHOTOS),
    "Schedule.warmup_epochs": Change("schedule.warmup_epochs", 1),
    "Schedule.constant_epochs": Change("schedule.constant_epochs", 1),
    "Schedule.constant_lr": Change("schedule.constant_lr", 0.5),
    "Trial.seed": Change("seed", 8),
    "Trial.epochs": Change("epochs", 5),
    "Trial.evaluate_test": Change("evaluate_test", False),
    "Trial.threads": Change("threads", 2),
    "Trial.processes": Change("processes", 2),
    "Trial.accumulation_steps": Change("accumulation_steps", 2),
    "Trial.global_batch_size": Change("global_batch_size", 32),
    "Trial.precision": Change("precision", "fp64"),
    "Trial.compile": Change("compile", True),
    "Trial.channels_last": Change("channels_last", True),
    "Trial.tf32": Change("tf32", True),
    "Trial.deterministic": Change("deterministic", False),
    "Trial.sync_batch_norm": Change("sync_batch_norm", True, ON_GPU),
}

CANNOT: dict[str, tuple[Change, str]] = {  # change a number, in no trial
    "Trial.keep_network": (Change("keep_network", False), "the network is written when all numbers are there"),
    "Resources.cpus": (Change("resources.cpus", 2.0), "places in a queue, and threads that decode images"),
    "CheckpointSettings.every_seconds": (Change("checkpoint.every_seconds", 0.0), "reads the state, changes none"),
    "CheckpointSettings.max_time_share": (Change("checkpoint.max_time_share", 1.0), "reads the state, changes none"),
    "CheckpointSettings.on_other_stream": (
        Change("checkpoint.on_other_stream", "epoch"),
        "to refuse, or to redo an epoch, which is a function of seed and number alone",
    ),
    "ImageNetSettings.stage": (Change("dataset.stage", "/scratch", SHARDS), "a copy, compared with checksums"),
    "ImageNetSettings.max_excluded_share": (
        Change("dataset.max_excluded_share", 0.5, PHOTOS),
        "to refuse or not: which images are left out, the manifest says",
    ),
    "ImageNetSettings.loader_threads": (Change("dataset.loader_threads", 3, PHOTOS), "each image is decoded alone"),
    "ImageNetSettings.prefetch": (Change("dataset.prefetch", 5, PHOTOS), "batches wait, in their order"),
    "ImageNetSettings.mmap": (Change("dataset.mmap", True, PHOTOS), "another way to the same bytes"),
    "DecoderSettings.width_hint": (Change("dataset.decoder.width_hint", 0, PHOTOS), "memory, reserved beforehand"),
    "DecoderSettings.height_hint": (Change("dataset.decoder.height_hint", 0, PHOTOS), "memory, reserved beforehand"),
    "DecoderSettings.device_padding": (Change("dataset.decoder.device_padding", 0, PHOTOS), "memory, as above"),
    "DecoderSettings.host_padding": (Change("dataset.decoder.host_padding", 0, PHOTOS), "memory, as above"),
}

COMPARED: dict[str, tuple[Change, str]] = {  # can change numbers; a record says by itself what it was made with
    "ImageNetSettings.root": (
        Change("dataset.root", "other", PHOTOS),
        "data_id: other images differ, a moved tree not",
    ),
    "ArrayFileSettings.file": (Change("dataset.file", "other.npz", ARRAYS), "content is in the id"),
    "FolderSettings.root": (Change("dataset.root", "other", FOLDER), "content is in the id"),
    "ImageNetSettings.manifest": (Change("dataset.manifest", "other.csv", PHOTOS), "data_id, as of root"),
    "Resources.gpus": (
        Change("resources.gpus", 1.0),
        "device: last bits, as of another model of processor; a trial is not resumed on the other kind, the plan says "
        "that results of the other kind count, tables name the devices; 0.25 of a GPU is the whole one for the numbers",
    ),
}

ONE_VALUE = {"DigitsSettings.augment", "FrozenSettings.scope"}  # nothing to choose
OF_A_SWEEP = {"SchedulerSettings.name", "SchedulerSettings.grace_epochs", "SchedulerSettings.reduction_factor"}


HOMES = {f"suite.config.{name}" for name in ("trial", "dataset_settings", "method_settings", "model_settings")}


def leaves() -> Iterator[str]:
    """Every setting of every class, where it is written down: ``Class.key``."""
    classes = [Settings]
    for cls in classes:
        classes += [other for other in cls.__subclasses__() if other is NamedSettings or other.__module__ in HOMES]
    blocks = {"dataset", "model", "method", "schedule", "resources", "checkpoint", "decoder"}
    for cls in classes:
        own = vars(cls).get("__annotations__", {}) if cls is not NamedSettings else ()  # those are of classes
        yield from (f"{cls.__name__}.{key}" for key in own if key not in {*blocks, *cls.__class_vars__})


def settings_of(base: Mapping[str, Any]) -> dict[str, Any]:
    """A trial of the usual settings, and those of ``base`` instead."""
    usual = {**DIGITS, **WEIGHTS, "model": {"name": "conv2"}, "seed": 7, "epochs": 4, "global_batch_size": 64}
    return Trial.model_validate({**usual, **base}).model_dump(mode="json")


def changed(raw: dict[str, Any], change: Change) -> dict[str, Any]:
    """The settings with another value at the path of the change."""
    first, _, rest = change.path.partition(".")
    if rest:
        return {**raw, first: changed(raw[first], change._replace(path=rest))}
    return {**raw, first: change.value}
