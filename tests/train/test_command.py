"""``python -m suite.train``, and the launcher behind it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ranks, trial_processes
from support.documents import ROOT

from suite import cli
from suite.config import InputError, Trial
from suite.launch import inline, lease, local
from suite.records import last_log_line, read_failure, read_result, write_failure
from suite.records.ledger import Ledger
from suite.stopping import EXIT_UNFINISHED
from suite.train import __main__ as command


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(trial: Trial | dict[str, Any], name: str = "trial.json") -> str:
    raw = trial.model_dump(mode="json") if isinstance(trial, Trial) else trial
    Path(name).write_text(json.dumps(raw))
    return name


def run(*arguments: str) -> int:
    return cli.run(lambda: command.main(arguments))


def refuse(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("it was run again")


# The command --------------------------------------------------------------------------------------------------------


def test_it_prints_what_a_sweep_would_record(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trial = trial_processes.trial_of("iterand")
    assert run(write(trial)) == 0
    *lines, result = map(json.loads, capsys.readouterr().out.splitlines())
    folder = Ledger(Path("results")).folder(trial.trial_id)
    recorded, epochs = trial_processes.records_of(folder)
    assert [trial_processes.without_volatile_fields(line) for line in lines] == epochs
    not_printed = ("config", "test_predictions", "network")
    assert trial_processes.without_volatile_fields(result) == {
        k: v for k, v in recorded.items() if k not in not_printed
    }
    (tmp_path / "other").mkdir()
    inline.run(trial, tmp_path / "other", data_dir=None)
    assert trial_processes.records_of(tmp_path / "other") == (recorded, epochs)


@pytest.mark.parametrize("method", [pytest.param("weights", marks=pytest.mark.slow), "iterand"])
def test_a_trial_loads_only_what_it_uses(tmp_path: Path, method: str) -> None:
    """scikit-learn and torch's compiler take longer to import than this trial to run."""
    file = write(trial_processes.trial_of(method, epochs=1))
    code = (
        "import sys; from suite.train import __main__ as command; assert command.main(sys.argv[1:]) == 0\n"
        "sys.exit(', '.join({'sklearn', 'scipy', 'pandas', 'torch._dynamo', 'torch._inductor'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=False)
    assert "done: results" in done.stderr and done.stderr.splitlines()[-1] == ""


@pytest.mark.slow
def test_ranks_load_no_compiler_either(tmp_path: Path) -> None:
    file = write(trial_processes.trial_of("iterand", epochs=1, processes=2))
    code = (
        "import sys; from suite.train import __main__ as command; assert command.main(sys.argv[1:]) == 0\n"
        "sys.exit(', '.join({'torch._dynamo', 'torch._inductor'} & sys.modules.keys()) or 0)"
    )
    command = [sys.executable, "-c", code, file, "--folder", str(tmp_path / "trial")]
    here = {"WORLD_SIZE": "2", "SUITE_RENDEZVOUS": str(tmp_path / "meeting"), "GLOO_SOCKET_IFNAME": ranks.LOOPBACK}
    ends = [
        subprocess.Popen(command, env=ranks.environment(RANK=rank, LOCAL_RANK=rank, **here), stdin=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        assert [process.wait(100) for process in ends] == [0, 0]
    finally:
        for process in ends:
            process.kill()
            process.communicate()


def test_what_is_done_is_printed_and_not_run_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(trial_processes.trial_of("weights", epochs=1))
    assert run(file) == 0
    first = capsys.readouterr().out.splitlines()[-1]
    monkeypatch.setattr(inline, "train", refuse)
    assert run(file) == 0
    assert capsys.readouterr().out.splitlines() == [first]


def test_a_result_file_is_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    trial = trial_processes.trial_of("weights", epochs=1)
    assert run(write(trial)) == 0
    record = f"results/trials/{trial.trial_id}/result.json"
    assert run(record, "--results", "again") == 0
    assert trial_processes.records_of(Path("again/trials") / trial.trial_id) == trial_processes.records_of(
        Path(record).parent
    )


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_folder_of_ones_own_is_all_that_is_written_to(tmp_path: Path, processes: int) -> None:
    """Files above it that have names of ours are somebody else's."""
    trial = trial_processes.trial_of("weights", epochs=1, processes=processes)
    file = write(trial)
    for above in (".", "mine", "mine/trials"):
        Path(above).mkdir(exist_ok=True)
        for name in ("index.jsonl", "result.json", ".lock", "mlflow.db", "network.safetensors"):
            (Path(above) / name).write_text("theirs\n")
    before = others(tmp_path)
    assert run(file, "--folder", "mine/trials/one") == 0
    assert read_result(Path("mine/trials/one")) is not None
    assert others(tmp_path) == before


def others(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """All files but those of the trial."""
    found = {path for path in folder.rglob("*") if "one" not in path.parts and path.is_file()}
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def test_a_trial_of_a_sweep_by_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    trials = [trial_processes.trial_of(method, epochs=1) for method in ("weights", "iterand")]
    Path("results/sweeps").mkdir(parents=True)
    sweep = {"name": "s", "grid": [trial.model_dump(mode="json") for trial in trials]}
    Path("results/sweeps/s.yaml").write_text(yaml.safe_dump(sweep))
    assert run(trials[1].trial_id[:6]) == 0
    assert Ledger(Path("results")).state(trials[1]) == "done"
    assert Ledger(Path("results")).state(trials[0]) == "missing"
    assert run("nothing") == 2
    assert "nothing: is none of them, and no file: 2 trials stand in results/sweeps/*.yaml" in capsys.readouterr().err
    assert run("") == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epochs": "two"}, 'trial.json:1: epochs: "two": must be a valid integer'),
        ({"epocs": 2}, "trial.json:1: epocs: 2: not a setting; did you mean epochs?"),
        ({"seed": [1, 2]}, "trial.json:1: seed: a list: one trial has one value; lists belong into a sweep"),
        ({"processes": 3}, "trial.json:1: global_batch_size: 64: must be a multiple of 3 processes x 1 accumulation"),
        ({"processes": 2, "resources": {"gpus": 1}}, "must be 0 or one for each of the 2 processes"),
        ({"resources": {"gpus": 4}}, "must be at most 1 for one process"),
        ({"sync_batch_norm": True}, "sync_batch_norm: true: must be false without GPUs"),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], change: dict[str, Any], told: str) -> None:
    assert run(write({**trial_processes.trial_of("weights").model_dump(mode="json"), **change})) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1
    assert not Path("results").exists()


def test_a_result_of_another_trial_is_not_taken_for_this_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write(trial_processes.trial_of("weights", epochs=1)), "--folder", "here") == 0
    assert run(write(trial_processes.trial_of("weights", epochs=1, seed=4)), "--folder", "here") == 2
    assert "here: holds a result made with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "variable", "wanted"), [("a", "b", "a"), (None, "b", "b"), (None, None, "data")])
def test_a_launcher_is_given_a_data_folder_that_is_the_same_everywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | None, variable: str | None, wanted: str
) -> None:
    monkeypatch.delenv("SUITE_DATA", raising=False)
    if variable:
        monkeypatch.setenv("SUITE_DATA", variable)
    found = []

    def launch(*args: Any, data_dir: Path, **options: Any) -> None:
        found.append(data_dir)
        raise InputError("enough")

    monkeypatch.setattr(command.launch, "get", lambda *args: launch)
    assert run(write(trial_processes.trial_of("weights")), *(["--data-dir", given] if given else [])) == 2
    assert found == [tmp_path / wanted]


