"""A name belongs to one sweep in a results folder: two files of one name overwrite nothing of each other."""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.fake_results import write_result
from support.sweep_processes import write_sweep

from analysis import figures, tables
from analysis import report as page
from analysis.reports import report
from suite import cli
from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import kept_plans
from suite.records.ledger import Ledger
from suite.sweep import __main__ as sweep_command

Said = pytest.CaptureFixture[str]
ROOT = Path("results")
PLAN = ROOT / "sweeps" / "tiny.yaml"


@pytest.fixture(autouse=True)
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A sweep that was run."""
    monkeypatch.chdir(tmp_path)
    found = load_sweep(write_sweep(Path("first.yaml"), epochs=1))
    kept_plans.keep(found, ROOT)
    for trial in found.trials.values():
        write_result(Ledger(ROOT), trial)
    return found


def other(file: str = "other.yaml", *, epochs: int = 5, seeds: tuple[int, ...] = (1, 2)) -> Path:
    return write_sweep(Path(file), epochs=epochs, seeds=seeds)


def call(*args: str) -> int:
    return cli.run(lambda: sweep_command.main(list(args)))


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--launcher", "slurm", "--profile", "test", "--dry-run"]])
def test_another_sweep_of_the_name_is_refused_with_both_files(more: list[str], capsys: Said) -> None:
    before = {path: path.read_bytes() for path in ROOT.rglob("*") if path.is_file()}
    other()
    assert call("other.yaml", *more) == 2
    assert capsys.readouterr().err == (
        f"other.yaml: name: tiny: is the name of another sweep in results: {os.path.abspath('first.yaml')}, with "
        "6 trials, 0 of them in this one: give this one another name, or --results another folder\n"
    )
    assert {path: path.read_bytes() for path in ROOT.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", [tables, figures, page])
def test_nor_is_its_report_overwritten(command: object, capsys: Said) -> None:
    other()
    assert cli.run(lambda: command.main(["other.yaml"])) == 2  # type: ignore[attr-defined]
    assert "is the name of another sweep" in capsys.readouterr().err
    assert not (ROOT / "reports").exists()


def test_a_file_that_was_edited_is_the_same_sweep() -> None:
    write_sweep(Path("first.yaml"), epochs=7)  # not one trial is as it was
    kept_plans.check(load_sweep("first.yaml"), ROOT)
    Path("link.yaml").symlink_to("first.yaml")
    kept_plans.check(load_sweep("link.yaml"), ROOT)
    os.chdir(ROOT)
    kept_plans.check(load_sweep("../first.yaml"), Path())


@pytest.mark.parametrize(
    ("seeds", "same"),
    [((1, 2), True), ((1, 2, 3, 4, 5, 6), True), ((1,), True), ((2, 3, 4, 5), False), ((3, 4), False), ((1, 3), False)],
)
def test_a_file_of_another_path_is_judged_by_its_trials(seeds: tuple[int, ...], same: bool) -> None:
    moved = load_sweep(other(epochs=1, seeds=seeds))
    with contextlib.nullcontext() if same else pytest.raises(InputError, match="is the name of another sweep"):
        kept_plans.check(moved, ROOT)


def test_the_plan_names_its_file_and_the_copies_that_jobs_are_given_change_nothing(first: Sweep) -> None:
    line = f'# planned from: "{os.path.abspath("first.yaml")}"'
    assert PLAN.read_text().splitlines()[0] == line
    assert yaml.safe_load(PLAN.read_text())["name"] == "tiny"
    assert load_sweep(PLAN).trials == first.trials
    copy = ROOT / "driver" / "tiny" / "sweep.yaml"
    copy.parent.mkdir(parents=True)
    shutil.copyfile("first.yaml", copy)
    kept_plans.keep(load_sweep(copy), ROOT)
    assert PLAN.read_text().splitlines()[0] == line
    shutil.move("first.yaml", "moved.yaml")
    kept_plans.keep(load_sweep("moved.yaml"), ROOT)
    assert "moved.yaml" in PLAN.read_text().splitlines()[0]


def test_a_plan_of_an_earlier_version_is_judged_by_its_trials_alone(first: Sweep) -> None:
    trials = [trial.model_dump(mode="json") for trial in first.trials.values()]
    PLAN.write_text(yaml.safe_dump({"name": "tiny", "grid": trials}))
    kept_plans.check(first, ROOT)
    with pytest.raises(InputError, match=r"another sweep in results: results/sweeps/tiny.yaml, with 6 trials"):
        kept_plans.check(load_sweep(other()), ROOT)
    PLAN.write_text("name: tiny\ngrid: {a setting: of long ago}\n")
    kept_plans.check(load_sweep(other()), ROOT)


@contextlib.contextmanager
def piped(text: str) -> Iterator[Path]:
    """A path of a pipe, as a shell makes it for ``<(...)``."""
    end, begin = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(begin, text.encode()), os.close(begin)))
    writer.start()
    yield Path(f"/dev/fd/{end}")
    writer.join()
    os.close(end)


def test_pipes_are_no_paths_that_name_a_sweep(first: Sweep) -> None:
    with piped(first.text) as path:
        found = load_sweep(path)
        kept_plans.keep(found, ROOT)
    with piped(other().read_text()) as path, pytest.raises(InputError, match="is the name of another sweep"):
        kept_plans.check(load_sweep(path), ROOT)


def test_the_copy_of_a_pipe_is_whole_and_so_is_its_report(first: Sweep) -> None:
    with piped(first.text) as path:
        sweep = load_sweep(path)
        sweep_command._keep_resolved(sweep, Ledger(ROOT))
        text = report._repeat(sweep, ROOT, ())
    assert (ROOT / "reports/tiny/sweep.yaml").read_text() == first.text
    assert "python -m suite.sweep results/sweeps/tiny.yaml --results results" in text
    assert load_sweep("results/sweeps/tiny.yaml").trials == first.trials


@pytest.mark.parametrize(
    ("file", "results", "said"),
    [
        ("first.yaml", "results", "first.yaml --results results"),
        ("mine/first.yaml", "out/results", "mine/first.yaml --results out/results"),
        ("sweeps/study/fashion_width.yaml", "results", "sweeps/study/fashion_width.yaml --results results"),
        ("fashion_width", "results", "sweeps/study/fashion_width.yaml --results results"),
    ],
)
def test_what_a_report_prints_can_be_run(file: str, results: str, said: str) -> None:
    Path("mine").mkdir()
    shutil.copyfile("first.yaml", "mine/first.yaml")
    text = report._repeat(load_sweep(file), Path(results), ())
    assert f"python -m suite.sweep {said}\n" in text
    load_sweep(said.split()[0])


def test_a_file_that_was_edited_after_its_folder_moved_is_the_same_sweep(tmp_path: Path) -> None:
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    os.chdir(moved)
    write_sweep(Path("first.yaml"), epochs=7)
    kept_plans.check(load_sweep("first.yaml"), ROOT)
    with pytest.raises(InputError, match="is the name of another sweep"):
        kept_plans.check(load_sweep(other()), ROOT)


def test_two_files_in_the_results_folder_are_two_sweeps() -> None:
    home = Path("home")
    home.mkdir()
    kept_plans.keep(load_sweep(write_sweep(home / "one.yaml", epochs=1)), home)
    with pytest.raises(InputError, match="is the name of another sweep"):
        kept_plans.keep(load_sweep(other("home/two.yaml")), home)


def test_a_plan_of_options_that_is_run_again_keeps_its_label(first: Sweep) -> None:
    some = load_sweep("first.yaml", only=["seed=1"])
    kept_plans.keep(some, ROOT)
    again = load_sweep(ROOT / "sweeps" / f"{some.label}.yaml")
    assert again.label == some.label != first.label
    kept_plans.keep(again, ROOT)
    assert load_sweep(PLAN).trials == first.trials


def test_a_plan_of_an_earlier_version_may_be_large(first: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [trial.model_dump(mode="json") for trial in first.trials.values()]
    PLAN.write_text(yaml.safe_dump({"name": "tiny", "grid": trials}))
    monkeypatch.setattr("suite.config.sweep_file._MOST_BYTES", 100)
    with pytest.raises(InputError):
        load_sweep(PLAN)
    assert load_sweep(PLAN, is_plan=True).trials == first.trials
