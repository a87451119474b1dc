"""Trials on the tree of photos: killed and stopped in the middle of an epoch, on files and shards, by one and two."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.photos import BROKEN, small_shards
from support.sweep_processes import run_sweep, start_sweep
from support.trial_processes import (
    ROOT,
    descendants,
    folder_of,
    newest_checkpoint,
    records_of,
    signal_processes,
    start,
    unexpected_files,
    wait_for,
)

from suite import train
from suite.config import InputError, Trial
from suite.config.sweep_file import load_sweep
from suite.data.imagenet import pack, scan
from suite.data.imagenet import tree as image_tree
from suite.launch import local
from suite.records import read_metrics
from suite.stopping import Stopped

ALWAYS = {"every_seconds": 0, "max_time_share": 1}
STEPS = 12  # an epoch of 204 images in batches of 16


def trial_on(root: Path, storage: str = "files", **changes: Any) -> Trial:
    """A small ResNet18 that saves itself after each step."""
    images = {"name": "imagenet", "root": str(root), "storage": storage, "image_size": 66, "resize": 72}
    settings = {
        "dataset": {**images, "val_share": 0.15, "shuffle_buffer": 64, "loader_threads": 1},
        "model": {"name": "resnet18", "width_mult": 0.0625},
        "method": {"name": "iterand", "lr": 0.1, "sparsity": 0.5, "rerandomize_every": 7},
        "seed": 3,
        "epochs": 2,
        "global_batch_size": 16,
        "checkpoint": ALWAYS,
    }
    return Trial.model_validate({**settings, **changes})


def stopping_after(steps: int) -> Callable[[], bool]:
    """For ``should_stop``: asked once after each step."""
    left = iter(range(steps))
    return lambda: next(left, None) is None


def stop_in_the_middle(trial: Trial, folder: Path, steps: int = 17) -> int:
    """Stop a trial after about so many steps; returns the step of its checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(Stopped):
        train.train(trial, folder, should_stop=stopping_after(steps))
    newest = max(path.name for path in folder.glob("checkpoint-*.pt"))
    return int(re.findall(r"\d+", newest)[0])


@pytest.fixture
def quiet(tree: Path, tmp_path: Path) -> Any:
    folder = tmp_path / "quiet"
    folder.mkdir()
    train.train(trial_on(tree), folder)
    return records_of(folder)


class Pair:
    """The trial of a sweep file in two processes, and its records where nobody disturbs it."""

    FILE = ROOT / "sweeps/imagenet_small.yaml"
    ONLY = "method.name=iterand"
    SETS = (
        *("epochs=2", "global_batch_size=16", "checkpoint.every_seconds=0", "checkpoint.max_time_share=1"),
        *("schedule.warmup_epochs=0", "schedule.constant_epochs=0"),
        *("dataset.image_size=66", "dataset.resize=72", "dataset.shuffle_buffer=64", "dataset.loader_threads=1"),
    )

    def __init__(self, tree: Path, folder: Path) -> None:
        [self.trial] = load_sweep(self.FILE, [self.ONLY], self.SETS).trials.values()
        assert (self.trial.processes, self.trial.model.name, self.trial.dataset.name) == (2, "resnet18", "imagenet")
        local.run(self.trial, folder / "quiet", data_dir=self.data_dir(folder, tree))
        self.quiet = records_of(folder / "quiet")

    def flags(self, data_dir: Path) -> list[object]:
        """Of the sweep command, without tables, figures and MLflow."""
        sets = [part for text in self.SETS for part in ("--set", text)]
        return [self.FILE, "--data-dir", data_dir, "--only", self.ONLY, *sets, "--part"]

    def data_dir(self, folder: Path, tree: Path) -> Path:
        """A folder as the data folder, where the name in the sweep file leads to a tree."""
        (folder / "imagenet-small").symlink_to(tree)
        return folder


@pytest.fixture(scope="module")
def pair(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tree, tmp_path_factory.mktemp("pair"))


