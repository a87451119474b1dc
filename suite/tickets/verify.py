"""Stored networks, evaluated again: are they what their records say?"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from suite import tickets
from suite.config import InputError, Trial, sweep_file
from suite.config.registry import check_there
from suite.data.interface import Data, SplitName
from suite.records import DENSE, TICKET, Result, read_result
from suite.tickets import Info, NetworkMetadata
from suite.train import restore

SPLITS: tuple[SplitName, ...] = ("val", "test")
_OF_TRAINING = ("processes", "accumulation_steps", "sync_batch_norm", "resources", "compile")  # nothing to evaluation
_OF_PLACES = ("root", "file", "manifest", "stage")  # of a file from elsewhere: never followed


class Check(NamedTuple):
    """One accuracy of a network: as recorded, as it is now, and in words."""

    measure: str
    recorded: float | None
    now: float | None
    verdict: str


@dataclass
class Evaluator:
    """Evaluates stored networks on a device; the data set of the last one stays loaded."""

    data_dir: Path | None
    device: torch.device
    _loaded: dict[str, Data] = field(default_factory=dict)

    def images(self, trial: Trial) -> Data:
        """The data of a trial."""
        key = trial.dataset.model_dump_json()
        if key not in self._loaded:
            self._loaded = {key: restore.load_data(trial, self.data_dir, self.device)}
        return self._loaded[key]

    def check(self, path: Path) -> list[Check]:
        """Compare each recorded accuracy of a network with that it has now.

        Raises:
            InputError: the file is no network, its data is not there or is other data, or a record beside it differs.
        """
        info = tickets.info(path)
        trial = trial_of(path, info.header)
        _check_record(path, info)
        recorded = {split: value for split in SPLITS if (value := info.header.metrics.get(f"{split}/top1")) is not None}
        if not recorded:
            return [Check("", None, None, "no accuracy is recorded")]
        images = self.images(trial)
        check_fits(path, info.header, images)
        if images.data_id != info.header.data_id:
            raise InputError(f"{path}: was trained on other data: {info.header.data_id}, here {images.data_id}")
        now = self.accuracies(trial, tickets.load(path), tuple(recorded))
        checks = []
        for split, value in recorded.items():
            off = round(abs(now[f"{split}/top1"] - value) * images.num_images(split))
            verdict = "equal" if off == 0 else f"{off} images differ"
            checks.append(Check(f"{split}/top1", value, now[f"{split}/top1"], verdict))
        return checks

    def accuracies(self, trial: Trial, model: nn.Module, splits: tuple[SplitName, ...] = SPLITS) -> dict[str, float]:
        """Accuracy and loss of a network on some splits of its trial's data."""
        found: dict[str, float] = {}
        for split in splits:
            now = restore.evaluate_network(trial, model, self.images(trial), split, self.device)
            found |= {f"{split}/top1": now.top1, f"{split}/loss": now.loss}
        return found


def trial_of(path: Path, about: NetworkMetadata, **changes: str) -> Trial:
    """What a network is evaluated as: the settings of the record beside it, else those that it carries.

    Raises:
        InputError: there are none, or they are not valid here; a plugin that they name is missing.
    """
    beside = _record(path)
    raw, plugins = about.trial, about.plugins
    if beside is not None and beside.trial_id == about.trial_id:
        raw, plugins = beside.config, [use.model_dump() for use in beside.plugins]
    elif raw is not None and isinstance(raw.get("dataset"), dict):
        raw = {**raw, "dataset": {key: value for key, value in raw["dataset"].items() if key not in _OF_PLACES}}
    if raw is None:
        raise InputError(
            f"{path}: says nothing of its training: load it with suite.tickets.load, and evaluate it there"
        )
    check_there([use for use in plugins if use.get("kind") not in changes], str(path))
    trial = sweep_file.trial_from(
        {key: value for key, value in raw.items() if key not in _OF_TRAINING} | changes, str(path)
    )
    return trial.model_copy(update={"threads": min(trial.threads, os.cpu_count() or 1)})


def check_fits(path: Path, about: NetworkMetadata, images: Data) -> None:
    """Raise InputError where a network takes other images, or tells other classes apart, than those of a data set."""
    for key in ("image_size", "in_channels", "num_classes") if about.network else ():
        if (own := getattr(about.network, key)) != (theirs := getattr(images, key)):
            raise InputError(f"{path}: {key}: the network has {own}, the data set {theirs}")


def _record(path: Path) -> Result | None:
    return read_result(path.parent) if path.name in (TICKET, DENSE) else None


def _check_record(path: Path, info: Info) -> None:
    """Raise InputError where the record beside a network is of another one."""
    result = _record(path)
    if result is None:
        return
    of_form = [stored.metrics for stored in result.stored if stored.form == info.stored.form]
    if result.trial_id != info.header.trial_id or of_form != [info.header.metrics]:
        raise InputError(
            f"{path}: is of trial {info.header.trial_id}, {info.header.metrics}: the record beside it differs"
        )
