"""The contract of ``suite.data``: what trials need of a data set in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from suite import config, data
from suite.config import ArraySettings, InputError
from suite.data import plugin_reader, sources
from suite.data.sources import RawDataset
from suite.testing import subject

NAMES = [name for name in subject.names("dataset") if issubclass(config.DATASETS[name], ArraySettings)]
each_dataset = pytest.mark.parametrize("name", NAMES)


def settings_of(name: str, **more: Any) -> ArraySettings:
    """Settings with legal values of those that have no default."""
    cls = config.DATASETS[name]
    fields = {key: field for key, field in cls.model_fields.items() if field.is_required() and key != "name"}
    needed = {key: subject.value_of(field) for key, field in fields.items()}
    made = cls.model_validate({"name": name, **needed, **subject.settings(name), **more})
    assert isinstance(made, ArraySettings)
    return made


@pytest.fixture(scope="module")
def read() -> Callable[[str], RawDataset]:
    """The arrays of a data set; one of the suite whose files are not here is passed over."""

    def arrays(name: str) -> RawDataset:
        settings, folder = settings_of(name), data.resolve_data_dir(None)
        reader = plugin_reader.reader_of(settings)
        try:
            return sources.read(name, folder) if reader is None else plugin_reader.read(settings, reader, folder)
        except InputError as error:
            if config.REGISTRY.find("dataset", name).is_plugin or subject.settings(name):
                raise
            pytest.skip(str(error))

    return arrays


@each_dataset
def test_the_arrays_are_what_a_data_set_is(name: str, read: Callable[[str], RawDataset]) -> None:
    assert sources.split_mistake(read(name)) is None


@each_dataset
def test_two_reads_give_the_same_images_and_the_same_split(name: str, read: Callable[[str], RawDataset]) -> None:
    assert sources.data_id(read(name)) == sources.data_id(read(name))


@each_dataset
def test_every_class_is_in_the_training_split(name: str, read: Callable[[str], RawDataset]) -> None:
    found = read(name)
    assert set(np.unique(found.labels[found.splits["train"]])) == set(range(found.num_classes))


@each_dataset
def test_missing_files_are_named(name: str, tmp_path: Path) -> None:
    settings = settings_of(name)
    reader = plugin_reader.reader_of(settings)
    if reader is None or not reader.files(settings, tmp_path):
        pytest.skip("it reads no files of the data folder")
    with pytest.raises(InputError, match="no such file"):
        data.prepare(settings, data_dir=tmp_path, download=False)


@each_dataset
def test_trials_get_normalized_batches(name: str, read: Callable[[str], RawDataset]) -> None:
    found = read(name)
    loaded = data.load(settings_of(name), data_dir=None, device=torch.device("cpu"))
    images, labels = next(iter(loaded.batches("val", 16)))
    assert images.shape[1:] == found.images.shape[1:]
    assert images.is_floating_point() and images.isfinite().all()
    assert labels.dtype == torch.int64
    assert loaded.num_classes == found.num_classes and loaded.data_id == sources.data_id(found)


@each_dataset
def test_a_part_of_the_training_images_may_be_used(name: str, read: Callable[[str], RawDataset]) -> None:
    num = max(read(name).num_classes, len(read(name).splits["train"]) // 2)
    loaded = data.load(settings_of(name, train_images=num), data_dir=None, device=torch.device("cpu"))
    assert loaded.num_images("train") == num
