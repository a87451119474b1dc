"""What parts of the run sheet are made of: rows, cases without a result, records, wheels, prototypes."""

import gzip
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from support.fake_results import DIGITS_ID

from benchmarks import update
from benchmarks.gpu import rehearse, study, wheels
from benchmarks.gpu.files import rows_of
from benchmarks.gpu.grouped_trials import GroupedTrials
from benchmarks.gpu.machine import check_kernels
from benchmarks.gpu.many_trials import captured
from benchmarks.gpu.records import RecordFile, unpack
from benchmarks.gpu.sheet import NotMeasurable, Options, Sheet
from benchmarks.gpu.tests import SMOKE, gpu_test_files
from benchmarks.trainers import FUSED, SGD, Row, Trainer
from suite.config.sweep_file import load_sweep
from suite.data import sources
from suite.launch import inline
from suite.records.ledger import Ledger

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def sheet(tmp_path: Path) -> Iterator[Sheet]:
    made = Sheet(Options(CPU, seconds=60, smoke=False, out=tmp_path), tmp_path / "rows.jsonl")
    yield made
    made.close()


def raises(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "kind", "why"),
    [
        (NotMeasurable("no Triton"), "not measured", "no Triton"),
        (torch.OutOfMemoryError("CUDA out of memory.\nMore"), "not measured", "out of memory: CUDA out of memory."),
        (RuntimeError("device-side assert\nMore"), "failed", "RuntimeError: device-side assert"),
        (AssertionError(), "failed", "AssertionError: "),
    ],
)
def test_a_case_without_a_result_leaves_a_line(
    sheet: Sheet, error: Exception, kind: str, why: str, tmp_path: Path
) -> None:
    assert sheet.measure("it", raises(error)) is None
    assert sheet.measure("the next one", lambda: 3) == 3
    rows = [row for row in rows_of(tmp_path / "rows.jsonl") if row["kind"] != "begins"]
    assert rows == [{"kind": kind, "what": "it", "why": why}]
    assert sheet.num_failed == (kind == "failed")


def test_a_case_is_not_begun_without_time_for_it(sheet: Sheet, tmp_path: Path) -> None:
    assert sheet.measure("it", raises(RuntimeError("begun")), needs=100) is None
    assert [row["kind"] for row in rows_of(tmp_path / "rows.jsonl")] == ["not measured"]
    assert "needs 100 s" in next(rows_of(tmp_path / "rows.jsonl"))["why"]


