"""A sweep whose terminal closes, and one whose output leads nowhere."""

import signal
from pathlib import Path

import pytest
from support import sweep_faults, trial_processes
from support.fake_results import create_trial_folder
from support.stores import write_empty_store
from support.sweep_processes import result_mtimes, write_sweep
from support.terminals import Terminal, run_in_shell

from suite import records
from suite.config.sweep_file import load_sweep
from suite.records.ledger import Ledger
from suite.sweep.plan import make_plan, what_is_saved
from suite.tracking.store import DATABASE

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy


def in_its_first_half(folder: Path) -> bool:
    return 0 < len(records.read_metrics(folder)) < 50


@pytest.mark.slow
def test_trials_are_saved_when_the_terminal_closes_and_the_next_call_needs_no_reader(tmp_path: Path) -> None:
    """The terminal sends HUP to all that is in it, Ray's servers too; what is printed from then on is an error."""
    file = write_sweep(tmp_path / "tiny.yaml", epochs=150, seeds=(1,))
    write_empty_store(tmp_path / "results" / DATABASE)
    trials = load_sweep(file, only=["method=weights"]).trials
    (folder,) = [tmp_path / "results/trials" / trial_id for trial_id in trials]
    terminal = Terminal("-m", "suite.sweep", "tiny.yaml", "--only", "method=weights", cwd=tmp_path)
    try:
        trial_processes.wait_for(lambda: in_its_first_half(folder))
        processes = trial_processes.descendants(terminal.process.pid)
        terminal.close()
        terminal.process.send_signal(signal.SIGHUP)  # the shell of the terminal sends another one
        assert terminal.process.wait(90) == 130
        trial_processes.wait_for(lambda: not any(map(trial_processes.alive, processes)))
    finally:
        terminal.process.kill()
    assert trial_processes.newest_checkpoint(folder)
    assert "stopped" in (records.last_log_line(folder) or "")

    code, _, errors = run_in_shell("python -m suite.sweep tiny.yaml --only method=weights 2>/dev/full | true", tmp_path)
    assert (code, errors) == (0, "")
    assert result_mtimes(tmp_path).keys() == trials.keys()
    assert "going on from step" in (folder / records.LOG).read_text()
    assert not trial_processes.unexpected_files(folder)
    (report,) = (tmp_path / "results/reports").iterdir()
    assert {"table.md", "figure.svg", "cost.json"} <= {path.name for path in report.iterdir()}
    sweep_faults.check_store(tmp_path, set(trials))


def test_a_stopped_sweep_promises_a_checkpoint_only_where_there_is_one(tmp_path: Path) -> None:
    """A disk that is full keeps trials from saving themselves."""
    sweep, ledger = load_sweep(write_sweep(tmp_path / "tiny.yaml")), Ledger(tmp_path / "results")
    for i, trial_id in enumerate(list(sweep.trials)[:3]):
        attempt = create_trial_folder(ledger, trial_id) / "attempt-1"
        attempt.mkdir()
        if i:
            (attempt / "checkpoint-0000000001.pt").touch()
    said = "unfinished with a checkpoint: 2, without one, to start again: 1; the same command goes on from here"
    assert what_is_saved(make_plan(sweep, ledger), ledger) == said
    assert what_is_saved(make_plan(sweep, Ledger(tmp_path / "none")), ledger) == ("the same command goes on from here")
