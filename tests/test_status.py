"""How a sweep stands, told from records that trials, jobs and drivers have left or are writing."""

import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from support.fake_results import create_trial_folder, write_result
from support.lease_processes import change_owner
from support.screens import Screen
from support.sweep_files import AXES, Load
from support.trial_processes import ROOT

from suite import cli, status
from suite.config import Trial
from suite.config.sweep_file import Sweep
from suite.launch import lease
from suite.launch.lease import Lease
from suite.records import EpochMetrics, Writer, write_failure
from suite.records.ledger import Ledger
from suite.slurm.record import JobRecord, write_job
from suite.status import StatusMonitor

Said = pytest.CaptureFixture[str]
RESULTS = Ledger(Path("results"))


@pytest.fixture
def sweep(load: Load) -> Sweep:
    """Six trials of two epochs."""
    return load(AXES)


def folder_of(trial: Trial) -> Path:
    return RESULTS.folder(trial.trial_id)


def line(epoch: int, top1: float) -> EpochMetrics:
    return {"epoch": epoch, "val/top1": top1}


def submitted(folder: Path, job_id: str | None, *, cancelled: bool = False) -> None:
    job = JobRecord.new("name", "about", folder)
    write_job(folder, job.model_copy(update={"id": job_id, "cancelled": cancelled}))


def left(trial: Trial) -> Path:
    """The attempt of a trial that was begun and left."""
    with Lease.acquire(folder_of(trial), timeout=0) as held:
        return held.folder


def elsewhere(trial: Trial) -> Path:
    """An attempt of which this machine cannot say whether it runs; its heart stands still."""
    attempt = left(trial)
    change_owner(attempt, released=False, host="another")
    return attempt


def finish(trial: Trial, status: str = "done") -> None:
    create_trial_folder(RESULTS, trial.trial_id)
    write_result(RESULTS, trial, status=status)


def show(*flags: str) -> int:
    return cli.run(lambda: status.main(["s.yaml", *flags]))


