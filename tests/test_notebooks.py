"""The notebook in ``examples/``: executed as it is kept, and again by a process that has a Ray of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.documents import ROOT, blocks
from support.notebooks import code_cells, execute, read
from support.sweep_processes import write_sweep

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
OWN_RAY = """
import json, sys
from pathlib import Path
import ray
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
ours = ray.put([1, 2, 3])
from support.notebooks import execute, read
notebook = read(Path(sys.argv[1]))
trials = execute(notebook)["trials"]
assert ray.get(ours) == [1, 2, 3] and ray.get(ray.remote(lambda each: len(each)).remote(ours)) == 3
ray.shutdown()
shown = [[output["output_type"] for output in cell["outputs"]] for cell in notebook["cells"] if "outputs" in cell]
print(json.dumps({"status": list(trials["status"]), "shown": shown}))
"""
RUN = """
import signal, suite
signal.signal(signal.SIGINT, signal.default_int_handler)  # as kernels do; a shell's background jobs ignore it
suite.run("long.yaml")
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_as_it_was_executed(path: Path) -> None:
    cells = code_cells(read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(cell["outputs"] for cell in cells) and not [each for each in outputs if each["output_type"] == "error"]
    assert any("image/png" in each.get("data", {}) for each in outputs)
    assert "/home/" not in json.dumps(cells) and "/tmp/" not in json.dumps(cells)


def test_the_page_shows_cells_of_the_notebook() -> None:
    cells = [
        "".join(cell["source"]).strip().rstrip(";") for cell in code_cells(read(ROOT / "examples/first_sweep.ipynb"))
    ]
    shown = [block.text.strip() for block in blocks("docs/how-to/python.md")]
    assert len(shown) == 2 and [cells.index(text) for text in shown] == [0, 1]


def test_a_cell_that_raises_is_named() -> None:
    notebook = {"cells": [{"cell_type": "code", "source": ["1 / 0"]}]}
    with pytest.raises(ZeroDivisionError) as caught:
        execute(notebook)
    assert caught.value.__notes__ == ["1 / 0"]


@pytest.mark.slow
def test_a_process_with_a_ray_of_its_own_executes_it(tmp_path: Path) -> None:
    """Ten lines from nothing to a plot; fewer epochs than in the notebook."""
    (path,) = NOTEBOOKS
    text = path.read_text()
    assert '\\"epochs\\": 20' in text
    (tmp_path / path.name).write_text(text.replace('\\"epochs\\": 20', '\\"epochs\\": 1'))
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", OWN_RAY, path.name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == 12 * ["done"]
    kept = [[output["output_type"] for output in cell["outputs"]] for cell in code_cells(read(path))]
    assert found["shown"] == kept


@pytest.mark.slow
def test_a_stop_saves_the_trials_that_run(tmp_path: Path) -> None:
    """The signal of a notebook's stop button, which reaches this process alone."""
    write_sweep(tmp_path / "long.yaml", epochs=100_000, seeds=(1,))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(tmp_path.glob("results/trials/*/attempt-*/metrics.jsonl")):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=120)
    assert "stopped: what is done is kept, unfinished with a checkpoint: " in said
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert list(tmp_path.glob("results/trials/*/attempt-*/checkpoint-*.pt"))
