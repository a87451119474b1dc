"""The contract of data sets, for digits and for files of a user's own, which are made here."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.own_images import write_arrays, write_classes

from suite import data
from suite.data import plugin_reader, sources
from suite.data.sources import RawDataset
from suite.testing.dataset import test_arrays as contract

DEMANDS = {name: each for name, each in vars(contract).items() if name.startswith("test_")}


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_arrays(folder / "images.npz")
    write_classes(folder / "images", mode="RGB")
    monkeypatch.setenv("SUITE_DATA", str(folder))
    return folder


def read(name: str) -> RawDataset:
    settings = contract.settings_of(name)
    reader = plugin_reader.reader_of(settings)
    folder = data.resolve_data_dir(None)
    return sources.read(name, folder) if reader is None else plugin_reader.read(settings, reader, folder)


@pytest.mark.parametrize("name", ["digits", "arrays", "folder"])
@pytest.mark.parametrize("demand", DEMANDS)
def test_a_data_set_keeps_the_contract(demand: str, name: str, tmp_path: Path) -> None:
    check: Callable[..., None] = DEMANDS[demand]
    (tmp_path / "empty").mkdir()
    there: dict[str, Any] = {"name": name, "read": read, "tmp_path": tmp_path / "empty"}
    check(**{key: there[key] for key in inspect.signature(check).parameters})
