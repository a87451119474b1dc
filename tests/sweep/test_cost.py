"""What a sweep will cost: of made-up records by hand-computed numbers, and measured once for real."""

import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support.fake_results import fake_result, write_result
from support.sweep_processes import write_sweep
from support.trial_processes import METHODS, trial_of

from suite import cli, tracking
from suite.config import InputError, Trial
from suite.launch import inline
from suite.records import Summary
from suite.records.ledger import Ledger
from suite.slurm.profile import Profile
from suite.sweep import __main__ as sweep
from suite.sweep import cost, progress
from suite.sweep.cost import Cost, CostModel, kind_of
from suite.sweep.plan import Plan
from suite.tracking import background
from suite.train import calibrate

PACE = CostModel(epoch=10.0, test=4.0, state_bytes=1e6, record_bytes=2000.0)
NOTHING = Cost(trials=0, unknown=0, seconds=0, wall=0, gpu_hours=0, disk_bytes=0, scratch_bytes=0)


def kind(trial: Trial) -> str:
    return kind_of(trial.model_dump(mode="json"))


def changed(name: str, changes: dict[str, Any]) -> Trial:
    return Trial.model_validate({**trial_of(name).model_dump(mode="json"), **changes})


def method(name: str, **changes: Any) -> dict[str, Any]:
    return {"method": {"name": name, **METHODS[name], **changes}}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Of so many CPUs and GPUs."""

    def machine(cpus: int, gpus: int = 0) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)))
        monkeypatch.setattr(Path, "glob", lambda self, pattern: [Path(f"/dev/nvidia{i}") for i in range(gpus)])

    return machine


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"epochs": 9},
        {"schedule": {"warmup_epochs": 1}},
        {"checkpoint": {"every_seconds": 9}},
        {"resources": {"cpus": 2}},
        method("iterand", lr=0.5),
        method("iterand", sparsity=0.9),
        method("iterand", rerandomize_every=3),
    ],
)
def test_what_takes_no_time_makes_no_kind(changes: dict[str, Any]) -> None:
    assert kind(changed("iterand", changes)) == kind(trial_of("iterand"))


@pytest.mark.parametrize(
    "changes",
    [
        method("edge_popup"),
        method("weights"),
        {"model": {"name": "conv2", "width_mult": 0.25}},
        {"model": {"name": "conv4", "width_mult": 0.125}},
        {"dataset": {"name": "fashion_mnist"}},
        {"global_batch_size": 128},
        {"threads": 2},
        {"processes": 2},
        {"precision": "bf16"},
        {"evaluate_test": False},
        {"resources": {"gpus": 0.25}},
    ],
)
def test_what_takes_time_makes_a_kind(changes: dict[str, Any]) -> None:
    assert kind(changed("iterand", changes)) != kind(trial_of("iterand"))


def test_an_epoch_costs_the_median_of_like_trials_and_unlike_ones_are_counted_apart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    like = [
        (trial_of("edge_popup", seed=1, epochs=1), 10.0),
        (changed("edge_popup", {"seed": 2, "epochs": 2, **method("edge_popup", lr=0.1)}), 60.0),
        (changed("edge_popup", {"seed": 3, "epochs": 4, **method("edge_popup", sparsity=0.9)}), 80.0),
    ]
    for trial, seconds in like:
        write_result(ledger, trial, seconds=seconds, num_epochs=trial.epochs)  # 10, 30 and 20 s an epoch
    write_result(ledger, trial_of("weights"), seconds=1.0, num_epochs=1)
    write_result(ledger, trial_of("iterand"), seconds=5.0, num_epochs=0, status="diverged")  # at once: no pace
    folders = list((tmp_path / "trials").iterdir())
    ledger.lookup({path.name: trial_of("weights") for path in folders})  # what is looked at stands in the index
    sizes = sorted(sum(path.stat().st_size for path in ledger.folder(trial.trial_id).iterdir()) for trial, _ in like)
    known = cost.cost_models(ledger)
    assert known.keys() == {kind(trial_of("edge_popup")), kind(trial_of("weights"))}
    assert known[kind(trial_of("edge_popup"))] == CostModel(20.0, 0.0, state_bytes=1500.0, record_bytes=sizes[1])

    asked = [trial_of("edge_popup", seed=9, epochs=5), trial_of("weights", epochs=3), trial_of("iterand")]
    estimated = cost.estimate(asked, known, at_once=1)
    assert (estimated.trials, estimated.unknown, estimated.seconds, estimated.wall) == (3, 1, 103.0, 103.0)
    assert estimated.gpu_hours == 0 and estimated.scratch_bytes == 3 * 1500


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "wall"),
    [
        ({}, 2, 0, 48.0),  # two at once, 24 s each
        ({"cpus": 0.5}, 2, 0, 24.0),
        ({"cpus": 2}, 2, 0, 96.0),
        ({"cpus": 8}, 2, 0, 96.0),
        ({"cpus": 0.1, "gpus": 0.25}, 2, 1, 24.0),
        ({"cpus": 0.1, "gpus": 1}, 2, 1, 96.0),
        ({"cpus": 0.1, "gpus": 1}, 2, 2, 48.0),
        ({"cpus": 1, "gpus": 0.25}, 2, 1, 48.0),  # there are not CPUs enough
        ({"cpus": 0.1, "gpus": 0.6}, 2, 2, 48.0),  # one on each: what is left of two GPUs makes no third
        ({"cpus": 0.1, "gpus": 2}, 2, 4, 48.0),
    ],
)
def test_the_wall_time_of_four_trials(
    resources: dict[str, float], cpus: int, gpus: int, wall: float, machine: Callable[..., None]
) -> None:
    machine(cpus, gpus)
    processes = max(1, int(resources.get("gpus", 1)))
    trials = [trial_of("weights", seed=i, epochs=2, processes=processes, resources=resources) for i in range(4)]
    estimated = cost.estimate(trials, {kind(trials[0]): PACE})
    assert (estimated.wall, estimated.seconds) == (wall, 96.0)
    assert estimated.gpu_hours == pytest.approx(96 * resources.get("gpus", 0) / 3600)
    assert estimated.disk_bytes == 8000


def test_no_sweep_is_shorter_than_its_longest_trial_and_no_more_checkpoints_lie_there_than_trials_run() -> None:
    one, short = trial_of("weights", epochs=100), trial_of("weights", epochs=1)
    assert cost.estimate([one, short], {kind(one): PACE}, at_once=32).wall == 1004
    assert cost.estimate([one, short], {kind(one): PACE}, at_once=2).wall == 1004
    assert cost.estimate([one, short], {kind(one): PACE}, at_once=1).wall == 1018
    assert cost.estimate([one, short], {kind(one): PACE}, at_once=1).scratch_bytes == 3e6
    assert cost.estimate([one, short], {kind(one): PACE}, at_once=32).scratch_bytes == 6e6
    assert cost.estimate([], {}) == NOTHING


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Cost(2, 2, 0, 0, 0, 0, 0), "cost: unknown until trials like these have run; --calibrate times a few steps"),
        (
            Cost(3, 0, 7384, 3692.4, 0, 2e6, 999),
            "cost: 1:01:32 (2:03:04 of trials), 2 MB of records, up to 999 bytes of checkpoints meanwhile",
        ),
        (Cost(2, 0, 60, 59.6, 1.5, 0, 3e9), "cost: 0:01:00 (0:01:00 of trials, 1.5 GPU-hours), up to 3 GB of"),
        (Cost(2, 1, 60, 60, 0, 0, 0), "; without 1 trials, as none like them has run yet"),
        (Cost(2, 0, 60, 60, 0, 0, 999_600), "up to 1 MB of checkpoints"),
    ],
)
def test_the_cost_in_a_line(found: Cost, told: str) -> None:
    assert told in found.text() and "\n" not in found.text()


def test_the_cost_of_nothing_is_not_unknown() -> None:
    assert "not known" not in NOTHING.text()


def test_the_estimate_stands_beside_what_came_of_it() -> None:
    summaries = [Summary.of(fake_result(trial_of("weights", seed=seed), seconds=50.0), 10) for seed in range(2)]
    estimated = Cost(2, 0, 120, 60, 0, 0, 0)
    told, kept = cost.compared(estimated, summaries, 55.0)
    assert told == "took 0:00:55 (0:01:40 of trials); estimated: 0:01:00 (0:02:00 of trials)"
    assert kept["actual"] == {"trials": 2, "seconds": 100.0, "wall": 55.0} and kept["estimated"]["wall"] == 60
    assert cost.compared(Cost(2, 2, 0, 0, 0, 0, 0), summaries, 55.0)[0] == "took 0:00:55 (0:01:40 of trials)"


@pytest.mark.slow
def test_some_steps_foretell_what_an_epoch_takes(tmp_path: Path) -> None:
    trials = [trial_of(name, seed=seed, epochs=4) for name in ("weights", "edge_popup") for seed in (1, 2)]
    there = {"another": PACE}
    known = cost.calibrate(trials, there, None)
    assert known.keys() == {"another", *map(kind, trials)} and there == {"another": PACE}
    assert cost.calibrate(trials, known, Path("no such folder")) == known  # nothing is measured twice
    for trial in trials[::2]:
        pace = known[kind(trial)]
        result = inline.run(trial, tmp_path / trial.method.name, data_dir=None)
        assert 0 < pace.test < 60 and 0 < pace.epoch < 60 and pace.record_bytes == 0
        assert pace.state_bytes == result.state_bytes_per_weight * result.params_total


def test_epochs_of_one_or_two_steps_have_a_cost_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "_evaluation_seconds", lambda run, split: 0.0)
    monkeypatch.setattr(calibrate, "_STEP_SECONDS", 0.1)
    assert calibrate.measure(trial_of("weights", global_batch_size=1024), None)["epoch"] > 0


def test_several_processes_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(InputError, match=r"^processes: 2: --calibrate measures trials of one process"):
        cost.calibrate([trial_of("weights"), trial_of("weights", processes=2)], {}, None)


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("echo a traceback >&2; echo 'Error: why' >&2; exit 1", "Error: why"),
        ("kill -9 $$", "--calibrate: ended without a word"),
    ],
)
def test_a_calibration_that_fails_is_told_in_a_line(
    does: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat >/dev/null\n{does}\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError) as caught:
        cost.calibrate([trial_of("weights")], {}, None)
    assert caught.value.problems == (told,)


def test_nothing_is_measured_here_for_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Profile, "check_place", lambda profile, root: None)
    file = write_sweep(tmp_path / "tiny.yaml")
    flags = [str(file), "--results", str(tmp_path / "results"), "--calibrate", "--launcher", "slurm"]
    assert cli.run(lambda: sweep.main([*flags, "--profile", "cpu"])) == 2
    said = capsys.readouterr().err
    assert "--calibrate: measures on this machine, not on the cluster" in said and said.count("\n") == 1


def test_the_dry_run_and_the_report_tell_the_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_sweep(tmp_path / "tiny.yaml", seeds=(1,), epochs=3)
    monkeypatch.setattr(progress.console, "width", 200)
    flags = [str(file), "--results", str(tmp_path / "results")]

    def run(plan: Plan, found: Any, ledger: Ledger, *rest: object) -> None:
        for trial in plan.to_run.values():
            write_result(ledger, trial, seconds=30.0, num_epochs=3)

    artifacts: list[Path] = []
    monkeypatch.setattr(sweep, "_run", run)
    monkeypatch.setattr(sweep, "_report", lambda *about, **how: [])
    monkeypatch.setattr(background, "publishing", lambda *about: nullcontext())
    monkeypatch.setattr(tracking, "publish", lambda *rest, report, **named: (artifacts.extend(report), "1"))
    assert sweep.main([*flags, "--dry-run"]) == 0
    assert "cost: unknown until trials like these have run" in capsys.readouterr().out
    assert sweep.main(flags) == 0
    assert "took 0:00:0" in capsys.readouterr().out
    file = write_sweep(file, seeds=(1, 2), epochs=6)
    assert sweep.main([*flags, "--dry-run"]) == 0
    assert "(0:06:00 of trials)" in capsys.readouterr().out  # of 6 trials, 60 s each
    assert sweep.main(flags) == 0
    assert "estimated: " in capsys.readouterr().out
    report = tmp_path / "results/reports/tiny/cost.json"
    kept = json.loads(report.read_text())
    assert kept["estimated"]["seconds"] == 360 and kept["actual"]["seconds"] == 180 and report in artifacts
    assert sweep.main([*flags, "--dry-run"]) == 0
    assert "not known" not in capsys.readouterr().out  # nothing is left to run
    assert sweep.main(flags) == 0
    assert json.loads(report.read_text()) == kept  # a call that ran nothing leaves it
