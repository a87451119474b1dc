"""What can be said of data sets within a second, without torch: that files are missing, or images too few.

``suite.data.prepare`` says all that is wrong; it reads every image.
"""

import gzip
import math
import struct
from collections.abc import Iterable
from pathlib import Path

from suite.config import ArraySettings, Dataset, ImageNetSettings, InputError, OwnImageSettings, Trial
from suite.data import plugin_reader, prepare, resolve_data_dir, sources
from suite.data.plugin_reader import ArrayReader

_TRAINING = {"digits": 1257, "cifar10": 45_000, "cifar100": 45_000}  # without the images for validation
_CIFAR = {
    "cifar10": ("cifar-10-batches-py", [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]),
    "cifar100": ("cifar-100-python", ["train", "test", "meta"]),
}
_MOST_BYTES = 5_000_000  # of a list of images that is read here


def check_all(trials: Iterable[Trial], data_dir: Path | None, *, download: bool) -> tuple[list[str], list[str]]:
    """What is wrong with the data sets of some trials, and what might surprise about them.

    Args:
        trials: that are to run.
        data_dir: where data sets lie.
        download: what is missing will be fetched.
    """
    problems: dict[str, None] = {}
    notes: dict[str, None] = {}
    for settings, size in {(trial.dataset, trial.global_batch_size) for trial in trials}:
        try:
            check(settings, data_dir)
            notes |= dict.fromkeys(_batch_notes(settings, size, data_dir))
        except InputError as error:
            problems |= dict.fromkeys([] if download else error.problems)
    return list(problems), list(notes)


def check(settings: Dataset, data_dir: Path | None) -> None:
    """Raise the InputError that ``suite.data.prepare`` would raise, where it is soon found."""
    folder = resolve_data_dir(data_dir)
    if isinstance(settings, ImageNetSettings):
        from suite.data.imagenet import tree

        file = tree.list_of(settings, folder)
        if not file.exists() or file.stat().st_size < _MOST_BYTES:
            tree.check(settings, folder)
        return
    if (reader := plugin_reader.reader_of(settings)) is not None:
        _check_files(settings, reader, folder)
        return
    num = num_training_images(settings, folder)
    if settings.train_images is not None and settings.train_images > num:
        raise InputError(f"dataset.train_images: {settings.train_images}: must be at most {num}, all that are there")


def _check_files(settings: ArraySettings, reader: ArrayReader, folder: Path) -> None:
    """Read small files of the user's own whole; of others what is soon read."""
    files = plugin_reader.files_of(settings, reader, folder)
    if not isinstance(settings, OwnImageSettings):
        return
    if sum(file.stat().st_size for file in files) < _MOST_BYTES:
        prepare(settings, data_dir=folder, download=False)
    else:
        reader.check(settings, folder)  # type: ignore[attr-defined]  # those of the suite have it


def num_training_images(settings: ArraySettings, folder: Path) -> int:
    """How many images a data set of arrays has for training, before ``train_images`` takes some.

    Raises:
        InputError: its files are missing.
    """
    name = settings.name
    if name in _CIFAR:
        base, files = folder / _CIFAR[name][0], _CIFAR[name][1]
        if not all((base / file).is_file() for file in files):
            raise sources.missing(name, base)
    if name in _TRAINING:
        return _TRAINING[name]
    files_here = sources.unchecked_files(name, folder)
    if not all(file.exists() for file in files_here):
        sources.check(name, folder)  # which names all folders
    return _without_validation(files_here[1])


def _without_validation(labels: Path) -> int:
    """Of an IDX file of labels: nine tenths of what its head says."""
    try:
        with gzip.open(labels) if labels.suffix == ".gz" else labels.open("rb") as file:
            num = int(struct.unpack(">4xI", file.read(8))[0])
    except (OSError, EOFError, struct.error) as error:
        raise InputError(f"{labels}: cannot be read: {error}") from None
    return num - math.ceil(num / 10)


def _batch_notes(settings: Dataset, size: int, data_dir: Path | None) -> list[str]:
    """What a batch larger than the data set does, where the data is arrays."""
    if isinstance(settings, ImageNetSettings) or plugin_reader.reader_of(settings) is not None:
        return []
    num = settings.train_images or num_training_images(settings, resolve_data_dir(data_dir))
    does = f"{settings.name} has {num} images for training: each epoch is one update, with all of them"
    return [f"global_batch_size: {size}: {does}"] if size > num else []
