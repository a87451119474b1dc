"""Every command of the README and of docs/ is run by a test, or listed with the reason why none can run it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import yaml
from support.documents import ROOT, blocks, commands, documents, words
from support.forked import fork_server
from support.photos import write_tree
from support.sweep_processes import run_sweep

from suite.tracking.store import store_uri

OF_RESULTS = [  # run in the folder of the tutorial, one after the other
    "python -m suite",
    "python -m suite.sweep FILE.yaml",
    "python -m suite.sweep FILE.yaml --dry-run",
    "python -m suite.status FILE.yaml --json",
    "python -m analysis.tables FILE.yaml",
    "python -m analysis.tables FILE.yaml --target 0.9",
    "python -m analysis.tables FILE.yaml --target weights:0.0625",
    "python -m analysis.figures FILE.yaml",
    "python -m analysis.report FILE.yaml",
    "python -m analysis.export FILE.yaml --out records.jsonl.gz",
    "python -m analysis.report FILE.yaml --records records.jsonl.gz --out page.html",
    "python -m suite.tracking publish results",
    "python -m suite.tickets info NETWORK",
    "python -m suite.tickets verify NETWORK",
    "python -m suite.tickets eval NETWORK --split val",
    "python -m suite.tickets export NETWORK --form int8 --to FILE",
    "python -m suite.train CONFIG.json",
    "python -m suite.train ID --take-over",
]
LISTS = yaml.safe_load(Path(__file__).with_name("support").joinpath("documented_commands.yaml").read_text())
ELSEWHERE, NOT_RUN = LISTS["elsewhere"], LISTS["not_run"]  # by which test; why
TUTORIAL, TUNING, PHOTOS = (ROOT / "docs" / name for name in ("tutorial.md", "how-to/tuning.md", "how-to/own_data.md"))
IN_ORDER = [TUTORIAL, TUNING, PHOTOS]  # pages whose commands are run as they come
TESTED_BY_THEMSELVES = {ROOT / "docs/reference" / f"{name}.md" for name in ("commands", "exit_statuses", "settings")}


def plain(command: str) -> str:
    """A command without the folder of the virtual environment."""
    return command.replace(".venv/bin/python ", "python ")


def test_every_command_is_run_or_listed_and_no_other() -> None:
    pages = [page for page in documents() if page not in TESTED_BY_THEMSELVES]
    shown = {plain(command): page.name for page in pages for command in commands(page)}
    in_order = {plain(command) for page in IN_ORDER for command in commands(page)} - ELSEWHERE.keys()
    run = in_order | {*OF_RESULTS}
    assert {name: page for name, page in shown.items() if name not in run | ELSEWHERE.keys() | NOT_RUN.keys()} == {}
    assert (ELSEWHERE.keys() | NOT_RUN.keys() | {*OF_RESULTS}) - shown.keys() == set(), "no page has these"
    assert run & ELSEWHERE.keys() | run & NOT_RUN.keys() | ELSEWHERE.keys() & NOT_RUN.keys() == set()


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_what_runs_them_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"def {name}" in (ROOT / file).read_text() if name else (ROOT / file).exists()


def run(command: str, folder: Path) -> str:
    """The output of ``python -m ...``, which must succeed."""
    _, _, module, *arguments = words(command)
    if module == "suite.sweep":
        status, output = run_sweep(*arguments, cwd=folder)
    else:
        with open(os.devnull, "rb") as nothing, (folder / "said.txt").open("wb") as said:
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            process = fork_server().start([module, *arguments], environment, folder, [nothing, said, said])
            status = process.wait(timeout=240)
        output = (folder / "said.txt").read_text()
    assert status == 0, f"{command}\n{output}"
    return output


def look_at_the_page(folder: Path) -> None:
    """``python -m suite.ui`` until it is ready; TERM is as Ctrl-C, which shells let background jobs ignore."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "suite.ui", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("ready: http://suite.localhost" in process.stdout.readline() for _ in range(4))
        process.terminate()
        process.stdout.read()


def write_shortened(text: str, folder: Path) -> None:
    """A sweep file of a page as NAME.yaml, with few epochs and trials."""
    sweep = yaml.safe_load(text)
    sweep["base"]["epochs"] = 1
    if "search" in sweep:
        sweep["search"]["num_trials"] = 2
        sweep["grid"]["model"]["width_mult"] = 0.0625
    for block in sweep["grid"] if isinstance(sweep["grid"], list) else [sweep["grid"]]:
        block["seed"] = block["seed"][:2]
    (folder / f"{sweep['name']}.yaml").write_text(yaml.safe_dump(sweep))


def follow(page: Path, folder: Path, change: Callable[[str], str] = lambda command: command) -> list[str]:
    """Write the sweep files of a page and run its commands, in their order; the outputs."""
    said = []
    for block in blocks(page):
        if block.language == "yaml":
            write_shortened(block.text, folder)
        for command in commands_of(block.text) if block.language == "bash" else ():
            if command in ELSEWHERE:
                continue
            if command.startswith("python -m suite.ui"):
                look_at_the_page(folder)
            else:
                said.append(run(change(command), folder))
    return said


def commands_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder in which the tutorial was followed, and what its commands said."""
    folder = tmp_path_factory.mktemp("tutorial")
    return folder, follow(TUTORIAL, folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
def test_the_tutorial(tutorial: tuple[Path, list[str]]) -> None:
    folder, (plan, first, second, status, verified) = tutorial
    assert plan.count("to run") == 5  # each trial, and the sum
    assert "4 trials in results: 4 missing; 4 to run" in first
    assert "12 trials in results: 4 done, 8 missing; 8 to run" in second
    assert (folder / "results/reports/first/figure.png").stat().st_size > 1000
    assert status.count("done") >= 12
    assert verified.count("equal") == 24  # validation and test of twelve networks
    client = mlflow.MlflowClient(store_uri(folder / "results"))
    experiment = client.get_experiment_by_name("first")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["method"] for run in runs if "method" in run.data.tags) == sorted(
        4 * ["edge_popup", "iterand", "weights"]
    )


@pytest.mark.slow
def test_the_commands_over_results(tutorial: tuple[Path, list[str]]) -> None:
    folder, _ = tutorial
    shutil.copy(folder / "first.yaml", folder / "FILE.yaml")
    record = next(folder.glob("results/trials/*/result.json"))
    (folder / "CONFIG.json").write_text(json.dumps(json.loads(record.read_text())["config"]))
    shutil.copy(next(folder.glob("results/trials/*/network.ticket")), folder / "NETWORK")
    for command in OF_RESULTS:
        assert run(" ".join(record.parent.name if word == "ID" else word for word in words(command)), folder)


@pytest.mark.slow
def test_a_search_and_its_costs(tmp_path: Path) -> None:
    run_, tuned, planned, calibrated = follow(TUNING, tmp_path)
    assert "8 to run" in run_ and "tuned" in tuned
    assert "8 done" in planned and "8 done" in calibrated


@pytest.mark.slow
def test_a_folder_of_photos(tmp_path: Path) -> None:
    write_tree(tmp_path / "DATA/photos", {"train": 16, "val": 4}, shrink=4)
    scanned, swept = follow(PHOTOS, tmp_path)
    assert "manifest.csv" in scanned and "2 to run" in swept
