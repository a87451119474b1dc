"""Which class folders and files a tree of images has, before any of them is opened. No torch, no Pillow."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from suite.config import InputError

TREES = ("train", "val")
_MOST_NAMED = 10


class Listing:
    """The files of ``root/train/CLASS`` and ``root/val/CLASS``, in the order of torchvision's ImageFolder.

    Labels are positions in the sorted names of the class folders. Files and folders whose names begin with a dot
    (``.DS_Store``, ``.ipynb_checkpoints``) are left out.

    Args:
        root: the folder that has ``train``, and mostly ``val``.

    Attributes:
        hidden: paths below the root of the files and folders that were left out, once ``labelled_files`` is through.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hidden: list[str] = []

    def labelled_files(self) -> Iterator[tuple[str, int]]:
        """Paths below the root with their labels; a slash ends those of empty folders.

        Raises:
            InputError: ``train`` and ``val`` do not have the same classes; a folder cannot be listed; a link leads to
                a missing folder, or to one that contains the link.
        """
        train, val = (self._classes(tree) for tree in TREES)
        if not train:
            folder = self.root / "train"
            raise InputError(
                f"{self.root}: must have class folders in {folder}, as ImageNet does: train/n01440764/*.JPEG"
            )
        if val:
            self._check_same(train, val)
        for tree in TREES if val else TREES[:1]:
            for label, name in enumerate(train):
                files = self._files(f"{tree}/{name}")
                yield from ((file, label) for file in files or [f"{tree}/{name}/"])

    def _classes(self, tree: str) -> list[str]:
        folder = self.root / tree
        check_link(folder)
        if not folder.is_dir():
            return []
        try:
            names = self._without_hidden(tree, os.listdir(folder))
        except OSError as error:
            refuse(error)
        for name in names:
            check_link(folder / name)
        return [name for name in names if (folder / name).is_dir()]

    def _check_same(self, train: list[str], val: list[str]) -> None:
        for here, ours, there, theirs in (("val", val, "train", train), ("train", train, "val", val)):
            if lost := sorted({*ours} - {*theirs}):
                more = f" and {len(lost) - _MOST_NAMED:,} more" if len(lost) > _MOST_NAMED else ""
                raise InputError(
                    f"{self.root / there}: lacks classes that {here} has: {', '.join(lost[:_MOST_NAMED])}{more}: add "
                    f"their folders, or remove them from {here}"
                )

    def _files(self, folder: str) -> list[str]:
        """Paths below the root of the files in a class folder and in the folders in it."""
        found = []
        for place, folders, names in os.walk(self.root / folder, followlinks=True, onerror=refuse):
            below = os.path.relpath(place, self.root)
            folders[:] = self._without_hidden(below, folders)
            for name in folders:
                check_link(Path(place, name))
            found.append((place, [f"{below}/{name}" for name in self._without_hidden(below, names)]))
        return [file for _, files in sorted(found) for file in files]

    def _without_hidden(self, place: str, names: list[str]) -> list[str]:
        self.hidden += [f"{place}/{name}" for name in names if name.startswith(".")]
        return sorted(name for name in names if not name.startswith("."))


def check_link(path: Path) -> None:
    """Raise InputError for a link that leads nowhere, or to a folder that contains it."""
    if not path.is_symlink():
        return
    if not path.exists():
        raise InputError(f"{path}: links to {os.readlink(path)}, which is missing: mount its disk, or remove the link")
    target, place = os.path.realpath(path), os.path.realpath(path.parent)
    if Path(place).is_relative_to(target):
        raise InputError(f"{path}: links to {target}, which contains the link: remove the link")


def refuse(error: OSError) -> NoReturn:
    """Raise InputError for a folder that cannot be listed."""
    raise InputError(f"{error.filename}: cannot be listed ({error.strerror}): make it readable, or remove it") from None
