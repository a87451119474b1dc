"""Commands on data that is not the data their results were made with: real photos, real files, real trials."""

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.data_files import write_idx
from support.photos import write_tree
from support.stores import write_empty_store
from support.sweep_processes import result_mtimes, run_sweep

from suite import cli, status
from suite.config.sweep_file import load_sweep
from suite.data.imagenet import scan
from suite.records import read_result
from suite.sweep import __main__ as sweep_command
from suite.sweep.plan import Plan
from suite.tracking.store import DATABASE
from suite.train import __main__ as train_command

Said = pytest.CaptureFixture[str]
PHOTOS = {"name": "imagenet", "loader": "torchvision", "root": "one", "image_size": 32, "resize": 32}
PHOTOS |= {"val_share": 0.25, "loader_threads": 0}
HANDWRITING = {"name": "mnist"}


def other_photos(root: Path) -> None:
    """The same names and sizes of classes, each file with the photo of another one."""
    files = sorted(root.rglob("*.JPEG"))
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[5:] + contents[:5], strict=True):
        file.write_bytes(content)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two trees of the same names, ``one`` and ``other``."""
    folder = tmp_path_factory.mktemp("photos")
    write_tree(folder / "one", {"train": 12, "val": 6}, 4)
    shutil.copytree(folder / "one", folder / "other")
    other_photos(folder / "other")
    for name in ("one", "other"):
        assert scan.main([str(folder / name)]) == 0
    return folder


@pytest.fixture
def photos(trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in the present folder, whose ``data`` it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUITE_DATA", raising=False)
    return Path(shutil.copytree(trees, tmp_path / "data"))


def write_sweep(dataset: dict[str, object], seeds: int = 1) -> None:
    base = {"dataset": dataset, "epochs": 1, "global_batch_size": 6, "keep_network": False}
    grid = {"model": {"name": "conv2", "width_mult": 0.0625}, "method": {"name": "weights", "lr": 0.02}}
    Path("s.yaml").write_text(yaml.safe_dump({"name": "s", "base": base, "grid": {**grid, "seed": list(range(seeds))}}))


def train_all(*options: str, results: str = "results") -> None:
    """Run the trials of the sweep as they are planned with these options."""
    sets = [value for flag, value in itertools.pairwise(options) if flag == "--set"]
    for trial in load_sweep("s.yaml", overrides=sets).trials.values():
        Path("trial.json").write_text(json.dumps(trial.model_dump(mode="json")))
        assert cli.run(lambda: train_command.main(["trial.json", "--results", results])) == 0


def run(*options: str) -> int:
    """The sweep command, in this process: for what starts no Ray."""
    return cli.run(lambda: sweep_command.main(["s.yaml", *options]))


def plan(*options: str) -> int:
    return run("--dry-run", *options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
def test_a_sweep_with_another_tree_shows_no_results_of_the_first(photos: Path, tmp_path: Path, capsys: Said) -> None:
    """As a user has it: the sweep, the same with another tree, there anew, and the first tree moved."""
    write_sweep(PHOTOS, seeds=2)
    write_empty_store(tmp_path / "results" / DATABASE)
    code, output = run_sweep("s.yaml", cwd=tmp_path)  # below `data`, though trials run in folders of their own
    assert code == 0, output
    first = result_mtimes(tmp_path)
    assert run("--set", "dataset.root=other") == 2
    assert capsys.readouterr().err.count("its result was made with other images of imagenet (data_id ") == 2
    assert result_mtimes(tmp_path) == first and not list(tmp_path.glob("results/reports/*other*"))
    train_all("--set", "dataset.root=other", results="anew")
    losses = {path: read_result(path.parent) for path in sorted(tmp_path.glob("*/trials/*/result.json"))}
    assert len({result.metrics["train/loss"] for result in losses.values() if result}) == 4
    assert len({result.data_id for result in losses.values() if result}) == 2
    (photos / "one").rename(tmp_path / "moved")
    capsys.readouterr()
    assert run("--set", f"dataset.root={tmp_path / 'moved'}") == 0
    output = capsys.readouterr().out
    assert "2 trials in results: 2 done; 0 to run" in output and "comparison" not in output, output
    assert result_mtimes(tmp_path) == first


def rescan(root: Path) -> None:
    other_photos(root)
    assert scan.main([str(root)]) == 0


def put_aside(root: Path) -> None:
    """The manifest, edited: one image less."""
    lines = (root / "manifest.csv").read_text().splitlines()
    lines[10] = lines[10].replace(",1,", ",0,")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "another root": (lambda data: None, ["--set", "dataset.root=other"]),
    "another manifest": (lambda data: None, ["--set", "dataset.manifest=other/manifest.csv"]),
    "another data folder": (lambda data: None, ["--data-dir", "elsewhere"]),
    "other files, scanned": (lambda data: rescan(data / "one"), []),
    "an edited manifest": (lambda data: put_aside(data / "one"), ["--set", "dataset.max_excluded_share=0.5"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_results_of_other_photos_do_not_count(photos: Path, capsys: Said, what: str) -> None:
    write_sweep(PHOTOS)
    train_all()
    assert plan() == 0 and "1 done; 0 to run" in capsys.readouterr().out
    change, options = CHANGES[what]
    shutil.copytree(photos / "other", photos.parent / "elsewhere/one")
    change(photos)
    assert plan(*options) == 2
    assert "its result was made with other images of imagenet (data_id " in capsys.readouterr().err
    assert cli.run(lambda: status.main(["s.yaml", *options])) == 2
    assert "made with other images of imagenet" in capsys.readouterr().err


def test_a_trial_alone_does_not_take_them_either(photos: Path, capsys: Said) -> None:
    write_sweep(PHOTOS)
    train_all()
    trial = json.loads(Path("trial.json").read_text())
    trial["dataset"]["root"] = "other"
    Path("other.json").write_text(json.dumps(trial))
    capsys.readouterr()
    assert cli.run(lambda: train_command.main(["other.json"])) == 2
    said = capsys.readouterr().err
    assert "holds a result made with other images of imagenet (data_id " in said and len(said.splitlines()) == 1
    assert cli.run(lambda: train_command.main(["other.json", "--folder", "anew"])) == 0


@pytest.mark.parametrize("gone", ["the tree", "its manifest", "the data folder"])
def test_where_the_photos_are_not_results_count_and_it_is_said_once(photos: Path, capsys: Said, gone: str) -> None:
    write_sweep(PHOTOS, seeds=2)
    train_all()
    {"the tree": photos / "one", "its manifest": photos / "one/manifest.csv", "the data folder": photos}[gone].rename(
        "x"
    )
    capsys.readouterr()
    assert plan() == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "2 done; 0 to run" in said
    assert said.count("imagenet: results count without a comparison with its images: ") == 1
    assert cli.run(lambda: status.main(["s.yaml"])) == 0
    assert "results count without a comparison" in capsys.readouterr().out
    assert cli.run(lambda: status.main(["s.yaml", "--json"])) == 0
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 2


def test_files_that_are_replaced_by_others_of_the_same_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))
    raw = tmp_path / "data/MNIST/raw"
    write_idx(raw)
    write_sweep(HANDWRITING)
    train_all()
    assert plan() == 0 and "1 done; 0 to run" in capsys.readouterr().out
    shutil.rmtree(raw)
    write_idx(raw, seed=5)
    assert plan() == 2
    assert "made with other images of mnist (data_id " in capsys.readouterr().err
    shutil.rmtree(raw)
    write_idx(tmp_path / "elsewhere/MNIST/raw")
    os.environ["SUITE_DATA"] = str(tmp_path / "elsewhere")  # the first ones again
    assert plan() == 0 and "1 done; 0 to run" in capsys.readouterr().out
    assert plan("--set", "dataset.train_images=100") == 0 and "1 missing; 1 to run" in capsys.readouterr().out


def test_results_of_another_data_folder_are_made_anew_after_their_folder_is_moved_away(photos: Path) -> None:
    write_sweep(PHOTOS)
    train_all()
    [first] = Path("results/trials").iterdir()
    first.rename("away")
    train_all("--set", "dataset.root=other")
    one, other = read_result(Path("away")), read_result(first)
    assert one and other and one.data_id != other.data_id and one.trial_id == other.trial_id
    assert plan("--set", "dataset.root=other") == 0 and plan() == 2


def test_photos_that_change_between_plan_and_run(photos: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sweep(PHOTOS)
    train_all()
    write_sweep(PHOTOS, seeds=2)
    [done] = Path("results/trials").iterdir()

    def change_and_run(plan: Plan, *rest: object) -> None:
        [trial] = plan.to_run.values()
        rescan(photos / "one")
        Path("trial.json").write_text(json.dumps(trial.model_dump(mode="json")))
        assert cli.run(lambda: train_command.main(["trial.json"])) == 0

    monkeypatch.setattr(sweep_command, "_run", change_and_run)  # Ray, with somebody who is quick
    assert run() == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"{done}: its result was made with other images of imagenet (data_id ")
    assert not Path("results/reports/s/table.md").exists()
