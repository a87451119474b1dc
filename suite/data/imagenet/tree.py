"""Which images of a tree are trained on, validated on and tested on. No torch.

Training images are ``train`` without a share held out for validation (``val_share``, by default 1 %; one fixed split
for all seeds); the folder ``val`` is the test set. Classes have the numbers that torchvision's ImageFolder gives them.
"""

import logging
import os
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite import machine
from suite.config import ImageNetSettings, InputError
from suite.data.imagenet import manifest, shards
from suite.data.imagenet.listing import TREES
from suite.data.imagenet.manifest import FILENAME_ERRORS, Row
from suite.data.imagenet.shards import Index
from suite.data.interface import SplitName
from suite.data.sources import Ints, hold_out

NO_DALI = "dataset.loader: dali: NVIDIA DALI is not installed: install it with: pip install '.[dali]'"
_MOST_NAMED = 10
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """The images of a tree.

    Attributes:
        root: where they lie.
        paths: below the root, as bytes (N,), of all images that can be used.
        labels: int64 (N,).
        splits: name -> ascending positions in ``paths``, int64.
        num_classes: labels are below it.
        data_id: 16 hex digits that change with any image, label or split.
        train_id: the same, of the images below ``train`` alone.
    """

    root: Path
    paths: NDArray[np.bytes_]
    labels: Ints
    splits: dict[SplitName, Ints]
    num_classes: int
    data_id: str
    train_id: str

    def name(self, position: int) -> str:
        """The path of an image below the root."""
        return os.fsdecode(bytes(self.paths[position]))


def folder_of(settings: ImageNetSettings, data: Path) -> Path:
    """The root of the tree or of its shards, ``data`` being the folder of all data sets."""
    return data / Path(settings.root).expanduser()


def list_of(settings: ImageNetSettings, data: Path) -> Path:
    """The file that says which images there are: the manifest of the tree, or the index of its shards."""
    root = folder_of(settings, data)
    if settings.storage == "tar":
        return root / shards.INDEX
    return manifest.path_of(root, data / Path(settings.manifest).expanduser() if settings.manifest else None)


def require_dali() -> None:
    """Raise InputError where there is no NVIDIA DALI."""
    machine.require_linux("dataset.loader: dali", "use loader: torchvision")
    if not (find_spec("nvidia") and find_spec("nvidia.dali")):
        raise InputError(NO_DALI)


def check(settings: ImageNetSettings, data: Path) -> None:
    """Raise the InputError that a trial would raise, before there is one."""
    if settings.loader == "dali":
        require_dali()
    if settings.storage == "tar":
        read_shards(settings, data)
    elif settings.loader != "synthetic":
        read(settings, data)


def read_data_id(settings: ImageNetSettings, data: Path) -> str:
    """The ``data_id`` of what training would read, from its list alone.

    Raises:
        InputError: there is none, or it is not whole.
    """
    if settings.storage == "tar":
        return read_shards(settings, data).data_id
    return _data_id(manifest.read(list_of(settings, data), folder_of(settings, data)), settings.val_share)


def read_shards(settings: ImageNetSettings, data: Path) -> Index:
    """The index of the tar shards.

    Raises:
        InputError: there are none, they are not whole, or they hold another share out for validation.
    """
    root = folder_of(settings, data)
    index = shards.read(root)
    if index.val_share != settings.val_share:
        raise InputError(
            f"dataset.val_share: {settings.val_share}: must be {index.val_share}, with which {root} was packed"
        )
    return index


def read(settings: ImageNetSettings, data: Path) -> Files:
    """The images of a scanned tree; the log says which of them are left out.

    Raises:
        InputError: it was not scanned; too many images cannot be used; a class has none, or too few to hold some out;
            the first image of a class, in any split, is gone.
    """
    root = folder_of(settings, data)
    if not (root / "train").is_dir():
        raise InputError(_missing(root))
    path = list_of(settings, data)
    rows = manifest.read(path, root)
    check_rows(rows, path, settings.max_excluded_share)
    files = files_of(rows, root, settings.val_share)
    _check_there(files)
    return files


