"""The gate: what it says of made-up results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import gate as gate_command
from analysis.reports import gate
from analysis.reports.gate import METRICS, ReferenceTrial
from suite.config import InputError, Trial
from suite.config.sweep_file import Sweep, load_sweep
from suite.records.ledger import Ledger

DESIGN = "sweeps/width_vs_acc.yaml"
KEPT, FRESH = list(range(1001, 1016)), [1, 2, 3, 4, 5]  # 15,504 ways to choose the fresh ones


def metrics(trial: Trial, worse: float = 0.0) -> dict[str, Any]:
    """Numbers of a trial that nobody trained, as a function of its identity."""
    noise = int(trial.trial_id, 16) % 997 / 997
    accuracy, loss = 0.98 - 0.01 * noise - worse, 0.1 + 0.1 * noise
    found = {"test/top1": accuracy, "val/top1": accuracy, "train/loss": loss, "test/loss": loss}
    return {"metrics": found, "data_id": "data"}


@pytest.fixture
def kept(sweep: Callable[..., Sweep], fill: Callable[..., Ledger], tmp_path: Path) -> tuple[Path, Path]:
    """The sweep file of five seeds, and a reference of other seeds and of seed 1."""
    sweep(("[1, 2, 3]", str(FRESH)))
    path, reference = tmp_path / "sweep.yaml", tmp_path / "reference.json"
    seeds = f"seed={[1, *KEPT]}"
    fill(load_sweep(path, overrides=[seeds]), metrics)
    assert (
        gate_command.main([str(path), "--set", seeds, "--results", str(tmp_path / "results"), *at(reference), "--keep"])
        == 0
    )
    return path, reference


def at(reference: Path) -> list[str]:
    return ["--reference", str(reference)]


@pytest.fixture
def judged(kept: tuple[Path, Path], fill: Callable[..., Ledger]) -> Callable[..., tuple[bool, list[str]]]:
    """What the gate says of results, by ``change(trial)`` as ``fill`` has it."""

    def judged(change: Callable[[Trial], Any] = metrics, **options: Any) -> tuple[bool, list[str]]:
        sweep = load_sweep(kept[0])
        passed, text = gate.judge(sweep, fill(sweep, change), gate.read(kept[1]), **options)
        return passed, text.splitlines()

    return judged


def test_unchanged_results_pass(judged: Callable[..., Any]) -> None:
    passed, lines = judged()
    assert passed and lines[-1] == "gate: passed"
    assert sum(line.endswith("same      |") for line in lines) == 4 + 2 * 3  # cells; series x measures
    assert "bits: 4 of the kept trials came out equal, 0 differ that should not" in lines


@pytest.mark.parametrize("method", ["weights", "edge_popup"])
def test_a_method_that_got_worse_fails_by_name(judged: Callable[..., Any], method: str) -> None:
    passed, lines = judged(lambda trial: metrics(trial, 0.03 * (trial.method.name == method)), other_machine=True)
    assert not passed and lines[-1].startswith(f"gate: FAILED: {method}, conv2 x")
    changed = [line for line in lines if "CHANGED" in line]
    assert len(changed) == 3  # two widths, and their errors; the losses are as before
    assert all(line.startswith(f"| {method}, conv2") for line in changed)
    assert all(-3.5 < float(line.split("|")[7]) < -2.5 for line in changed[:2])


def test_the_table_shows_means_and_numbers_of_seeds(judged: Callable[..., Any], kept: tuple[Path, Path]) -> None:
    _, lines = judged()
    own = [t for t in load_sweep(kept[0]).trials.values() if t.method.name == "weights" and t.model.width_mult == 0.5]
    mean = np.mean([metrics(trial)["metrics"]["test/top1"] for trial in own])
    row = next(line for line in lines if line.startswith("| weights, conv2 x0.5")).split("|")
    assert [cell.strip() for cell in row][4:7] == ["15", f"{100 * mean:.2f}", "5"]


@pytest.mark.parametrize(
    ("change", "said"), [(None, "missing"), ({"status": "diverged"}, "diverged")], ids=["missing", "diverged"]
)
def test_a_trial_that_is_not_done_fails_by_name(judged: Callable[..., Any], change: Any, said: str) -> None:
    def results(trial: Trial) -> dict[str, Any] | None:
        this = trial.seed == 3 and trial.method.name == "weights" and trial.model.width_mult == 0.25
        return metrics(trial) if not this else change and metrics(trial) | change

    passed, lines = judged(results)
    assert not passed
    assert lines[0] == f"{said}: weights, conv2 x0.25, digits, seed 3"


def test_bits_of_the_same_code_and_machine_must_be_equal(judged: Callable[..., Any]) -> None:
    def one_prediction(trial: Trial) -> dict[str, Any]:
        return metrics(trial) | {"test_predictions": [int(trial.seed == 1), *[0] * 359]}

    passed, lines = judged(one_prediction)
    assert not passed and lines[-1].startswith("gate: FAILED: bits of 4 trials")
    assert judged(one_prediction, other_machine=True)[0]


RESUMED = {  # the last attempt on the kind of machine that the reference has, the first on another one
    "attempts": [{"epoch": 0, "step": 10 * i, "host": "h", "devices": [name]} for i, name in enumerate(("TPU", "CPU"))]
}


@pytest.mark.parametrize("other", [{"code_id": "new"}, {"device": "TPU"}, {"versions": {"torch": "2.12"}}, RESUMED])
def test_bits_of_another_code_or_machine_may_differ(judged: Callable[..., Any], other: dict[str, Any]) -> None:
    passed, lines = judged(lambda trial: metrics(trial) | {"test_predictions": [1] * 360} | other)
    assert passed
    assert "bits: 0 of the kept trials came out equal, 0 differ that should not" in lines


def test_a_package_that_one_did_without_decides_no_bits(judged: Callable[..., Any], kept: tuple[Path, Path]) -> None:
    versions = gate.read(kept[1]).versions | {"nvidia-dali-cuda130": "2.4.0"}
    passed, lines = judged(lambda trial: metrics(trial) | {"test_predictions": [1] * 360, "versions": versions})
    assert not passed and lines[-1].startswith("gate: FAILED: bits of 4 trials")


def test_of_more_seeds_the_first_five_are_compared(
    kept: tuple[Path, Path], fill: Callable[..., Ledger], tmp_path: Path
) -> None:
    """Ten fresh and fifteen kept seeds have three million arrangements: more than are looked at."""
    more = load_sweep(kept[0], overrides=[f"seed={list(range(1, 11))}"])
    few = fill(more, lambda trial: metrics(trial) if trial.seed not in (4, 9) else None)
    missing = gate.judge(more, few, gate.read(kept[1]))[1].splitlines()
    assert [line for line in missing if line.startswith("missing: ")] == missing[:-1] and len(missing) == 5
    assert all(line.endswith("seed 4") for line in missing[:-1])
    results = fill(more, lambda trial: metrics(trial) if trial.seed <= 5 else None)  # the others may be missing
    passed, text = gate.judge(more, results, gate.read(kept[1]))
    row = next(line for line in text.splitlines() if line.startswith("| weights, conv2 x0.5"))
    assert passed and row.split("|")[6].strip() == "5"
    worse = fill(more, lambda trial: metrics(trial, 0.03 * (trial.seed <= 5)))
    assert not gate.judge(more, worse, gate.read(kept[1]), other_machine=True)[0]


def test_results_of_other_data_are_an_error(judged: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="data other: must be that of the reference: data"):
        judged(lambda trial: metrics(trial) | {"data_id": "other"})


def test_results_without_a_test_are_an_error(judged: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="has no test/loss, test/top1"):
        judged(lambda trial: {"metrics": {"train/loss": 1.0, "test/top1": None}, "data_id": "data"})


def test_other_settings_than_those_of_the_reference_are_an_error(
    kept: tuple[Path, Path], fill: Callable[..., Ledger]
) -> None:
    changed = load_sweep(kept[0], overrides=["epochs=2"])
    with pytest.raises(InputError, match=r"weights, conv2 x0.5, digits: the reference has no trial .* other settings"):
        gate.judge(changed, fill(changed, metrics), gate.read(kept[1]))


def test_only_what_is_done_is_kept(kept: tuple[Path, Path], tmp_path: Path) -> None:
    sweep = load_sweep(kept[0], overrides=["epochs=2"])
    with pytest.raises(InputError, match="20 of 20 trials are not done"):
        gate.keep(sweep, Ledger(tmp_path / "results"), tmp_path / "other.json")


def test_results_of_two_codes_are_not_kept(
    kept: tuple[Path, Path], fill: Callable[..., Ledger], tmp_path: Path
) -> None:
    sweep = load_sweep(kept[0], overrides=["epochs=3"])
    ledger = fill(sweep, lambda trial: metrics(trial) | {"code_id": f"code{trial.seed % 2}"})
    with pytest.raises(InputError, match="more than one code"):
        gate.keep(sweep, ledger, tmp_path / "other.json")


def test_results_of_two_kinds_of_machines_are_not_kept(
    kept: tuple[Path, Path], fill: Callable[..., Ledger], tmp_path: Path
) -> None:
    sweep = load_sweep(kept[0], overrides=["epochs=3"])
    ledger = fill(sweep, lambda trial: metrics(trial) | RESUMED)
    with pytest.raises(InputError, match="more than one code, data set or kind of machine"):
        gate.keep(sweep, ledger, tmp_path / "other.json")


@pytest.mark.parametrize("text", ["", "{}", '{"trials": {"a": [1]}}', "[]", None])
def test_a_garbled_or_missing_reference_is_an_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "r.json").write_text(text)
    with pytest.raises(InputError, match=r"r.json: is no reference .*: --keep writes one"):
        gate.read(tmp_path / "r.json")


def test_the_command_ends_with_its_verdict(
    kept: tuple[Path, Path], fill: Callable[..., Ledger], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = load_sweep(kept[0])
    fill(sweep, metrics)
    arguments = [str(kept[0]), "--results", str(tmp_path / "results"), *at(kept[1])]
    assert gate_command.main(arguments) == 0
    assert "false alarms: at most 0.001, over all 10 comparisons" in capsys.readouterr().out
    fill(sweep, lambda trial: metrics(trial, 0.05))
    assert gate_command.main([*arguments, "--other-machine"]) == 1


def test_the_kept_reference_is_of_the_default_sweep(repository: Path) -> None:
    """Settings that were changed make it useless: docs/explanation/gate.md says how it is made again."""
    reference, sweep = gate.read(gate_command.REFERENCE), load_sweep(repository / DESIGN)
    planned = {trial.seed for trial in sweep.trials.values()}
    seeds = {kept.seed for kept in reference.trials.values()}
    assert len(seeds - planned) >= 12
    ids = {trial.model_copy(update={"seed": seed}).trial_id for trial in sweep.trials.values() for seed in seeds}
    assert ids == reference.trials.keys()
    assert all(kept.metrics.keys() == set(METRICS) for kept in reference.trials.values())


def test_a_reference_comes_back_as_it_was_kept(kept: tuple[Path, Path]) -> None:
    found = json.loads(kept[1].read_text())
    assert {name: ReferenceTrial(*trial) for name, trial in found["trials"].items()} == gate.read(kept[1]).trials
    assert (found["code_id"], found["data_id"]) == ("code", "data")
