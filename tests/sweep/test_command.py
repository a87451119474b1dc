"""The sweep command end to end: real Ray, real MLflow store, real faults."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import mlflow
import pytest
from support import trial_processes
from support.fake_results import create_trial_folder
from support.stores import write_empty_store
from support.sweep_processes import ROOT, result_mtimes, run_sweep, start_sweep, write_sweep

from suite import cli, records
from suite.config.sweep_file import load_sweep
from suite.launch import inline, local
from suite.records.ledger import Ledger
from suite.sweep import __main__ as command
from suite.sweep import ray_cluster, tune
from suite.tracking.store import DATABASE, store_uri

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
Said = pytest.CaptureFixture[str]


def call(*arguments: object) -> int:
    """The exit status of the command, in this process: for what starts no Ray."""
    return cli.run(lambda: command.main([str(argument) for argument in arguments]))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """The file of a sweep that has run, its exit status and its output."""
    file = write_sweep(tmp_path_factory.mktemp("swept") / "tiny.yaml")
    for name in ("config", "matplotlib", "mlflow", "sklearn", "tabulate"):  # of the caller's, which nobody imports
        file.with_name(f"{name}.py").write_text("raise RuntimeError('the wrong code')")
    return file, *run_sweep(file, cwd=file.parent)


def test_a_sweep_from_yaml_to_table_figure_and_mlflow(swept: tuple[Path, int, str]) -> None:
    file, code, output = swept
    assert code == 0, output
    assert result_mtimes(file.parent).keys() == load_sweep(file).trials.keys()
    assert "6 trials in results: 6 missing; 6 to run" in output
    assert "| 0.0625 | weights" in " ".join(output.split())
    assert "Trial _trainable" not in output and "Warning" not in output
    for name in ("table.md", "table.csv", "table.tex", "figure.png", "figure.svg"):
        assert (file.parent / "results/reports/tiny" / name).stat().st_size > 100
    check_store(file.parent, load_sweep(file).trials.keys())


def test_a_second_call_runs_nothing_and_adds_nothing(
    swept: tuple[Path, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, *_ = swept
    monkeypatch.chdir(file.parent)
    first = result_mtimes(file.parent)
    assert call(file) == 0
    assert result_mtimes(file.parent) == first
    check_store(file.parent, load_sweep(file).trials.keys())


def check_store(folder: Path, trial_ids: object) -> None:
    """One run per trial with its parameters, metrics by epoch and tags; one report with its artifacts."""
    client = mlflow.MlflowClient(store_uri(folder / "results"))
    experiment = client.get_experiment_by_name("tiny")
    runs = list(client.search_runs([experiment.experiment_id]))
    reports = [run for run in runs if run.data.tags.get("report") == "tiny"]
    trials = {run.data.tags["trial_id"]: run for run in runs if "trial_id" in run.data.tags}
    assert len(reports) == 1 and len(runs) == len(trials) + 1
    assert trials.keys() == trial_ids
    artifacts = {file.path for file in client.list_artifacts(reports[0].info.run_id)}
    assert {"table.md", "figure.png", "sweep.yaml"} <= artifacts
    for trial_id, run in trials.items():
        result = records.read_result(folder / "results/trials" / trial_id)
        assert result is not None
        assert run.info.status == "FINISHED"
        assert run.data.params["method.name"] == run.data.tags["method"] == result.config["method"]["name"]
        assert float(run.data.params["model.width_mult"]) == 0.0625
        assert run.data.metrics["test/top1"] == round(result.metrics["test/top1"], 4)
        history = client.get_metric_history(run.info.run_id, "val/top1")
        lines = records.read_metrics(folder / "results/trials" / trial_id)
        assert [(point.step, point.value) for point in history] == [
            (line["step"], round(line["val/top1"] or 0, 4)) for line in lines
        ]


def trial_process(sweep_pid: int) -> int | None:
    """A worker of Ray that runs a trial now."""
    for pid in trial_processes.descendants(sweep_pid):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if title.startswith("ray::") and "train" in title:
            return pid
    return None


@pytest.mark.slow
def test_a_killed_a_failed_and_new_trials_run_in_the_next_call_and_no_other(tmp_path: Path) -> None:
    """A failed one only when asked; new ones are those of a wider grid."""
    file = write_sweep(tmp_path / "tiny.yaml", epochs=30)
    ledger = Ledger(tmp_path / "results")
    *_, failed = load_sweep(file).trials
    records.write_failure(create_trial_folder(ledger, failed), failed, RuntimeError("[out] of luck"))
    write_empty_store(ledger.root / DATABASE)
    process, victims = start_sweep(file, cwd=tmp_path), []

    def beside_a_result() -> bool:
        victims[:] = [pid for pid in (trial_process(process.pid),) if pid is not None]
        return bool(victims and result_mtimes(tmp_path))

    try:
        trial_processes.wait_for(beside_a_result)
        os.kill(victims[0], signal.SIGKILL)
        output, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    first = result_mtimes(tmp_path)
    assert process.returncode == 1, output
    assert len(first) == 4 and failed not in first, output
    assert "unfinished:" in output and "the same command goes on with it" in output
    assert "failed: RuntimeError: [out] of luck" in output and "--retry-failed runs it again" in output
    assert re.search(r"[01] of 2", output)  # 0 where the killed trial and the failed one are of one cell
    assert "- unfinished: " in output  # the table names what is missing
    (killed,) = load_sweep(file).trials.keys() - first.keys() - {failed}

    write_sweep(file, epochs=30, seeds=(1, 2, 3))
    code, output = run_sweep(file, "--retry-failed", cwd=tmp_path)
    second = result_mtimes(tmp_path)
    assert code == 0, output
    assert "4 done, 1 failed, 3 missing, 1 unfinished; 5 to run" in output
    assert {trial_id: second[trial_id] for trial_id in first} == first
    assert second.keys() == load_sweep(file).trials.keys() and len(second) == 9
    lines = records.read_metrics(ledger.folder(killed))
    assert [line["epoch"] for line in lines] == list(range(30))
    for trial_id in (killed, failed):
        assert not trial_processes.unexpected_files(ledger.folder(trial_id))
    check_store(tmp_path, second.keys())


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.glob("results/trials/*") if not (path / records.RESULT).exists()]


def in_its_first_half(folder: Path) -> bool:
    return 0 < len(records.read_metrics(folder)) < 40


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_ctrl_c_and_term_end_cleanly_and_the_next_call_goes_on(tmp_path: Path, stop: signal.Signals) -> None:
    """TERM comes twice to all processes of the group, as `timeout` sends it."""
    file = write_sweep(tmp_path / "tiny.yaml", epochs=80, seeds=(1,))
    write_empty_store(tmp_path / "results" / DATABASE)
    process = start_sweep(file, cwd=tmp_path)
    try:
        trial_processes.wait_for(lambda: result_mtimes(tmp_path) and any(map(in_its_first_half, unfinished(tmp_path))))
        for _ in range(2 if stop == signal.SIGTERM else 1):
            os.killpg(process.pid, stop)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert "save" in output.partition("stopping: ")[2] and "Ray was killed" not in output
    assert "unfinished with a checkpoint: " in output and "without one" not in output
    assert "the same command goes on from here" in output and "Traceback" not in output
    first = result_mtimes(tmp_path)
    assert 0 < len(first) < 3
    saved = {path.parts[-3] for path in tmp_path.glob("results/trials/*/attempt-*/checkpoint-*.pt")}
    assert saved and not saved & first.keys()
    code, output = run_sweep(file, cwd=tmp_path)
    assert code == 0, output
    second = result_mtimes(tmp_path)
    assert {trial_id: second[trial_id] for trial_id in first} == first and len(second) == 3
    trial_id = min(saved)
    gone_on, quiet = tmp_path / "results/trials" / trial_id, tmp_path / "quiet"
    assert "going on from step" in (gone_on / records.LOG).read_text()
    inline.run(load_sweep(file).trials[trial_id], quiet, data_dir=None)
    assert trial_processes.records_of(gone_on) == trial_processes.records_of(quiet)


@pytest.mark.slow
def test_trials_of_two_processes_and_a_server_that_is_absent_costs_no_result(tmp_path: Path) -> None:
    file = write_sweep(tmp_path / "tiny.yaml", seeds=(1,))
    options = (file, "--only", "method=iterand", "--set", "processes=2")
    code, output = run_sweep(*options, "--tracking-uri", "http://user:secret@127.0.0.1:9", cwd=tmp_path)
    assert code == 0, output
    assert "all records are kept: python -m suite.tracking publish results brings them there" in output
    assert "secret" not in output and "Traceback" not in output
    (trial,) = load_sweep(file, only=["method=iterand"], overrides=["processes=2"]).trials.values()
    local.run(trial, tmp_path / "by itself", data_dir=None)
    ran = tmp_path / "results/trials" / trial.trial_id
    assert trial_processes.records_of(ran) == trial_processes.records_of(tmp_path / "by itself")
    assert not trial_processes.unexpected_files(ran)


# What ends before trials --------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUITE_DATA", raising=False)
    return tmp_path


def test_a_launcher_that_cannot_run_a_trial(here: Path, capsys: Said) -> None:
    file = write_sweep(here / "tiny.yaml", seeds=(1,))
    assert call(file, "--only", "method=iterand", "--set", "processes=2", "--launcher", "inline") == 2
    told = "--launcher inline: runs 1 process, the trial has processes: 2; use local"
    assert told in capsys.readouterr().err
    assert not list(here.glob("results/trials/*"))


def test_a_mistake_starts_nothing(here: Path, capsys: Said) -> None:
    file = write_sweep(here / "tiny.yaml")
    file.write_text(file.read_text().replace("epochs: 2", "epochs: two"))
    assert call(file) == 2
    assert capsys.readouterr() == ("", f'{file}:3: base.epochs: "two": must be a valid integer\n')
    assert not (here / "results").exists()


def test_missing_data_is_told_before_any_trial(here: Path, capsys: Said) -> None:
    file = write_sweep(here / "tiny.yaml", seeds=(1,))
    assert call(file, "--set", "dataset=cifar10") == 2
    said = capsys.readouterr().err
    assert "--download" in said and "Traceback" not in said
    assert not list(here.glob("results/trials/*"))


def test_too_few_gpus_are_told_before_any_trial(here: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        cluster_resources = staticmethod(lambda: {"CPU": 2.0, "memory": 1e9})

    monkeypatch.setattr(tune, "_import_ray", Ray)
    monkeypatch.setattr(ray_cluster, "started", lambda ray, cpus: nullcontext(here))
    file = write_sweep(here / "tiny.yaml", seeds=(1,))
    assert call(file, "--set", "resources.gpus=1") == 2
    said = capsys.readouterr().err
    assert "resources.gpus: 1: this machine has 0; set --set resources.gpus=0 or run where there are more" in said
    assert not list(here.glob("results/trials/*"))


def test_a_garbled_result_is_named_and_nothing_runs(here: Path, capsys: Said) -> None:
    file = write_sweep(here / "tiny.yaml", seeds=(1,))
    trial_id = next(iter(load_sweep(file).trials))
    target = here / "results/trials" / trial_id / records.RESULT
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps({"trial_id": trial_id})[:-5])
    assert call(file) == 2
    said = capsys.readouterr().err
    assert "is garbled" in said and "move it away, and the trial runs again" in said
    assert len(result_mtimes(here)) == 1


# As a process -------------------------------------------------------------------------------------------------------


def test_the_dry_run_prints_the_trials_and_loads_neither_torch_nor_ray(tmp_path: Path) -> None:
    code = (
        "import sys; from suite.sweep import __main__ as sweep; "
        f"assert sweep.main([{str(ROOT / 'sweeps/width_vs_acc.yaml')!r}, '--dry-run']) == 0; "
        "print([name for name in ('torch', 'ray', 'mlflow', 'pandas') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert output.endswith("[]\n")
    for trial_id in load_sweep(ROOT / "sweeps/width_vs_acc.yaml").trials:
        assert trial_id in output
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_the_driver_of_a_sweep_loads_neither_torch_nor_mlflow(tmp_path: Path) -> None:
    write_sweep(tmp_path / "tiny.yaml", epochs=1, seeds=(1,))
    write_empty_store(tmp_path / "results" / DATABASE)
    code = (
        "import sys; from suite import cli; from suite.sweep import __main__ as sweep; "
        "status = cli.run(lambda: sweep.main(['tiny.yaml'])); "
        "print([name for name in ('torch', 'mlflow', 'sqlalchemy', 'sklearn') if name in sys.modules]); "
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.endswith("[]\n"), done.stdout + done.stderr
    check_store(tmp_path, load_sweep(tmp_path / "tiny.yaml").trials.keys())


@pytest.mark.slow
def test_the_wheel_runs_the_default_sweep_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    code = (
        "import suite, sys; print(suite.__file__); from suite.sweep import __main__ as sweep; "
        "sys.exit(sweep.main(['width_vs_acc.yaml', '--dry-run']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == str(site / "suite/__init__.py")
    assert "120 to run" in ran.stdout
