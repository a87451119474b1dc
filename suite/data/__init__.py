"""Data sets: `prepare` once, before trials are queued; `load` in each trial.

Files are looked for in `data_dir`, else in $SUITE_DATA, else in `data`, laid out as torchvision.datasets does.
`digits` needs none; `fashion_mnist` is also found where Debian's package dataset-fashion-mnist puts it.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from suite.config import Dataset

if TYPE_CHECKING:  # torch is only needed by load
    import torch

    from suite.data.arrays import ArrayData


def prepare(settings: Dataset, *, data_dir: Path | None, download: bool) -> None:
    """Make sure that `load` will find the files, whole; fetch them first if `download`.

    Raises:
        InputError: files are missing or corrupt, or the download failed; it names the folder and the cures.
    """
    from suite.data import sources

    if download:
        sources.download(settings.name, folder(data_dir))
    sources.check(settings.name, folder(data_dir))


def load(settings: Dataset, *, data_dir: Path | None, device: "torch.device | str") -> "ArrayData":
    """The data set `settings.name`, whole, on `device`.

    Raises:
        InputError: as `prepare`.
    """
    from suite.data import sources
    from suite.data.arrays import ArrayData

    source = sources.read(settings.name, folder(data_dir))
    return ArrayData.build(source, augment=settings.augment, device=device)


def folder(data_dir: Path | None) -> Path:
    """Where files are looked for."""
    return Path(data_dir or os.environ.get("SUITE_DATA") or "data").expanduser().absolute()