def test_what_a_killed_owner_did_not_clean_up_goes_at_the_next_call() -> None:
    file = write(trial_processes.trial_of("weights", epochs=1))
    assert run(file, "--folder", "here") == 0
    Path("here/attempt-3").mkdir()
    assert run(file, "--folder", "here") == 0
    assert trial_processes.unexpected_files(Path("here")) == []


def test_bad_input_is_one_line_and_kept_in_the_folder() -> None:
    file = write({**trial_processes.trial_of("weights", epochs=1).model_dump(mode="json"), "dataset": "mnist"})
    command = [sys.executable, "-m", "suite.train", file, "--folder", "here", "--data-dir", "none"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.strip() in (last_log_line(Path("here")) or "")


def test_no_such_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("none.json") == 2
    assert capsys.readouterr().err.startswith("none.json: no such file")


def test_a_launcher_that_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write(trial_processes.trial_of("weights", processes=2)), "--launcher", "inline") == 2
    assert "--launcher inline: runs 1 process, the trial has processes: 2; use local" in capsys.readouterr().err


def test_a_group_of_the_wrong_size(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert run(write(trial_processes.trial_of("weights", processes=2))) == 2
    assert "processes: 2: this is one of 4: start as many" in capsys.readouterr().err


def test_a_trial_that_raises(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "train", refuse)
    trial = trial_processes.trial_of("weights")
    assert run(write(trial)) == 1
    assert "failed: AssertionError: it was run again; results/trials/" in capsys.readouterr().err
    failure = read_failure(Ledger(Path("results")).folder(trial.trial_id))
    assert failure is not None and failure.error == "AssertionError: it was run again"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, EXIT_UNFINISHED), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_status_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    file = write(trial_processes.trial_of("weights", checkpoint={}))
    monkeypatch.setattr("suite.train.command._print_line", lambda line: os.kill(os.getpid(), number))
    assert run(file) == status
    (saved,) = Path("results").rglob("checkpoint-*.pt")
    assert saved.name == "checkpoint-0000000020.pt"  # the end of the first epoch
    monkeypatch.undo()


