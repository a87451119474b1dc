"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from suite.sweepfile import load_sweep


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_the_optimizer_alone() -> None:
    (code,) = blocks("python")
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    batches = [(torch.randn(5, 3, 2, 2), torch.randint(3, (5,))) for _ in range(3)]
    exec(code, scope := {"torch": torch, "model": model, "batches": batches})
    for layer in (model[1], model[3]):
        assert torch.equal(layer.weight == 0, ~scope["optimizer"].mask(layer.weight))


def test_the_sweep_file(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "my.yaml").write_text(text)
    assert len(load_sweep(tmp_path / "my.yaml").trials) == 3 * 3 * 4


def test_the_table_is_the_default_sweeps() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    sweep = load_sweep(Path(__file__).parents[1] / "sweeps/width_vs_acc.yaml")
    widths = {f"{trial.model.width_mult:g}" for trial in sweep.trials.values()}
    shown = re.findall(r"^\| +([\d.]+) \| (\w+) +\| 5 of 5 \|", readme, re.MULTILINE)
    assert {width for width, _ in shown} == widths
    assert {method for _, method in shown} == {trial.method.name for trial in sweep.trials.values()}
    for trial in sweep.trials.values():
        row = rf"\| {trial.method.name} \| {trial.method.lr:g} \| {trial.method.weight_decay:g} \|"
        assert re.search(row, readme), row


@pytest.mark.parametrize("target", ["docs/width_vs_acc.png", "docs/mlflow.png", "CONTRIBUTING.md"])
def test_what_it_points_to_is_there(target: str, repository: Path) -> None:
    assert (repository / target).exists()
