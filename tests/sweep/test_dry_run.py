"""--dry-run makes the checks of a run that cost no second, and loads no torch for them."""

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support.sweep_processes import ROOT, write_sweep

from suite import cli, machine
from suite.data import quick_checks, sources
from suite.sweep import __main__ as command

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))
    write_sweep(Path("tiny.yaml"), epochs=1, seeds=(1,))


def dry_run(*more: str) -> int:
    return cli.run(lambda: command.main(["tiny.yaml", "--dry-run", *more]))


def write_labels(num: int) -> None:
    folder = Path("data/MNIST/raw")
    folder.mkdir(parents=True)
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{stem}-ubyte.gz").write_bytes(gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, num)))


def mistake(capsys: Said, *more: str) -> str:
    assert dry_run(*more) == 2
    told = capsys.readouterr()
    assert "3 trials in results: 3 missing; 3 to run" in told.out  # it shows the plan all the same
    (line,) = told.err.splitlines()
    assert not Path("results").exists()
    return line


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_files_that_are_missing(name: str, capsys: Said) -> None:
    said = mistake(capsys, "--set", f"dataset={name}")
    assert said.startswith(f"{name}: its files are not in {Path.cwd() / 'data'}/") and "--download" in said
    assert dry_run("--set", f"dataset={name}", "--download") == 0


def test_training_images_that_are_not_there(capsys: Said) -> None:
    assert mistake(capsys, "--set", "dataset={name: digits, train_images: 1258}") == (
        "dataset.train_images: 1258: must be at most 1257, all that are there"
    )
    write_labels(100)
    said = mistake(capsys, "--set", "dataset={name: mnist, train_images: 91}")
    assert said == "dataset.train_images: 91: must be at most 90, all that are there"
    assert dry_run("--set", "dataset={name: mnist, train_images: 90}") == 0


def test_no_manifest(capsys: Said) -> None:
    imagenet = "dataset={name: imagenet, root: photos, loader: torchvision}"
    assert f"{Path.cwd() / 'data/photos/train'} is not there" in mistake(capsys, "--set", imagenet)
    Path("data/photos/train/a").mkdir(parents=True)
    assert "manifest" in mistake(capsys, "--set", imagenet)


def test_gpus_and_cpus_that_are_not_there(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "num_gpus", lambda: 0)
    assert mistake(capsys, "--set", "resources.gpus=1").startswith("resources.gpus: 1: this machine has 0; ")
    monkeypatch.setattr(machine, "num_gpus", lambda: 1)
    assert dry_run("--set", "resources.gpus=1") == 0
    assert mistake(capsys, "--set", "resources.cpus=4096").startswith("resources.cpus: 4096: this machine has ")
    monkeypatch.setattr(machine, "num_gpus", lambda: None)  # nobody knows: the run will tell
    assert dry_run("--set", "resources.gpus=1") == 0


@pytest.mark.parametrize(
    ("visible", "num"), [(None, 2), ("", 0), ("-1", 0), ("1", 1), ("0,1,2", 2), ("GPU-1a,MIG-2", 2)]
)
def test_gpus_by_the_files_of_the_driver(visible: str | None, num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(Path, "glob", lambda path, pattern: iter([path / "nvidia0", path / "nvidia1"]))
    assert machine.num_gpus() == num


def test_a_batch_larger_than_the_data_says_what_it_does(capsys: Said) -> None:
    assert dry_run("--set", "global_batch_size=2000") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "global_batch_size: 2000: digits has 1257 images for training: each epoch is one update, with all" in said
    assert dry_run("--set", "global_batch_size=1257") == 0
    assert "images for training" not in capsys.readouterr().out


@pytest.mark.fashion_mnist
def test_the_table_of_data_sets_is_true() -> None:
    for name in ("digits", "fashion_mnist"):
        source = sources.read(name, Path())
        settings = type("Settings", (), {"name": name})()
        assert quick_checks.num_training_images(settings, Path()) == len(source.splits["train"])


def test_no_torch_is_loaded_for_it() -> None:
    code = "import sys; from suite.sweep import __main__ as sweep; sweep.main(['tiny.yaml', '--dry-run']); "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print('torch' in sys.modules, 'ray' in sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("False False\n")
