"""Settings that do not belong to a trial's id, tried: small trials with and without them end with equal bits."""

import functools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from support.identity_table import CANNOT
from support.photos import small_shards, write_tree
from support.ranks import without_times

from suite import train
from suite.config import Trial
from suite.data.imagenet import pack, scan
from suite.records import TICKET, read_metrics, read_result

ON_GPUS = {f"DecoderSettings.{key}" for key in ("width_hint", "height_hint", "device_padding", "host_padding")}
EACH_STEP = {"every_seconds": 0.0, "max_time_share": 1.0}
BY_DALI = ("files", "tar")


class Case(NamedTuple):
    """A setting of ``CANNOT``, tried with images that are read in some way."""

    key: str
    images: str
    settings: Mapping[str, Any] = MappingProxyType({})
    dataset: Mapping[str, Any] = MappingProxyType({})


CASES = [
    Case("Trial.keep_network", "digits", {"keep_network": False}),
    Case("Resources.cpus", "digits", {"resources": {"cpus": 2.0}}),
    Case("Resources.cpus", "torchvision", {"resources": {"cpus": 1.0}}, {"loader_threads": None}),
    Case("CheckpointSettings.every_seconds", "digits", {"checkpoint": EACH_STEP}),
    Case("CheckpointSettings.every_seconds", "torchvision", {"checkpoint": EACH_STEP}),
    Case("CheckpointSettings.every_seconds", "files", {"checkpoint": EACH_STEP}),
    Case("CheckpointSettings.every_seconds", "tar", {"checkpoint": EACH_STEP}),
    Case("CheckpointSettings.max_time_share", "digits", {"checkpoint": {"max_time_share": 1.0}}),
    Case("CheckpointSettings.on_other_stream", "files", {"checkpoint": {"on_other_stream": "epoch"}}),
    Case("ImageNetSettings.stage", "tar", {}, {"stage": "STAGE"}),
    Case("ImageNetSettings.max_excluded_share", "torchvision", {}, {"max_excluded_share": 0.9}),
    Case("ImageNetSettings.loader_threads", "torchvision", {}, {"loader_threads": 2}),
    Case("ImageNetSettings.loader_threads", "files", {}, {"loader_threads": 3}),
    Case("ImageNetSettings.loader_threads", "tar", {}, {"loader_threads": 3}),
    Case("ImageNetSettings.prefetch", "torchvision", {}, {"prefetch": 5, "loader_threads": 1}),
    Case("ImageNetSettings.prefetch", "files", {}, {"prefetch": 5}),
    Case("ImageNetSettings.prefetch", "tar", {}, {"prefetch": 1}),
    Case("ImageNetSettings.mmap", "files", {}, {"mmap": True}),
    Case("ImageNetSettings.mmap", "tar", {}, {"mmap": True}),
]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scanned tree, one of whose images is left out."""
    folder = tmp_path_factory.mktemp("photos")
    root = write_tree(folder / "tree", {"train": 12, "val": 4}, 4, shrink=2)
    sorted(root.rglob("*.JPEG"))[0].write_bytes(b"")
    assert scan.main([str(root)]) == 0
    return folder


@pytest.fixture(scope="module")
def packed(trees: Path) -> Callable[[], Path]:
    """Where the same are as tar shards, packed when first asked for."""

    @functools.cache
    def pack_once() -> Path:
        command = [str(trees / "tree"), str(trees / "tar"), "--val-share", "0.25", "--max-excluded-share", "0.5"]
        with small_shards():
            assert pack.main([*command, "--shard-mb", "1"]) == 0
        return trees / "tar"

    return pack_once


def trial_on(images: str, root: Path | None, settings: Mapping[str, Any], dataset: Mapping[str, Any]) -> Trial:
    photos = {"name": "imagenet", "root": str(root), "image_size": 64, "resize": 72, "val_share": 0.25}
    photos |= {"shuffle_buffer": 16, "max_excluded_share": 0.5}
    photos |= {"loader": "torchvision", "loader_threads": 0} if images == "torchvision" else {"storage": images}
    usual = {
        "dataset": {"name": "digits"} if root is None else {**photos, **dataset},
        "model": {"name": "conv2", "width_mult": 0.0625},
        "method": {"name": "iterand", "lr": 0.3, "sparsity": 0.5, "rerandomize_every": 3},
        "seed": 3,
        "global_batch_size": 64 if root is None else 6,
        "epochs": 2 if root is None else 1,
        "keep_network": root is None,  # photos: loaders that begin anew in each evaluation take their time
    }
    return Trial.model_validate({**usual, **settings})


Numbers = tuple[Any, ...]


def numbers_of(trial: Trial, folder: Path) -> Numbers:
    """What a trial came to: its epochs and its result, without times and settings, and its trained network."""
    folder.mkdir(parents=True)
    train.train(trial, folder)
    result = read_result(folder)
    assert result is not None and result.status == "done"
    lines = [without_times(line) for line in read_metrics(folder)]
    rest = {key: value for key, value in without_times(result.model_dump()).items() if key not in ("config", "stored")}
    return lines, rest, (folder / TICKET).read_bytes() if trial.keep_network else None


@pytest.fixture(scope="module")
def quiet(trees: Path, packed: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The usual trial on images that are read in some way: its root, and what it came to."""

    @functools.cache
    def run_once(images: str) -> tuple[Path | None, Numbers]:
        root = {"digits": lambda: None, "tar": packed}.get(images, lambda: trees / "tree")()
        return root, numbers_of(trial_on(images, root, {}, {}), tmp_path_factory.mktemp("quiet") / images)

    return run_once


