"""What the pages tell people to add works as printed: a method, a network, a data set, a setting, a table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.documents import ROOT, blocks, commands, copy_with_example
from support.own_images import write_arrays, write_classes
from support.plugin_packages import write_example

from suite.sweep import __main__ as sweep_command

pytestmark = pytest.mark.slow
TRIAL: dict[str, Any] = {
    "dataset": "digits",
    "model": {"name": "conv2", "width_mult": 0.0625},
    "method": {"name": "iterand", "lr": 1.0, "sparsity": 0.5, "rerandomize_every": 10},
    "seed": 1,
    "epochs": 1,
    "global_batch_size": 64,
}


def run(code: Path, *arguments: object, folder: Path) -> str:
    """The output of ``python -m`` with the code in ``code``: a copy of the suite, or packages beside it."""
    environment = os.environ | {"PYTHONPATH": f"{code}:{code}/tests:{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def train(code: Path, folder: Path, **changed: Any) -> dict[str, Any]:
    """The record of a trial of one epoch, by the command."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(TRIAL | changed))
    run(code, "suite.train", "config.json", "--folder", folder / "trial", "--data-dir", folder, folder=folder)
    record: dict[str, Any] = json.loads((folder / "trial" / "result.json").read_text())
    return record


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages beside the suite."""
    return tmp_path / "site"


def contract(site: Path, folder: Path, page: str, *more: object) -> str:
    """What the command of a page says that tests an example; a part of its tests."""
    (command,) = (
        each for each in commands(ROOT / page) if each.startswith("python -m suite.testing") and "--plugin" not in each
    )
    return run(site, *command.split()[2:5], *more, folder=folder)


def test_a_method(site: Path, tmp_path: Path) -> None:
    assert write_example(site, "docs/how-to/own_method.md") == "prune-once"
    method = TRIAL["method"] | {"name": "iterand_once"}
    once, often = (train(site, tmp_path / each["name"], method=each, epochs=3) for each in (method, TRIAL["method"]))
    assert once["status"] == "done" and once["metrics"] != often["metrics"]
    assert [use["package"] for use in once["plugins"]] == ["prune-once"] and once["code_id"] != often["code_id"]
    said = contract(site, tmp_path, "docs/how-to/own_method.md", "-k", "closure or resumed or settings_are")
    assert "ok    a resumed run equals an uninterrupted one (10 cases)" in said and "3 of 3 demands" in said


def test_a_method_in_one_file(tmp_path: Path) -> None:
    write_example(tmp_path, "docs/how-to/own_method.md")
    grid = {"method": {"name": "signed", "lr": 1.0, "sparsity": 0.5, "sign_share": 0.5}}
    base = {key: value for key, value in TRIAL.items() if key != "method"}
    (tmp_path / "signed.yaml").write_text(json.dumps({"name": "signed", "base": base, "grid": grid}))
    swept, tested = [each for each in commands(ROOT / "docs/how-to/own_method.md") if "--plugin" in each]
    empty = tmp_path / "empty"
    said = run(empty, *swept.split()[2:], folder=tmp_path)
    assert "Plugins: method signed of signed.py" in said
    (record,) = tmp_path.glob("results/trials/*/result.json")
    assert json.loads(record.read_text())["plugins"][0]["package"] == "signed.py"
    assert "ok    closure (1 case)" in run(empty, *tested.split()[2:], "-k", "closure", folder=tmp_path)


def test_a_network(site: Path, tmp_path: Path) -> None:
    write_example(site, "docs/how-to/own_network.md")
    record = train(site, tmp_path / "run", model={"name": "mlp", "width_mult": 0.25, "depth": 2})
    assert record["params_total"] == 64 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10
    assert "equal" in run(site, "suite.tickets", "verify", tmp_path / "run/trial", folder=tmp_path)
    assert "FAIL" not in contract(site, tmp_path, "docs/how-to/own_network.md")


def test_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Their sweep files are planned, and their images are read; other tests train on such images."""
    write_classes(tmp_path / "DATA/pets")
    write_arrays(tmp_path / "DATA/cells.npz")
    monkeypatch.chdir(tmp_path)
    found = [yaml.safe_load(each.text) for each in blocks("docs/how-to/own_data.md") if each.language == "yaml"]
    for name, sweep in {each["name"]: each for each in found if each["name"] in ("pets", "cells")}.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(sweep))
        assert sweep_command.main([f"{name}.yaml", "--data-dir", "DATA", "--dry-run"]) == 0
        assert "27 to run" in capsys.readouterr().out


def test_a_data_set(site: Path, tmp_path: Path) -> None:
    write_example(site, "docs/how-to/own_data.md")
    (tmp_path / "DATA").mkdir()
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (500, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "DATA/blobs.npz", images=images, labels=np.repeat(np.arange(10), 50))
    record = train(site, tmp_path / "DATA", dataset="blobs")
    assert len(record["test_correct"]) > 0 and record["metrics"]["train/loss"] > 0
    said = contract(site, tmp_path, "docs/how-to/own_data.md", "--data-dir", "DATA")
    assert "6 of 6 demands are met" in said


def test_a_setting(tmp_path: Path) -> None:
    code = copy_with_example(tmp_path / "code", "CONTRIBUTING.md", "A setting")
    plain, smooth = train(code, tmp_path / "plain"), train(code, tmp_path / "smooth", label_smoothing=0.1)
    assert plain["trial_id"] != smooth["trial_id"]
    assert plain["metrics"]["train/loss"] < smooth["metrics"]["train/loss"]


def test_a_table(tmp_path: Path) -> None:
    code = copy_with_example(tmp_path / "code", "CONTRIBUTING.md", "A table")
    (tmp_path / "results/trials").mkdir(parents=True)
    for seed in (1, 2):
        record = train(code, tmp_path / str(seed), seed=seed)
        (tmp_path / str(seed) / "trial").rename(tmp_path / "results/trials" / record["trial_id"])
    base = {key: value for key, value in TRIAL.items() if key != "seed"}
    (tmp_path / "two.yaml").write_text(json.dumps({"name": "two", "base": base, "grid": {"seed": [1, 2]}}))
    assert "Worst and best trial, %" in run(code, "analysis.tables", "two.yaml", folder=tmp_path)
    assert (tmp_path / "results/reports/two/extremes.csv").read_text().count("\n") == 2
