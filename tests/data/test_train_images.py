"""A part of the training images: fixed, in proportion, and refused where there are fewer."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from suite import data
from suite.config import Dataset, InputError
from suite.data import sources


def settings(num: object) -> Dataset:
    read: TypeAdapter[Dataset] = TypeAdapter(Dataset)
    return read.validate_python({"name": "digits", "train_images": num})


@pytest.mark.parametrize("num", [10, 500, 1240, 1257])
def test_classes_in_proportion(num: int) -> None:
    whole = sources.read("digits", Path("nowhere"))
    part = sources.subsample_train(whole, num)
    assert len(part.splits["train"]) == num == len(set(part.splits["train"].tolist()))
    assert set(part.splits["train"].tolist()) <= set(whole.splits["train"].tolist())
    assert all(np.array_equal(part.splits[name], whole.splits[name]) for name in ("val", "test"))
    share = num / len(whole.splits["train"])
    of_classes = [np.bincount(each.labels[each.splits["train"]], minlength=10) for each in (whole, part)]
    assert np.abs(of_classes[0] * share - of_classes[1]).max() < 1
    assert np.array_equal(sources.subsample_train(whole, num).splits["train"], part.splits["train"])


@pytest.mark.parametrize("num", [1, 9, 1258, 10**9])
def test_a_number_that_is_not_there(num: int) -> None:
    for read in (data.prepare, data.load):
        more = {"download": False} if read is data.prepare else {"device": "cpu"}
        with pytest.raises(InputError, match=rf"train_images: {num}: must be from 10, .* to 1257"):
            read(settings(num), data_dir=None, **more)  # type: ignore[operator]


def test_data_of_a_trial() -> None:
    some, all_of_them = (data.load(settings(num), data_dir=None, device="cpu") for num in (200, None))
    assert some.num_images("train") == some.num_epoch_images(64) == 200
    assert some.num_images("test") == all_of_them.num_images("test")
    assert some.data_id != all_of_them.data_id
    assert data.load(settings(1257), data_dir=None, device="cpu").data_id == all_of_them.data_id
