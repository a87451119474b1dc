"""What ``suite.status`` is asked for by flags, and what it says of trials that run or failed."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fake_results import create_trial_folder, fake_result, write_result
from support.sweep_files import AXES, GOOD, Load

from suite import cli, status
from suite.config import Trial
from suite.config.sweep_file import Sweep, load_sweep
from suite.launch.lease import Lease
from suite.records import EpochMetrics, Writer, index, write_failure
from suite.records.ledger import Ledger
from suite.slurm.record import JobRecord, write_job

Said = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[1]
RESULTS = Ledger(Path("results"))
KEYS = ["trial_id", "state", "num_epochs", "val", "where", "seconds_left", "note", "settings"]


@pytest.fixture
def sweep(load: Load) -> Sweep:
    """Six trials of ten epochs."""
    return load(AXES.replace("epochs: 2", "epochs: 10"))


@pytest.fixture
def trials(sweep: Sweep) -> list[Trial]:
    return list(sweep.trials.values())


@pytest.fixture
def running(trials: list[Trial]) -> Iterator[Path]:
    """The attempt of the first trial, which this process runs."""
    with Lease.acquire(RESULTS.folder(trials[0].trial_id), timeout=0) as held:
        yield held.folder


def asked(capsys: Said, *flags: str) -> tuple[int, str]:
    code = cli.run(lambda: status.main(["s.yaml", *flags]))
    return code, capsys.readouterr().out


def told(capsys: Said, *flags: str) -> list[dict[str, Any]]:
    """The trials, as ``--json`` has them; exit status and strictness are seen to."""
    code, printed = asked(capsys, "--json", *flags)
    assert code == asked(capsys, *flags)[0]

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    whole = json.loads(printed, parse_constant=refuse)
    assert list(whole) == ["name", "results", "trials"]
    assert (whole["name"], whole["results"]) == ("t", "results")
    rows: list[dict[str, Any]] = whole["trials"]
    assert all(list(row) == KEYS for row in rows)
    return rows


def job(trial: Trial, job_id: str) -> None:
    folder = create_trial_folder(RESULTS, trial.trial_id)
    write_job(folder, JobRecord.new("name", "about", folder).model_copy(update={"id": job_id}))


def fail(trial: Trial, error: Exception) -> Path:
    folder = create_trial_folder(RESULTS, trial.trial_id)
    write_failure(folder, trial.trial_id, error)
    return folder


def lines(*timestamps: float | None) -> list[EpochMetrics]:
    """Epochs that ended at these times; one without a time is of an older suite."""
    ends = [{} if end is None else {"timestamp": end} for end in timestamps]
    return [{"epoch": i, "val/top1": 0.5, **end} for i, end in enumerate(ends)]


# --json -------------------------------------------------------------------------------------------------------------


def test_json_has_every_trial_with_its_settings(trials: list[Trial], capsys: Said) -> None:
    assert [row["state"] for row in told(capsys)] == ["not begun"] * 6
    write_result(RESULTS, trials[1])
    write_result(RESULTS, trials[2], status="diverged", metrics={"val/top1": None})
    fail(trials[3], ValueError("x"))
    rows = told(capsys)
    assert [row["trial_id"] for row in rows] == [trial.trial_id for trial in trials]
    assert [row["settings"] for row in rows] == [trial.model_dump(mode="json") for trial in trials]
    states = ["not begun", "done", "diverged", "failed", "not begun", "not begun"]
    assert [row["state"] for row in rows] == states
    assert [row["val"] for row in rows] == [None, pytest.approx(0.71), None, None, None, None]
    assert [row["num_epochs"] for row in rows] == [0, 1, 1, 0, 0, 0]
    for trial in trials:
        write_result(RESULTS, trial)
    assert asked(capsys, "--json")[0] == 0
    assert {row["state"] for row in told(capsys)} == {"done"}


def test_json_of_some(trials: list[Trial], capsys: Said) -> None:
    assert [row["settings"]["seed"] for row in told(capsys, "--only", "seed=2")] == [2, 2, 2]
    assert told(capsys, "--failed") == []


def test_json_is_not_begun_where_records_cannot_be_used(trials: list[Trial], capsys: Said) -> None:
    (create_trial_folder(RESULTS, trials[0].trial_id) / "result.json").write_text("{")
    assert asked(capsys, "--json") == (2, "")


# --failed -----------------------------------------------------------------------------------------------------------


def test_failed_shows_those_alone_and_counts_all(trials: list[Trial], capsys: Said) -> None:
    done, first, second, *_ = trials
    write_result(RESULTS, done)
    logged, silent = fail(first, ValueError("one\ntwo")), fail(second, KeyError("x"))
    (logged / "log.txt").write_text("2026-01-01 00:00:00 said\n")
    code, printed = asked(capsys, "--failed")
    assert code == 1
    assert printed.startswith("6 trials in results: 1 done, 2 failed, 3 not begun\n")
    assert [line.split()[1] for line in printed.splitlines() if line[:1] == "│"] == [first.trial_id, second.trial_id]
    assert [line.strip() for line in printed.splitlines()[-2:]] == [
        f"failed: ValueError: one two: {logged / 'failure.json'}; its log: {logged / 'log.txt'}",
        f"failed: KeyError: 'x': {silent / 'failure.json'}",
    ]
    assert [row["trial_id"] for row in told(capsys, "--failed")] == [first.trial_id, second.trial_id]


def test_none_has_failed(trials: list[Trial], capsys: Said) -> None:
    for trial in trials:
        write_result(RESULTS, trial)
    code, printed = asked(capsys, "--failed")
    assert code == 0
    assert printed.startswith("6 trials in results: 6 done\n")
    assert not any(trial.trial_id in printed for trial in trials)


# Where --------------------------------------------------------------------------------------------------------------


def test_where_a_trial_runs(trials: list[Trial], running: Path, capsys: Said) -> None:
    assert told(capsys)[0]["where"] == f"{socket.gethostname()}, process {os.getpid()}"
    job(trials[0], "77")
    job(trials[1], "78_3")
    fail(trials[2], ValueError("x"))
    job(trials[2], "79")
    rows = told(capsys)
    assert [(row["state"], row["where"]) for row in rows[:4]] == [
        ("running", "job 77"),
        ("queued", "job 78_3"),
        ("failed", "job 79"),
        ("not begun", None),
    ]


def test_a_trial_whose_owner_cannot_be_read_is_nowhere(running: Path, capsys: Said) -> None:
    (running / "owner.json").write_text("{")
    (running / "heartbeat").write_text("1")
    assert told(capsys)[0]["where"] is None


# Time left ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "left"),
    [
        ([], None),
        ([100.0], None),  # how long the first one took stands nowhere
        ([100.0, 110.0], 80.0),
        ([100.0, 110.0, 120.0, 9000.0, 9010.0], 50.0),  # it was away for a while
        ([100.0, 110.0, 50.0, 60.0, 70.0], 50.0),  # the clock was set back
        ([100.0, 100.0], None),
        ([100.0, 50.0], None),
        ([100.0 + 10 * i for i in range(10)], 0.0),  # the test at the end
        ([None, None, 100.0, 120.0], 120.0),
        ([None, 100.0], None),
    ],
)
def test_time_left(running: Path, capsys: Said, ends: list[float | None], left: float | None) -> None:
    Writer(running, lines(*ends))
    row = told(capsys)[0]
    assert (row["state"], row["num_epochs"]) == ("running", len(ends))
    assert row["seconds_left"] == left
    shown = "-" if left is None else status.duration(left)
    [line] = [line for line in asked(capsys)[1].splitlines() if row["trial_id"] in line]
    assert line.split("│")[11].strip() == shown


def test_no_time_is_left_to_what_does_not_run(trials: list[Trial], capsys: Said) -> None:
    with Lease.acquire(RESULTS.folder(trials[0].trial_id), timeout=0) as held:
        Writer(held.folder, lines(100.0, 110.0))
    Writer(fail(trials[1], ValueError("x")), lines(100.0, 110.0))
    job(trials[2], "5")
    write_result(RESULTS, trials[3])
    assert [row["seconds_left"] for row in told(capsys)] == [None] * 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00:00"), (59.6, "0:01:00"), (3599.4, "0:59:59"), (3600.0, "1:00:00"), (360_000.0, "100:00:00")],
)
def test_durations(seconds: float, text: str) -> None:
    assert status.duration(seconds) == text


# Shown by counting --------------------------------------------------------------------------------------------------

HOOK = """
import os, runpy, sys
log = open(sys.argv[1], "w", buffering=1)
def hook(event, args):
    if event in ("open", "os.scandir", "os.listdir") and isinstance(args[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(args[0]))
        if "/results/" in path:
            log.write(f"{event} {path}\\n")
sys.addaudithook(hook)
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
LOOK = re.compile(r'stat\w*\([^"\n]*"[^"\n]*results/trials/(\w+)/result\.json"')  # without opening it
SWEEP = GOOD.replace("seed: 1", f"seed: {list(range(303))}")


def tracer(log: Path) -> list[str]:
    """The command that tells which files a process looks at, where there is one and it may."""
    probe = ["strace", "-o", os.devnull, "-e", "trace=file", "true"]
    if not shutil.which("strace") or subprocess.run(probe, capture_output=True, check=False).returncode:
        return []
    return ["strace", "-f", "-qq", "-s", "4096", "-o", str(log), "-e", "trace=file"]


@pytest.mark.parametrize(
    "command",
    [
        "analysis.tables s.yaml",
        *(pytest.param(c, marks=pytest.mark.slow) for c in ("suite.status s.yaml", "suite.sweep s.yaml --dry-run")),
    ],
)
def test_no_final_trial_is_opened(tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of ten thousand costs the look that tells whether its result is still the one in the index."""
    (tmp_path / "s.yaml").write_text(SWEEP)
    ledger, sweep = Ledger(tmp_path / "results"), load_sweep(tmp_path / "s.yaml")
    unfinished, final = list(sweep.trials)[:3], set(list(sweep.trials)[3:])
    for trial_id, trial in sweep.trials.items():
        folder = create_trial_folder(ledger, trial_id)
        if trial_id in final:
            (folder / "result.json").write_text(fake_result(trial).model_dump_json())
    monkeypatch.setattr(index, "SETTLED_NS", -(10**12))  # as if all had been written long ago
    ledger.lookup(sweep.trials)
    audited, traced = tmp_path / "audited", tmp_path / "traced"
    subprocess.run(
        [*tracer(traced), sys.executable, "-c", HOOK, str(audited), *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    for seen in filter(Path.exists, (audited, traced)):
        text = seen.read_text(errors="replace")
        looks = Counter(LOOK.findall(text))
        assert all(looks[trial_id] <= 2 for trial_id in final), seen.name
        touched = set(re.findall(r"results/trials/(\w+)", LOOK.sub("", text)))
        assert touched == set(unfinished), seen.name
        kept = [line.rstrip().split('", ')[0].rstrip('"') for line in text.splitlines()]
        assert 1 <= sum(line.endswith("results/trials") for line in kept) <= 2, seen.name