def _check_there(files: Files) -> None:
    """A test set that is gone is found before the first epoch, not after the last one."""
    for split, positions in files.splits.items():
        firsts = positions[np.unique(files.labels[positions], return_index=True)[1]]
        if lost := [name for name in map(files.name, firsts) if not (files.root / name).is_file()]:
            raise InputError(
                f"{files.root}: images of {split} are missing: {_some(lost)}: restore them, or run {manifest.SCAN} "
                f"{files.root} to leave them out"
            )


def files_of(rows: list[Row], root: Path, val_share: float) -> Files:
    """The used images among ``rows``, split. Which ones are held out does not depend on which are used."""
    images = [row for row in rows if row.is_image]
    labels = np.array([row.label for row in images], dtype=np.int64)
    used = np.array([row.used for row in images], dtype=bool)
    in_train = np.array([row.path.startswith("train/") for row in images], dtype=bool)
    train = np.flatnonzero(in_train)
    rest, val = hold_out(train, labels, _num_held_out(labels[train], val_share))
    chosen: dict[SplitName, Ints] = {"train": rest, "val": val, "test": np.flatnonzero(~in_train)}
    place = np.cumsum(used) - 1  # of an image among those that are used
    splits = {name: place[positions[used[positions]]] for name, positions in chosen.items()}
    for name, positions in splits.items():
        if not len(positions):
            raise InputError(f"{root}: has no image for {name} that can be used; {manifest.SCAN} {root} says why")
    kept = [row for row in images if row.used]
    paths = np.array([row.path.encode(errors=FILENAME_ERRORS) for row in kept])
    ids = (_data_id(part, val_share) for part in (kept, [row for row in kept if row.path.startswith("train/")]))
    return Files(root, paths, labels[used], splits, int(labels[train].max()) + 1, *ids)


def _data_id(rows: list[Row], val_share: float) -> str:
    return manifest.data_id((row for row in rows if row.is_image), "val_share", val_share)


def _num_held_out(labels: Ints, share: float) -> int:
    """Images of ``share``, if each class can give some and keep some."""
    num, num_classes = round(share * len(labels)), len(np.unique(labels))
    if not num_classes <= num <= len(labels) - num_classes:
        raise InputError(
            f"val_share: {share}: is {num} of {len(labels)} training images of {num_classes} classes: "
            "must hold out one of each class at least, and leave one"
        )
    if (smallest := int(np.bincount(labels).min())) < 2:
        raise InputError(f"val_share: a class of train has {smallest} image: each must have two at least")
    return num


def check_rows(rows: list[Row], path: Path, most: float) -> None:
    """Say which images are left out; raise InputError where they are too many, or a class has none."""
    images = [row for row in rows if row.is_image]
    left_out = [row for row in images if not row.used]
    if odd := [row.path for row in rows if row.used and (row.label < 0 or not row.is_image)]:
        raise InputError(f"{path}: used, but of no class of train, or no image: {_some(odd)}: set used to 0")
    if len({row.path for row in images}) < len(images):
        twice = [name for name, num in Counter(row.path for row in images).items() if num > 1]
        raise InputError(f"{path}: more than one row: {_some(twice)}: leave one")
    for tree in TREES:
        if empty := _empty_classes(rows, tree):
            raise InputError(
                f"{path}: classes without a usable image in {tree}: {_some(empty)}: mend or remove the folders"
            )
    if not left_out:
        return
    message = f"{len(left_out):,} of {len(images):,} images cannot be used"
    which = _some([f"{row.path} ({row.problem})" for row in left_out])
    if len(left_out) > most * len(images):
        cure = f"mend them and run {manifest.SCAN} {path.parent}, or raise dataset.max_excluded_share ({most})"
        raise InputError(f"{path}: {message}: {which}: {cure}")
    log.warning("%s: %s and are left out: %s", path, message, which)


def _empty_classes(rows: list[Row], tree: str) -> list[str]:
    usable: dict[str, bool] = {}
    for row in rows:
        place, name, _ = row.path.split("/", 2)
        if place == tree:
            usable[name] = usable.get(name, False) or row.used
    return [name for name, there in usable.items() if not there]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _missing(root: Path) -> str:
    return (
        f"imagenet: {root / 'train'} is not there: dataset.root must be a folder with train/CLASS/* and val/CLASS/*, "
        "below --data-dir DIR, $SUITE_DATA or data, or absolute; ImageNet cannot be fetched for you (image-net.org)"
    )
