"""Trials whose output leads nowhere, and trials whose terminal closes."""

import json
import signal
from pathlib import Path

import pytest
from support import trial_processes
from support.terminals import Terminal, run_in_shell

from suite.launch import lease
from suite.records import read_metrics
from suite.records.ledger import Ledger
from suite.stopping import EXIT_UNFINISHED


def write(folder: Path, *, processes: int = 1, epochs: int = 2) -> Path:
    """A trial in ``folder/trial.json``; where its records go."""
    trial = trial_processes.trial_of("weights", processes=processes, epochs=epochs)
    (folder / "trial.json").write_text(json.dumps(trial.model_dump(mode="json")))
    return Ledger(folder / "results").folder(trial.trial_id)


@pytest.mark.parametrize(
    ("processes", "where"),
    [
        pytest.param(1, ">/dev/full 2>&1", id="a full disk"),
        pytest.param(1, "2>&1 | true", id="no reader", marks=pytest.mark.slow),
        pytest.param(1, "1</dev/null 2</dev/null", id="not open for writing", marks=pytest.mark.slow),
        pytest.param(2, "<&- >&- 2>&-", id="two processes, closed", marks=pytest.mark.slow),
    ],
)
def test_a_trial_ends_as_ever_where_its_output_is_lost(tmp_path: Path, processes: int, where: str) -> None:
    folder = write(tmp_path, processes=processes)
    code, _, errors = run_in_shell(f"python -m suite.train trial.json {where}", tmp_path)
    assert (code, errors) == (0, "")
    assert (folder / "result.json").exists() and not trial_processes.unexpected_files(folder)


@pytest.mark.slow
def test_a_trial_whose_terminal_closes_saves_itself(tmp_path: Path) -> None:
    folder = write(tmp_path, epochs=10_000)
    terminal = Terminal("-m", "suite.train", "trial.json", cwd=tmp_path)
    try:
        trial_processes.wait_for(lambda: read_metrics(folder))
        terminal.close()
        terminal.process.send_signal(signal.SIGHUP)  # the shell of the terminal sends another one
        assert terminal.process.wait(60) == EXIT_UNFINISHED
    finally:
        terminal.process.kill()
    assert "stopped" in (folder / "log.txt").read_text() and not (folder / "failure.json").exists()
    assert trial_processes.newest_checkpoint(folder) and not lease.is_running(folder)


@pytest.mark.slow
def test_a_trial_that_ignores_hup_ends_as_ever_without_its_terminal(tmp_path: Path) -> None:
    folder = write(tmp_path, epochs=12)
    terminal = Terminal("-m", "suite.train", "trial.json", cwd=tmp_path, ignores_hup=True)
    try:
        trial_processes.wait_for(lambda: read_metrics(folder))
        terminal.close()
        assert terminal.process.wait(60) == 0
    finally:
        terminal.process.kill()
    assert len(read_metrics(folder)) == 12 and (folder / "result.json").exists()
