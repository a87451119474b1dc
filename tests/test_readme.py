"""The code and the files that the README and docs/reference/api.md show work as printed."""

import re
from pathlib import Path

import pytest
import torch

import suite
from suite.config.sweep_file import load_sweep


def blocks(language: str, file: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (Path(__file__).parents[1] / file).read_text(), re.DOTALL)


def test_the_python_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, code = blocks("python", "docs/reference/api.md")
    exec(names, scope := {})
    assert set(suite.__all__) == scope.keys() - {"__builtins__"}
    exec(code, {})  # it asserts that the loaded network says the same


def test_the_optimizer_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line and not line.startswith("import torch")]) <= 12
    exec(code, scope := {})
    model, images, labels = scope["model"], scope["images"], scope["labels"]
    for layer in (model[0], model[2]):
        mask = scope["optimizer"].mask(layer.weight)
        assert torch.equal(layer.weight == 0, ~mask)
        assert (~mask).sum() == round(0.5 * (mask.numel() - 1))
    assert (model(images).argmax(1) == labels).float().mean() > 0.9  # it has learnt something


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


@pytest.mark.parametrize(
    "target",
    [
        "docs/images/width_vs_acc.png",
        "docs/images/mlflow.png",
        "CONTRIBUTING.md",
        "benchmarks/results/checkpoint_cost.md",
    ],
)
def test_what_it_points_to_is_there(target: str, repository: Path) -> None:
    assert (repository / target).exists()
