"""A sweep in a real terminal of 80 columns: Ctrl-C, and the same command to its end."""

from pathlib import Path

import pytest
from support.screens import Screen
from support.stores import write_empty_store
from support.sweep_processes import result_mtimes, write_sweep
from support.terminals import Terminal

from suite.tracking.store import DATABASE

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
COLUMNS = 80
COMMAND = ("-m", "suite.sweep", "tiny.yaml", "--only", "method=weights")


@pytest.mark.slow
def test_ctrl_c_twice_and_then_to_the_end(tmp_path: Path) -> None:
    write_sweep(tmp_path / "tiny.yaml", epochs=100, seeds=(1,))
    write_empty_store(tmp_path / "results" / DATABASE)
    terminal = Terminal(*COMMAND, cwd=tmp_path, columns=COLUMNS)
    try:
        said = terminal.read_until("starting Ray ...")
        said += terminal.read_until(": epoch ")  # nothing is written to a terminal that nobody reads
        terminal.press("\x03")
        said += terminal.read_until("stopping: 1 trial saves itself, at most ")
        terminal.press("\x03")  # stops now, if it has not stopped yet
        said += terminal.read_all()
        assert terminal.process.wait(60) == 130
    finally:
        terminal.process.kill()
    screen = Screen(COLUMNS).feed(said).text
    assert "Traceback" not in said and "Ray was killed" not in said
    assert "epochs" not in screen  # the panel is gone, and was not drawn twice
    assert "stopped: what is done is kept" in screen

    terminal = Terminal(*COMMAND, cwd=tmp_path, columns=COLUMNS)
    try:
        screen = Screen(COLUMNS).feed(terminal.read_all()).text
        assert terminal.process.wait(60) == 0
    finally:
        terminal.process.kill()
    assert len(result_mtimes(tmp_path)) == 1
    lines = screen.splitlines()
    assert len(lines) <= 25 and "epochs" not in screen
    assert any(line.startswith("done ") and "weights x0.0625 seed 1" in line for line in lines)
    for word in ("x0.0625", "all tables: results/reports/", "figure: results/reports/", "MLflow: ", "then http://"):
        assert word in screen
