"""What the pages tell people to add works as printed: a method, a network, a data set, a setting, a table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.documents import ROOT, commands, copy_with_example

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
    """The output of ``python -m`` with the code in ``code``."""
    environment = os.environ | {"PYTHONPATH": f"{code}:{code}/tests", "OMP_NUM_THREADS": "1"}
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


def test_a_method(tmp_path: Path) -> None:
    code = copy_with_example(tmp_path / "code", "docs/how-to/own_method.md")
    method = TRIAL["method"] | {"name": "iterand_once"}
    once, often = (train(code, tmp_path / each["name"], method=each, epochs=3) for each in (method, TRIAL["method"]))
    assert once["status"] == "done" and once["metrics"] != often["metrics"]
    (command,) = commands(ROOT / "docs/how-to/own_method.md")
    assert " passed" in run(code, *command.split()[2:], folder=code)


def test_a_network(tmp_path: Path) -> None:
    code = copy_with_example(tmp_path / "code", "docs/how-to/own_network.md")
    record = train(code, tmp_path / "run", model={"name": "mlp", "width_mult": 0.25})
    assert record["params_total"] == 64 * 16 + 16 + 16 * 10 + 10
    assert "equal" in run(code, "suite.tickets", "verify", tmp_path / "run/trial", folder=tmp_path)


def test_a_data_set(tmp_path: Path) -> None:
    code, random = copy_with_example(tmp_path / "code", "docs/how-to/own_data.md"), np.random.default_rng(0)
    (tmp_path / "run").mkdir()
    images = random.integers(0, 256, (500, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "run/blobs.npz", images=images, labels=np.repeat(np.arange(10), 50))
    record = train(code, tmp_path / "run", dataset="blobs")
    assert len(record["test_correct"]) > 0 and record["metrics"]["train/loss"] > 0


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
