"""A small tree of real photos, scanned and packed, and data sets over it. Every test here needs DALI."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from support.photos import small_shards, write_noise_tree, write_tree

from suite import data
from suite.config import Dataset
from suite.data.imagenet import pack, scan
from suite.data.interface import Data

HERE = Path(__file__).parent
SMALL = {"image_size": 64, "resize": 72, "val_share": 0.15, "shuffle_buffer": 64, "loader_threads": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("dali")


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """312 photos of six classes, scanned; half as large as those of ImageNet, as most of the time goes into them."""
    root = write_tree(tmp_path_factory.mktemp("photos") / "tree", shrink=2)
    assert scan.main([str(root)]) == 0
    return root


@pytest.fixture(scope="session")
def packed(tree: Path) -> Path:
    """The same as tar shards, several for each split."""
    shards = tree.parent / "shards"
    with small_shards():
        assert pack.main([str(tree), str(shards), "--shard-mb", "1", "--val-share", str(SMALL["val_share"])]) == 0
    return shards


@pytest.fixture(scope="session")
def noise_tree(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where images of many classes lie, as files or as tar shards."""
    root = write_noise_tree(tmp_path_factory.mktemp("twins") / "files")
    assert scan.main([str(root)]) == 0
    assert pack.main([str(root), str(root.parent / "tar"), "--shard-mb", "1", "--val-share", str(1 / 3)]) == 0
    assert len(list(root.parent.glob("tar/train-*.tar"))) > 2
    return lambda storage: root.parent / storage


@pytest.fixture
def own_tree(tree: Path, tmp_path: Path) -> Path:
    """A copy of the tree to be broken."""
    return Path(shutil.copytree(tree, tmp_path / "tree"))


@pytest.fixture
def loaded(tree: Path, packed: Path) -> Callable[..., Data]:
    """The data set of some settings, on the CPU."""

    def load(storage: str = "files", *, channels_last: bool = True, root: Path | None = None, **settings: Any) -> Data:
        place = root or (packed if storage == "tar" else tree)
        raw = {"name": "imagenet", "storage": storage, "root": str(place), **SMALL, **settings}
        chosen = TypeAdapter(Dataset).validate_python(raw)
        return data.load(chosen, data_dir=None, device=torch.device("cpu"), channels_last=channels_last)

    return load