def test_without_triton_a_part_says_so(sheet: Sheet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(NotMeasurable, match=r"do not take Triton's kernels \(ModuleNotFoundError: .*triton"):
        check_kernels(sheet)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_a_part_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--parts", "2", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    (row,) = rows_of(tmp_path / "out" / "2_updates.jsonl")
    assert row["kind"] == "failed" and "sees no CUDA GPU" in row["why"]


def test_records_come_back_as_results(tmp_path: Path) -> None:
    sweep = load_sweep(study.SWEEP, overrides=["epochs=1", "dataset.train_images=64"])
    trial = next(iter(sweep.trials.values()))
    result = inline.run(trial, tmp_path / "there", data_dir=None)
    with closing(RecordFile(tmp_path)) as records:
        assert records.keep(trial.trial_id, tmp_path / "there")
    assert unpack(tmp_path, tmp_path / "results") == 1
    assert Ledger(tmp_path / "results").result(trial) == result
    metrics = Path("trials", trial.trial_id, "metrics.jsonl")
    assert (tmp_path / "results" / metrics).read_bytes() == (tmp_path / "there" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("smoke", [False, True])
def test_the_study_is_that_of_the_sweep_file_by_seeds(smoke: bool, tmp_path: Path) -> None:
    on_a_gpu = Options(torch.device("cuda"), seconds=60, smoke=smoke, out=tmp_path)
    made = Sheet(on_a_gpu, tmp_path / "rows.jsonl")
    trials = list(study.planned(made))
    made.close()
    assert {trial.resources.gpus for trial in trials} == {1}
    assert [trial.seed for trial in trials] == sorted(trial.seed for trial in trials)
    planned = load_sweep(study.SWEEP).trials.keys()
    assert {trial.trial_id for trial in trials} == planned if not smoke else len(trials) == 3


def test_the_digits_of_the_file_are_those_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gpu" / "digits.csv.gz"
    rehearse.write_digits(file)
    monkeypatch.setattr(sources, "_digits_file", lambda: file)
    assert sources.data_id(sources.read("digits", tmp_path)) == DIGITS_ID
    assert len(gzip.decompress(file.read_bytes()).splitlines()) == 1797 and file.stat().st_size < 10**5


def test_other_digits_fail_the_part(sheet: Sheet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = gzip.decompress(sources._digits_file().read_bytes()).splitlines()
    (tmp_path / "d.gz").write_bytes(gzip.compress(b"\n".join([lines[1], lines[0], *lines[2:]])))
    monkeypatch.setattr(sources, "_digits_file", lambda: tmp_path / "d.gz")
    study._check_digits(sheet)
    assert sheet.num_failed == 1


def test_wheels_are_unpacked_where_python_finds_them(tmp_path: Path) -> None:
    folder, target = tmp_path / "wheels", tmp_path / "target"
    folder.mkdir()
    assert wheels.unpack(folder, target) == [f"{folder}: has no wheels (make gpu-wheels)"]
    with zipfile.ZipFile(folder / "something-1-py3-none-any.whl", "w") as archive:
        archive.writestr("something/__init__.py", "value = 3")
    assert wheels.unpack(folder, target) == ["unpacked something-1-py3-none-any.whl"]
    command = [sys.executable, "-c", "import something; print(something.value)"]
    environment = {**os.environ, "PYTHONPATH": str(target)}
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "3\n"


def test_wheels_have_a_limit(tmp_path: Path) -> None:
    with (tmp_path / "large.whl").open("wb") as file:
        file.truncate(wheels.MOST_BYTES)
        assert not wheels.size_problem(tmp_path)
        file.truncate(wheels.MOST_BYTES + 1)
    assert wheels.size_problem(tmp_path).startswith("wheels: 40.0 MB: must be at most 40")


def test_wheels_are_for_the_python_of_the_machine() -> None:
    command = wheels._command("there")
    assert {"--python-version", "3.12", "--only-binary=:all:", "--no-deps", "cp312"} <= set(command)
    assert command[-len(wheels.PACKAGES) :] == list(wheels.PACKAGES)


@pytest.mark.slow
@pytest.mark.parametrize("expression", SMOKE)
def test_smoke_selects_tests_that_there_are(expression: str) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", "gpu"]
    done = subprocess.run([*command, "-k", expression, *gpu_test_files()], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()


ROWS = (Row("conv2", 0.0625, 8, 4), Row("resnet18", 0.0625, 8, 4))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.net)
def test_trials_in_one_program_have_the_gradients_of_each(row: Row) -> None:
    alone, together = ([Trainer(row, FUSED) for _ in range(3)] for _ in range(2))
    for number, trainers in enumerate(zip(alone, together, strict=True)):
        for trainer in trainers:
            for _ in range(number):  # each has batches of its own
                next(trainer.batches)
    grouped = GroupedTrials(together)
    found = grouped.gradients()
    slices = grouped.optimizer.param_groups[0]["params"]
    per_trial = len(slices) // 3
    for number, trainer in enumerate(alone):
        torch.testing.assert_close(found[number], trainer.gradients().detach())
        mine = slices[number * per_trial : (number + 1) * per_trial]
        for param, other in zip(mine, trainer.model.parameters(), strict=True):
            assert (param.grad - other.grad).norm() < 1e-3 * other.grad.norm()


@pytest.mark.parametrize("way", [FUSED, "edge-popup"])
def test_a_step_of_trials_in_one_program_moves_the_stacked_weights(way: str) -> None:
    grouped = GroupedTrials([Trainer(ROWS[0], way) for _ in range(3)])
    before = {name: stacked.clone() for name, stacked in grouped._trained.items()}
    for _ in range(3):
        grouped.step()
    assert any(not torch.equal(stacked, before[name]) for name, stacked in grouped._trained.items())
    assert all(torch.equal(torch.stack(list(s)), grouped._trained[name]) for name, s in grouped._slices.items())


def test_a_captured_step_takes_batch_after_batch() -> None:
    """On a CPU nothing is captured: what is around it is tried."""
    trainers = [Trainer(ROWS[0], SGD) for _ in range(2)]
    step = captured(trainers[0])
    next(trainers[1].batches)
    for _ in range(3):
        step()
        trainers[1].step()
    for a, b in zip(trainers[0].model.parameters(), trainers[1].model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_updates_are_compared_with_topk_where_kernels_take_them() -> None:
    def names(**options: Any) -> list[str]:
        return [str(row["update"]) for row in update.rows("conv6", CPU, 2, width_mult=0.0625, **options)]

    with_kernels, without = names(kernels=True), names()
    assert "topk alone" in with_kernels and "topk alone" not in without
    assert "masked, GPU" in with_kernels and "masked, compiled" in without