def marks_of(case: Case) -> list[pytest.MarkDecorator]:
    """Loaders of photos begin anew in each evaluation, which takes long."""
    return [pytest.mark.dali] * (case.images in BY_DALI) + [pytest.mark.slow] * (case.images != "digits")


def test_every_such_setting_is_tried_or_only_read_on_gpus() -> None:
    assert {case.key for case in CASES} | ON_GPUS == CANNOT.keys()


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{case.key}-{case.images}-{i}", marks=marks_of(case)) for i, case in enumerate(CASES)],
)
def test_with_it_and_without_it_the_same_bits(case: Case, quiet: Callable[[str], Any], tmp_path: Path) -> None:
    root, expected = quiet(case.images)
    dataset = {key: str(tmp_path / "scratch") if value == "STAGE" else value for key, value in case.dataset.items()}
    trial, usual = (trial_on(case.images, root, *more) for more in ((case.settings, dataset), ({}, {})))
    assert trial != usual and trial.trial_id == usual.trial_id
    found = numbers_of(trial, tmp_path / "trial")
    assert found[:2] == expected[:2]
    assert not trial.keep_network or found[2] == expected[2]
    assert (tmp_path / "scratch").exists() == ("stage" in dataset)


def test_the_comparison_sees_other_numbers(quiet: Callable[[str], Any], tmp_path: Path) -> None:
    _, expected = quiet("digits")
    other = numbers_of(trial_on("digits", None, {"precision": "fp64"}, {}), tmp_path / "trial")
    assert all(one != two for one, two in zip(other, expected, strict=True))


@pytest.mark.slow
def test_a_moved_tree_is_the_same_data_with_the_same_bits(quiet: Callable[[str], Any], tmp_path: Path) -> None:
    root, expected = quiet("torchvision")
    shutil.copytree(root, tmp_path / "moved")
    (tmp_path / "moved/manifest.csv").rename(tmp_path / "list.csv")
    manifest = {"manifest": str(tmp_path / "list.csv")}
    assert numbers_of(trial_on("torchvision", tmp_path / "moved", {}, manifest), tmp_path / "trial") == expected
