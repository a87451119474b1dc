"""The fixed split of a user's own images. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from suite.config import InputError, OwnImageSettings
from suite.data.sources import Bytes, Ints, RawDataset

SPLITS = ("train", "val", "test")
MIN_SIZE, MAX_SIZE = 8, 224  # pixels a side
_SEED = 20_221_128  # any constant: the split is the same for every seed of every trial
_MOST_NAMED = 10


def assemble(
    parts: Mapping[str, tuple[Bytes, Ints]], classes: Sequence[str], settings: OwnImageSettings, place: Path
) -> RawDataset:
    """The data set of images that come in up to three parts.

    A part for validation without one for the test is the test set, as ImageNet's is. What is missing then is held out
    of the part for training, from each class in proportion and at least one image.

    Args:
        parts: images (N, C, S, S) and labels of ``train``, and perhaps of ``val`` and ``test``.
        classes: their names, by label.
        settings: have the shares that are held out.
        place: the file or folder, for messages.

    Raises:
        InputError: a class has too few images.
    """
    images = np.concatenate([part[0] for part in parts.values()])
    labels = np.concatenate([part[1] for part in parts.values()])
    indices = divided([name for name, part in parts.items() for _ in part[1]], labels, classes, settings, place)
    return RawDataset(images, labels, indices, len(classes))


def divided(
    names: Sequence[str], labels: Ints, classes: Sequence[str], settings: OwnImageSettings, place: Path
) -> dict[str, Ints]:
    """The indices of each split; errors and the rest as ``assemble``.

    Args:
        names: the part of each image.
        labels: of each image.
        classes: their names.
        settings: have the shares.
        place: for messages.
    """
    indices = {name: np.flatnonzero(np.array(names) == name) for name in SPLITS if name in names}
    if "test" not in indices and "val" in indices:
        indices["test"] = indices.pop("val")
    for name, share in (("test", settings.test_share), ("val", settings.val_share)):
        if name not in indices:
            indices["train"], indices[name] = _hold_out(indices["train"], labels, share, classes, place)
    return {name: indices[name] for name in SPLITS}


def named(names: Iterable[object]) -> str:
    """Names in a message, the first ten."""
    found = list(map(str, names))
    more = f" and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more


def _hold_out(indices: Ints, labels: Ints, share: float, classes: Sequence[str], place: Path) -> tuple[Ints, Ints]:
    """The indices without and with a share of each class, each ascending. numpy keeps this generator as it is."""
    order = np.random.RandomState(_SEED).permutation(indices)
    kept, held_out, small = [], [], []
    for label, name in enumerate(classes):
        members = order[labels[order] == label]
        num = max(1, round(share * len(members)))
        small += [f"{name} ({len(members)})"] if num >= len(members) else []
        held_out.append(members[:num])
        kept.append(members[num:])
    if small:
        raise InputError(
            f"{place}: too few images of some classes to hold out a share of {share:g} and train on the others: "
            f"{named(small)}: add images, leave these classes out, or give images for each split"
        )
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))
