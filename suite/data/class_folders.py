"""The image files of class folders, and each way in which folders can be wrong. No torch, no Pillow."""

import os
from pathlib import Path
from typing import NamedTuple, NoReturn

from suite.config import InputError
from suite.data.imagenet.listing import check_link, refuse
from suite.data.imagenet.manifest import EXTENSIONS
from suite.data.own_split import SPLITS, named

_FEWEST = 2  # classes


class Labelled(NamedTuple):
    """An image file, its part (``train``, ``val``, ``test``), its class, and the label of that."""

    file: Path
    split: str
    name: str
    label: int


def listed(root: Path) -> list[Labelled]:
    """The images of ``root/CLASS``, or of ``root/train/CLASS`` and the same of ``val`` and ``test``, in order of names.

    Names that begin with a dot are left out.

    Raises:
        InputError: the folders are not so, or hold something else than images.
    """
    parts = _parts(root)
    classes = {part: _folders(folder) for part, folder in parts.items()}
    for part, folder in parts.items():
        _check_classes(folder, classes[part])
        _check_same(classes, part, parts)
    names = classes["train"]
    return [
        Labelled(file, part, name, label)
        for part, folder in parts.items()
        for label, name in enumerate(names)
        for file in _images(folder / name)
    ]


def _parts(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise InputError(f"{root}: must be a folder: name the one that has the class folders, with dataset.root")
    folders = _folders(root)
    if "train" in folders:
        if odd := [name for name in folders if name not in SPLITS]:
            rule = "folders there must be train, val or test"
            raise InputError(f"{root / odd[0]}: lies beside train: {rule}: rename it, or move it away")
        return {split: root / split for split in SPLITS if split in folders}
    if odd := [name for name in folders if name in SPLITS]:
        raise InputError(
            f"{root}: has {named(odd)} and no train: add ROOT/train/CLASS/*, or put all classes in one folder"
        )
    return {"train": root}


def _visible(folder: Path) -> list[str]:
    check_link(folder)
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        refuse(error)


def _folders(folder: Path) -> list[str]:
    names = _visible(folder)
    for name in names:
        check_link(folder / name)
    return [name for name in names if (folder / name).is_dir()]


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _check_classes(folder: Path, classes: list[str]) -> None:
    if any(map(_is_image_name, _visible(folder))):
        raise InputError(f"{folder}: has images outside of class folders: move each image into the folder of its class")
    if not classes:
        raise InputError(f"{folder}: is empty: must have a folder for each class, with its images")
    if len(classes) < _FEWEST:
        raise InputError(f"{folder}: has one class, {classes[0]}: must have at least {_FEWEST}")


def _check_same(classes: dict[str, list[str]], part: str, parts: dict[str, Path]) -> None:
    for other, own in classes.items():
        if lost := sorted({*own} - {*classes[part]}):
            cure = f"add their folders, or remove them from {other}"
            raise InputError(f"{parts[part]}: lacks classes that {other} has: {named(lost)}: {cure}")


def _images(folder: Path) -> list[Path]:
    """The files of a class folder.

    Raises:
        InputError: it has none, or holds something else.
    """
    files = [folder / name for name in _visible(folder)]
    for file in files:
        _check_image(file)
    if not files:
        raise InputError(f"{folder}: is empty: add images of this class, or remove the folder")
    return files


def _check_image(file: Path) -> None:
    check_link(file)
    if file.is_dir():
        _say(
            file,
            "a folder in a class folder: move its images up, or remove it; dataset.root may be one level too high, and "
            "folders of splits must be named train, val and test",
        )
    if not _is_image_name(file.name):
        _say(file, f"is no image by its name: must end in {', '.join(EXTENSIONS)}: remove or convert it")
    if not file.is_file():
        _say(file, "is no regular file: remove it")


def _say(file: Path, problem: str) -> NoReturn:
    raise InputError(f"{file}: {problem}")