def table(printed: str) -> list[list[str]]:
    """trial_id, state, epoch, val, time left and place of the rows."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line[:1] == "│"]
    return [[row[0], *row[-5:]] for row in rows]


# One look -----------------------------------------------------------------------------------------------------------


def test_every_state_has_its_row(sweep: Sweep, capsys: Said) -> None:
    done, failed, queued, running, unfinished, missing = sweep.trials.values()
    finish(done)
    write_failure(create_trial_folder(RESULTS, failed.trial_id), failed.trial_id, ValueError("[/x] one\ntwo"))
    submitted(folder_of(queued), "77")
    (left(unfinished).parent / "log.txt").write_text("2026-01-01 00:00:00 stopped: saved\n")
    submitted(folder_of(unfinished), None)
    with Lease.acquire(folder_of(running), timeout=0) as held:
        Writer(held.folder, [line(0, float("nan"))])
        here = f"{socket.gethostname()}, process {os.getpid()}"
        assert show() == 1
    printed = capsys.readouterr().out
    first, *_ = printed.splitlines()
    assert first == "6 trials in results: 1 done, 1 failed, 1 running, 1 queued, 1 unfinished, 1 not begun"
    assert table(printed) == [
        [done.trial_id, "done", "1/2", "0.710", "-", "-"],
        [failed.trial_id, "failed", "0/2", "-", "-", "-"],
        [queued.trial_id, "queued", "0/2", "-", "-", "job 77"],
        [running.trial_id, "running", "1/2", "-", "-", here],
        [unfinished.trial_id, "unfinished", "0/2", "-", "-", "-"],
        [missing.trial_id, "not begun", "0/2", "-", "-", "-"],
    ]
    assert [line.strip() for line in printed.splitlines()[-2:]] == [
        f"failed: ValueError: [/x] one two: {folder_of(failed) / 'failure.json'}",
        f"unfinished: {folder_of(unfinished)}: stopped: saved",
    ]


def test_a_sweep_that_is_over(sweep: Sweep, capsys: Said) -> None:
    first, *others = sweep.trials.values()
    finish(first, "diverged")
    for trial in others:
        finish(trial)
    assert show() == show("--follow") == 0
    counts = "6 trials in results: 5 done, 1 diverged\n"
    printed = capsys.readouterr().out
    assert printed.startswith(counts) and printed.endswith(counts)  # --follow into a file: no second table
    assert len(table(printed)) == 6


def test_looking_makes_nothing(sweep: Sweep, capsys: Said) -> None:
    assert show("--only", "seed=1") == 1
    said = capsys.readouterr().out
    assert said.startswith("3 trials in results: 3 not begun\nno results yet: run `python -m suite.sweep ")
    assert not Path("results").exists()


def test_the_job_of_the_driver(sweep: Sweep, capsys: Said) -> None:
    submitted(RESULTS.root / "driver" / sweep.label, "4711")
    show()
    assert capsys.readouterr().out.splitlines()[:2] == ["6 trials in results: 6 not begun", "driver: job 4711"]
    submitted(RESULTS.root / "driver" / sweep.label, None)  # on its way
    show()
    assert "driver" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--follow", "--every", "0.9"], "--every: must be from 1 to 86400 seconds"),
        (["--every", "nan"], "--every: must be from 1 to 86400 seconds"),
        (["--every", "often"], "argument --every: invalid float value: 'often'"),
        (["--only", "speed=1"], "speed"),
    ],
)
def test_mistakes_on_the_command_line(sweep: Sweep, capsys: Said, flags: list[str], told: str) -> None:
    try:
        code: object = show(*flags)
    except SystemExit as error:  # of argparse
        code = error.code
    assert code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_records_that_cannot_be_used(sweep: Sweep, capsys: Said) -> None:
    garbled, other, *_ = sweep.trials.values()
    (create_trial_folder(RESULTS, garbled.trial_id) / "result.json").write_text("{")
    write_result(RESULTS, other, config={**other.model_dump(mode="json"), "threads": 3})
    assert show("--follow") == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in told] == [str(folder_of(garbled) / "result.json"), str(folder_of(other))]


# Look after look ----------------------------------------------------------------------------------------------------


def watched(sweep: Sweep) -> Callable[[], str]:
    """Tells at each look what has become of the first trial."""
    watcher = StatusMonitor(sweep, RESULTS)
    return lambda: watcher.poll()[0].state


def test_an_attempt_elsewhere_runs_while_its_heart_beats(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    look, attempt = watched(sweep), elsewhere(next(iter(sweep.trials.values())))
    assert look() == "unfinished"
    (attempt / "heartbeat").write_text("100")
    assert [look(), look()] == ["running"] * 2  # no new beat between two quick looks says nothing
    monkeypatch.setattr(lease, "LEASE_TIMEOUT_SECONDS", 0.0)
    assert look() == "unfinished"


def test_an_attempt_of_a_job_is_presumed_to_run_at_first(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = elsewhere(next(iter(sweep.trials.values())))
    submitted(attempt.parent, "5")
    look = watched(sweep)
    assert [look(), look()] == ["running"] * 2
    with monkeypatch.context() as patch:
        patch.setattr(lease, "LEASE_TIMEOUT_SECONDS", 0.0)
        assert look() == "unfinished"
    assert look() == "running"
    change_owner(attempt, released=True)
    assert look() == "unfinished"


@pytest.mark.parametrize("job", [True, False])
def test_an_attempt_that_begins_while_we_look_runs(sweep: Sweep, job: bool) -> None:
    trial = next(iter(sweep.trials.values()))
    if job:
        submitted(folder_of(trial), "5")
    look = watched(sweep)
    assert look() == ("queued" if job else "not begun")
    elsewhere(trial)
    assert look() == "running"


def test_who_died_on_this_machine_does_not_run(sweep: Sweep) -> None:
    attempt = left(next(iter(sweep.trials.values())))
    submitted(attempt.parent, "5")
    change_owner(attempt, released=False, started="1")  # another process has the pid now
    assert watched(sweep)() == "unfinished"


def test_a_job_that_was_cancelled_waits_for_nothing(sweep: Sweep) -> None:
    submitted(folder_of(next(iter(sweep.trials.values()))), "5", cancelled=True)
    assert watched(sweep)() == "unfinished"


def test_what_is_final_is_read_once(sweep: Sweep) -> None:
    trial = next(iter(sweep.trials.values()))
    finish(trial)
    look = watched(sweep)
    assert look() == "done"
    (folder_of(trial) / "result.json").unlink()
    assert look() == "done"


# As a process -------------------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "suite.status", "s.yaml", "--follow", "--every", "1"]


@contextmanager
def following(stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "160", "LINES": "50"}
    # What a shell starts in the background ignores Ctrl-C, and so would what we start.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        COMMAND, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, preexec_fn=listening
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_follow_ends_when_the_last_result_is_there(sweep: Sweep) -> None:
    *others, last = sweep.trials.values()
    for trial in others:
        finish(trial)
    with following(subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"6 trials in results: 5 done, 1 not begun\n"
        finish(last)
        assert process.stdout.read() == b"6 trials in results: 6 done\n"
        assert process.wait() == 0


@pytest.mark.slow
def test_follow_on_a_terminal_leaves_one_table(sweep: Sweep) -> None:
    *others, last = sweep.trials.values()
    for trial in others:
        finish(trial)
    terminal, end = pty.openpty()
    seen = b""
    with following(end) as process:
        os.close(end)
        while b"not begun" not in seen:
            seen += os.read(terminal, 65536)
        finish(last)
        with suppress(OSError):  # it has ended
            while more := os.read(terminal, 65536):
                seen += more
        assert process.wait() == 0
    os.close(terminal)
    lines = Screen(160).feed(seen.decode()).text.splitlines()
    assert [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in sweep.trials] == [
        *sweep.trials
    ]
    assert sum("6 trials in results: 6 done" in line for line in lines) == 1


def test_ctrl_c(sweep: Sweep) -> None:
    with following(subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline().endswith(b"6 not begun\n")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


def test_neither_torch_nor_ray_is_loaded() -> None:
    command = "import sys, suite.status; sys.exit(bool({'torch', 'ray', 'rich', 'submitit'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=False).returncode == 0