@pytest.mark.slow
def test_a_sweep_killed_in_the_middle_of_an_epoch(tree: Path, pair: Pair, tmp_path: Path) -> None:
    """Two processes, from a sweep file, ended by SIGKILL with its driver; the same command again."""
    flags, folder = pair.flags(pair.data_dir(tmp_path, tree)), folder_of(pair.trial, tmp_path / "results")
    driver = start_sweep(*flags, cwd=tmp_path)
    try:
        wait_for(lambda: int((re.findall(r"\d+", newest_checkpoint(folder)) or ["0"])[0]) > STEPS + 2)
        ranks = [pid for pid in descendants(driver.pid) if "suite.train" in words_of(pid)]
        assert len(ranks) == 2
        signal_processes([driver.pid, *ranks], signal.SIGKILL)
        driver.communicate(timeout=60)
    finally:
        driver.kill()
    stopped_at = int(re.findall(r"\d+", newest_checkpoint(folder))[0])
    assert STEPS < stopped_at < 2 * STEPS

    status, output = run_sweep(*flags, cwd=tmp_path)
    assert status == 0, output
    assert unexpected_files(folder) == []
    assert records_of(folder) == pair.quiet
    assert records_of(folder)[0]["num_updates"] == 2 * STEPS


def words_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_shards_and_several_stops(packed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trial = trial_on(packed, "tar")
    (tmp_path / "quiet").mkdir()
    train.train(trial, tmp_path / "quiet")
    caplog.set_level("INFO", "suite")
    for steps in (3, 6, 11):
        stop_in_the_middle(trial, tmp_path / "stopped", steps)
    train.train(trial, tmp_path / "stopped")
    assert len(re.findall(r"going on from step \d+", caplog.text)) == 3
    assert "not used" not in caplog.text
    assert records_of(tmp_path / "stopped") == records_of(tmp_path / "quiet")


@pytest.mark.slow
def test_another_release_of_dali_is_refused_or_goes_back_to_the_border(
    tree: Path, tmp_path: Path, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from suite.data.imagenet import dali_loader  # not before it is known to be installed

    step = stop_in_the_middle(trial_on(tree), tmp_path)
    assert STEPS < step < 2 * STEPS
    now = dali_loader.dali.__version__
    monkeypatch.setattr(dali_loader.dali, "__version__", "99.1")
    with pytest.raises(InputError, match=rf"dali {now}, now 99\.1.*on_other_stream: epoch"):
        train.train(trial_on(tree), tmp_path)

    back = trial_on(tree, checkpoint={**ALWAYS, "on_other_stream": "epoch"})
    assert back.trial_id == trial_on(tree).trial_id
    train.train(back, tmp_path)
    assert records_of(tmp_path) == quiet  # the border is a pure function of the seed


@pytest.mark.slow
def test_borders_are_saved_however_rarely_the_rest_is(tree: Path, tmp_path: Path) -> None:
    """With the default settings nothing else of so short a trial would be."""
    trial = trial_on(tree, checkpoint={})
    step = stop_in_the_middle(trial, tmp_path, STEPS + 8)  # it is asked in evaluations too
    borders = [int(name) for name in re.findall(r"(\d+)\.border\.pt", " ".join(map(str, tmp_path.iterdir())))]
    assert borders[-1:] == [step // STEPS * STEPS]


@pytest.mark.slow
def test_shards_packed_in_another_way_are_refused(tree: Path, tmp_path: Path) -> None:
    """Image by image it is the same data set, but DALI's state says nothing about this order of them."""
    shards = tmp_path / "shards"
    command = [str(tree), str(shards), "--shard-mb", "2", "--val-share", "0.15"]
    with small_shards():
        assert pack.main([*command, "--seed", "1"]) == 0
    trial = trial_on(shards, "tar")
    stop_in_the_middle(trial, tmp_path / "trial", 5)
    shutil.rmtree(shards)
    with small_shards():
        assert pack.main([*command, "--seed", "2"]) == 0
    with pytest.raises(InputError, match=r"images \w+ from shards \w+, now \w+ from shards"):
        train.train(trial, tmp_path / "trial")


@pytest.mark.slow
def test_a_signal_to_the_whole_group_stops_torchvision_too(tree: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches the loader's workers as well: they are not the ones to decide."""
    images = {**trial_on(tree).dataset.model_dump(), "loader": "torchvision"}
    trial, quiet = (trial_on(tree, dataset={**images, "loader_threads": num}, epochs=1) for num in (1, 0))
    folder = folder_of(trial, tmp_path)
    process = start(trial, tmp_path, session=True)
    wait_for(lambda: newest_checkpoint(folder))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130, (tmp_path / "said.txt").read_text()
    assert not (folder / "failure.json").exists() and newest_checkpoint(folder)
    assert start(trial, tmp_path).wait(120) == 0
    (tmp_path / "quiet").mkdir()
    train.train(quiet, tmp_path / "quiet")  # in this process alone: workers change nothing
    (ours, lines), (theirs, quiet_lines) = records_of(folder), records_of(tmp_path / "quiet")
    assert (ours | {"config": None}, lines) == (theirs | {"config": None}, quiet_lines)


@pytest.mark.slow
def test_other_images_begin_anew(tree: Path, own_tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop_in_the_middle(trial_on(own_tree), tmp_path)
    manifest = own_tree / "manifest.csv"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines).replace(lines[9], lines[9].replace(",1,\n", ",0,by hand\n")))
    images = {**trial_on(own_tree).dataset.model_dump(), "max_excluded_share": 0.1}
    result = train.train(trial_on(own_tree, dataset=images), tmp_path)
    assert "train_id" in caplog.text and "starting at the first epoch" in caplog.text
    assert result.num_updates == 2 * STEPS


@pytest.mark.slow
def test_a_test_image_that_is_left_out_keeps_the_checkpoint(
    tree: Path, own_tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    done = stop_in_the_middle(trial_on(own_tree), tmp_path)
    (own_tree / "val/n02_cat/n02_3.JPEG").unlink()
    assert scan.main([str(own_tree)]) == 0
    result = train.train(trial_on(own_tree), tmp_path)
    assert f"going on from step {done}: " in caplog.text
    assert result.data_id != image_tree.read_data_id(trial_on(tree).dataset, tree.parent)


@pytest.mark.slow
def test_a_file_that_breaks_ends_the_trial_and_mended_it_goes_on(
    own_tree: Path, tree: Path, pair: Pair, tmp_path: Path
) -> None:
    trial, folder = pair.trial, folder_of(pair.trial, tmp_path / "results")
    flags = ("--data-dir", str(pair.data_dir(tmp_path, own_tree)))
    process = start(trial, tmp_path / "results", *flags)
    wait_for(lambda: newest_checkpoint(folder))
    victims = list(own_tree.glob("train/n0[1-4]*/*_[12]*"))
    for path in victims:
        path.write_bytes(BROKEN["head only"](path.read_bytes()))
    assert process.wait(90) == 2
    said = (tmp_path / "results" / "said.txt").read_text()
    assert "cannot be decoded any more" in said and str(tmp_path / "imagenet-small/train") in said
    assert not (folder / "result.json").exists() and not (folder / "failure.json").exists()

    for path in victims:
        path.write_bytes((tree / path.relative_to(own_tree)).read_bytes())
    assert start(trial, tmp_path / "results", *flags).wait(120) == 0
    assert records_of(folder) == pair.quiet


@pytest.mark.slow
def test_rows_tell_what_the_loop_waited(tree: Path, tmp_path: Path) -> None:
    wide = {"model": {"name": "resnet18", "width_mult": 0.125}, "channels_last": True, "epochs": 1}
    train.train(trial_on(tree, **wide), tmp_path)
    [line] = read_metrics(tmp_path)
    assert 0 < line["wait_share"] < 1
    assert line["step"] == STEPS
    noise = trial_on(
        tree, dataset={"name": "imagenet", "loader": "synthetic", "num_images": 200, "image_size": 66}, epochs=1
    )
    (tmp_path / "noise").mkdir()
    train.train(noise, tmp_path / "noise")
    assert read_metrics(tmp_path / "noise")[0]["wait_share"] < line["wait_share"]


@pytest.mark.slow
def test_no_process_or_temporary_file_is_left(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    before = set(descendants(os.getpid()))
    trial = trial_on(tree, epochs=1)
    assert start(trial, tmp_path / "results").wait(120) == 0
    assert set(descendants(os.getpid())) <= before
    assert list((tmp_path / "tmp").iterdir()) == []