# The local launcher -------------------------------------------------------------------------------------------------


def test_ranks_that_always_die_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = tmp_path / "site" / "sitecustomize.py"
    dying.parent.mkdir()
    dying.write_text("import os\nif os.environ.get('RANK') == '1': os.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", str(dying.parent))
    monkeypatch.setattr(local, "_GRACE_SECONDS", 0.1)
    folder = tmp_path / "trial"
    with pytest.raises(RuntimeError, match="rank 1 was ended by SIGKILL; given up after 3 restarts without a newer"):
        local.run(trial_processes.trial_of("weights", processes=2), folder, data_dir=None)
    assert (folder / "log.txt").read_text().count("starting again from the newest checkpoint") == 3
    failure = read_failure(folder)
    assert failure is not None and "given up after 3 restarts" in failure.error


@pytest.mark.slow
def test_what_is_wrong_with_the_input_of_ranks(tmp_path: Path) -> None:
    """Told as it is and not tried again; a failure of an earlier attempt is not taken for it, and gone."""
    trial = trial_processes.trial_of("weights", processes=2, dataset={"name": "cifar10"})
    folder = tmp_path / "trial"
    folder.mkdir()
    write_failure(folder, trial.trial_id, RuntimeError("of an earlier attempt"))
    with pytest.raises(InputError, match="--download"):
        local.run(trial, folder, data_dir=tmp_path)
    assert read_failure(folder) is None
    assert "--download" in (last_log_line(folder) or "")


def test_a_rank_that_raises_fails_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raising = tmp_path / "site" / "sitecustomize.py"
    raising.parent.mkdir()
    raising.write_text(
        "import os, sys\nif os.environ.get('RANK') == '1': print('no luck', file=sys.stderr); os._exit(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(raising.parent))
    monkeypatch.setattr(local, "_GRACE_SECONDS", 0.1)
    with pytest.raises(RuntimeError, match="no luck"):
        local.run(trial_processes.trial_of("weights", processes=2), tmp_path / "trial", data_dir=None)
    failure = read_failure(tmp_path / "trial")
    assert failure is not None and failure.error == "RuntimeError: no luck"


@pytest.mark.slow
def test_one_process_can_be_a_group_of_its_own(tmp_path: Path) -> None:
    trial = trial_processes.trial_of("edge_popup")
    lines: list[Any] = []
    assert local.run(trial, tmp_path / "apart", data_dir=None, on_epoch=lines.append) == read_result(tmp_path / "apart")
    inline.run(trial, tmp_path / "here", data_dir=None)
    assert trial_processes.records_of(tmp_path / "apart") == trial_processes.records_of(tmp_path / "here")
    assert [line["epoch"] for line in lines] == [0, 1]
    assert not lease.is_running(tmp_path / "apart")
