"""A trial's id covers the content of a user's own images, never their path, and planning reads them once."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.own_images import write_arrays, write_classes

from suite import data
from suite.config import ArrayFileSettings, FolderSettings, InputError, Trial
from suite.config.sweep_file import Sweep, load_trial, sweep_from
from suite.records import data_content
from suite.records.data_content import Contents

TRIAL = {"model": {"name": "conv2", "width_mult": 0.1}, "seed": 1, "method": {"name": "weights", "lr": 0.1}}


def sweep_of(folder: Path, *datasets: dict[str, Any], contents: Contents | None = None) -> Sweep:
    raw = {"name": "own", "base": {"epochs": 1, "global_batch_size": 8}, "grid": {**TRIAL, "dataset": list(datasets)}}
    return sweep_from(raw, contents=contents or Contents(folder))


def ids(folder: Path, *datasets: dict[str, Any]) -> list[str]:
    return list(sweep_of(folder, *datasets).trials)


def arrays(file: str, **more: Any) -> dict[str, Any]:
    return {"name": "arrays", "file": file, **more}


def pictures(root: str, **more: Any) -> dict[str, Any]:
    return {"name": "folder", "root": root, **more}


def test_a_moved_file_is_the_same_trial(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    before = ids(tmp_path, arrays(write_arrays(tmp_path / "x.npz").name))
    (tmp_path / "x.npz").rename(tmp_path / "other" / "y.npz")
    assert ids(tmp_path, arrays("other/y.npz")) == ids(Path(), arrays(str(tmp_path / "other" / "y.npz"))) == before


def test_a_moved_folder_is_the_same_trial(tmp_path: Path) -> None:
    before = ids(tmp_path, pictures(write_classes(tmp_path / "x").name))
    (tmp_path / "x").rename(tmp_path / "y")
    assert ids(tmp_path, pictures("y")) == before


def test_two_files_are_two_trials(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz")
    write_arrays(tmp_path / "y.npz", more=[1])
    assert len(ids(tmp_path, arrays("x.npz"), arrays("y.npz"))) == 2


def test_two_copies_of_a_file_are_one_trial_which_stands_twice(tmp_path: Path) -> None:
    (tmp_path / "y.npz").write_bytes(write_arrays(tmp_path / "x.npz").read_bytes())
    with pytest.raises(InputError, match="the same trial stands twice"):
        ids(tmp_path, arrays("x.npz"), arrays("y.npz"))


@pytest.mark.parametrize("change", ["a byte", "a name", "another image", "a class"])
def test_any_change_of_a_folder_is_another_trial(tmp_path: Path, change: str) -> None:
    before = ids(tmp_path, pictures(write_classes(tmp_path / "x").name))
    image = tmp_path / "x" / "cat" / "00.png"
    if change == "a byte":
        image.write_bytes(image.read_bytes() + b"x")
    elif change == "another image":
        image.with_name("99.png").write_bytes(image.read_bytes())
    else:
        image.rename(image.with_name("a.png") if change == "a name" else image.parents[1] / "dog" / "99.png")
    assert ids(tmp_path, pictures("x")) != before


def test_the_content_is_in_the_settings_of_a_trial(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz")
    (trial,) = sweep_of(tmp_path, arrays("x.npz")).trials.values()
    content = Contents(tmp_path)(ArrayFileSettings(name="arrays", file="x.npz"))
    assert trial.model_dump()["dataset"]["content"] == content
    assert ids(Path(), arrays("elsewhere.npz", content=content)) == [trial.trial_id]


def test_a_trial_whose_content_nobody_knows_has_no_id() -> None:
    raw = {**TRIAL, "dataset": arrays("x.npz"), "epochs": 1, "global_batch_size": 8}
    with pytest.raises(InputError, match=r"dataset\.content: is unset: must be that of x\.npz"):
        _ = Trial.model_validate(raw).trial_id


def test_a_missing_file_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"grid\.dataset.*: x\.npz: .*x\.npz: no such file: .*--data-dir"):
        ids(tmp_path, arrays("x.npz"))


@pytest.mark.parametrize("written", [True, False])
def test_a_file_that_changed_after_planning_trains_nothing(tmp_path: Path, written: bool) -> None:
    """As a job on a cluster finds it."""
    write_arrays(tmp_path / "x.npz", more=[1])
    more = {"content": "0123456789abcdef"} if written else {}
    (trial,) = sweep_of(tmp_path, arrays("x.npz", **more)).trials.values()
    write_arrays(tmp_path / "x.npz")
    for use in (
        lambda: data.prepare(trial.dataset, data_dir=tmp_path, download=False),
        lambda: data.load(trial.dataset, data_dir=tmp_path, device="cpu"),
    ):
        with pytest.raises(InputError, match=r"dataset\.content: \w{16}: .*x\.npz has content \w{16}: restore"):
            use()


# The cache


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    reads: list[Path] = []
    real = data_content._hash_of
    monkeypatch.setattr(data_content, "_hash_of", lambda file: (reads.append(file), real(file))[1])
    return reads


def contents(folder: Path) -> Contents:
    (folder / "results").mkdir(exist_ok=True)
    return Contents(folder, folder / "results" / data_content.CACHE)


def test_planning_again_reads_no_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_reads(monkeypatch)
    settings = FolderSettings(name="folder", root=str(write_classes(tmp_path / "x")))
    found = [contents(tmp_path)(settings) for _ in range(3)]
    assert len(set(found)) == 1 and len(reads) == 30


def test_a_replacement_of_the_same_size_and_date_is_seen(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "x.npz", more=[1])
    settings = ArrayFileSettings(name="arrays", file=str(file))
    before, state = contents(tmp_path)(settings), file.stat()
    write_arrays(tmp_path / "y.npz", more=[2]).replace(file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file.stat().st_size == state.st_size
    assert contents(tmp_path)(settings) != before


def test_results_remember_files_that_are_elsewhere_now(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "x.npz")
    settings = ArrayFileSettings(name="arrays", file="x.npz")
    before = contents(tmp_path)(settings)
    file.unlink()
    assert contents(tmp_path)(settings) == before


def test_another_file_of_that_name_is_not_taken_for_it(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz")
    settings = ArrayFileSettings(name="arrays", file="x.npz")
    before = contents(tmp_path)(settings)
    write_arrays(tmp_path / "x.npz", more=[1])
    assert contents(tmp_path)(settings) != before


@pytest.mark.parametrize("garbage", ["", "[]", '{"arrays x.npz": 1}', "x"])
def test_a_garbled_cache_costs_time_alone(tmp_path: Path, garbage: str) -> None:
    settings = ArrayFileSettings(name="arrays", file=str(write_arrays(tmp_path / "x.npz")))
    before = contents(tmp_path)(settings)
    (tmp_path / "results" / data_content.CACHE).write_text(garbage)
    assert contents(tmp_path)(settings) == before


def test_a_dry_run_loads_no_torch_and_leaves_nothing(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz")
    base = "{dataset: {name: arrays, file: x.npz}, epochs: 1, global_batch_size: 8}"
    grid = "{model: {name: conv2}, seed: [1], method: {name: weights, lr: 0.1}}"
    (tmp_path / "own.yaml").write_text(f"name: own\nbase: {base}\ngrid: {grid}\n")
    code = (
        "import sys; from suite.sweep.__main__ import main; "
        "status = main(['own.yaml', '--dry-run', '--data-dir', '.']); sys.exit(status or 3 * ('torch' in sys.modules))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(data.__file__).parents[2])}
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert {each.name for each in tmp_path.iterdir()} == {"x.npz", "own.yaml"}


def test_a_file_of_one_trial_need_not_say_the_content(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz")
    (tmp_path / "trial.yaml").write_text(
        "{dataset: {name: arrays, file: x.npz}, epochs: 1, global_batch_size: 8, seed: 1, "
        "model: {name: conv2, width_mult: 0.1}, method: {name: weights, lr: 0.1}}"
    )
    assert load_trial(tmp_path / "trial.yaml", Contents(tmp_path)).trial_id in ids(tmp_path, arrays("x.npz"))
