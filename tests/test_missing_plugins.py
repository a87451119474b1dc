"""Networks, plans and records of a plugin: every command takes ``--plugin``, and names a plugin that is missing."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.checkpoint_states import tiny
from support.commands import all_parsers
from support.fake_results import write_result
from support.plugin_packages import MINE
from support.stores import write_empty_store

import suite
from analysis import export, figures, gate, report, tables, tuned
from suite import cli, status
from suite.config import plugin_files
from suite.config.sweep_file import load_sweep
from suite.launch import inline
from suite.records import RESULT, TICKET, kept_plans
from suite.records.ledger import Ledger
from suite.tickets import __main__ as tickets
from suite.tickets import store as tickets_store
from suite.tickets.verify import trial_of
from suite.tracking import __main__ as tracking
from suite.tracking import store
from suite.train import __main__ as train

Said = pytest.CaptureFixture[str]
Main = Callable[[Sequence[str]], int]
SWEEP = """
name: own
base: {dataset: digits, epochs: 1, seed: 3, global_batch_size: 64, checkpoint: {every_seconds: 0, max_time_share: 1}}
grid: {model: {name: line}, method: {name: mine, lr: 0.3, sparsity: 0.5}}
"""
PLAN = "results/sweeps/own.yaml"
MISSING = {
    kind: re.compile(rf"{kind} {name} of mine\.py [0-9a-f]{{16}}: is missing here: --plugin mine\.py")
    for kind, name in (("model", "line"), ("method", "mine"))
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin, a sweep that uses it, and its results; nobody may change it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "mine.py").write_text(MINE)
    (folder / "own.yaml").write_text(SWEEP)
    plugin_files.use([folder / "mine.py"])
    try:
        sweep = load_sweep(folder / "own.yaml")
        kept_plans.keep(sweep, folder / "results")
        [(trial_id, trial)] = sweep.trials.items()
        place = Ledger(folder / "results").folder(trial_id)
        place.mkdir(parents=True)
        inline.run(trial, place, data_dir=None)
    finally:
        plugin_files.use([])
    return folder


@pytest.fixture(autouse=True)
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same in the current folder, to be changed."""
    shutil.copytree(made, tmp_path / "x")
    monkeypatch.chdir(tmp_path / "x")
    yield tmp_path / "x"
    plugin_files.use([])


def call(main: Main, *arguments: str) -> int:
    return cli.run(lambda: main([*arguments]))


def trial_folder() -> Path:
    return next(Path("results/trials").iterdir())


COMMANDS: dict[str, tuple[Main, list[str], int, str]] = {  # arguments, exit status without the plugin, what is missing
    "verify": (tickets.main, ["verify", "results", "--device", "cpu"], 1, "model method"),
    "eval": (tickets.main, ["eval", "TRIAL", "--device", "cpu"], 2, "model method"),
    "export": (tickets.main, ["export", "TRIAL", "--to", "x.safetensors", "--device", "cpu"], 2, "model"),
    "publish": (tracking.main, ["publish", "results"], 1, "model method"),
    "status": (status.main, [PLAN], 2, "model method"),
    "unused": (status.main, ["--unused"], 2, "model"),
    "train": (train.main, ["ID"], 2, "model method"),
    "train a record": (train.main, [f"TRIAL/{RESULT}", "--folder", "TRIAL"], 2, "model method"),
    "tables": (tables.main, [PLAN], 2, "model method"),
    "figures": (figures.main, [PLAN], 2, "model method"),
    "report": (report.main, [PLAN], 2, "model method"),
    "analysis.export": (export.main, [PLAN, "--out", "out"], 2, "model method"),
    "gate": (gate.main, [PLAN], 2, "model method"),
    "tuned": (tuned.main, [PLAN, "--out", "x.yaml"], 2, "model method"),
}

IN_NONE = {"gate": "the reference has no trial", "tuned": "has no search"}  # what is said of a sweep that is in order


def arguments_of(name: str) -> list[str]:
    found = trial_folder()
    return [text.replace("TRIAL", str(found)).replace("ID", found.name) for text in COMMANDS[name][1]]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_the_plugin_that_is_missing_and_the_cure(name: str, capsys: Said) -> None:
    main, _, status_without, kinds = COMMANDS[name]
    assert call(main, *arguments_of(name)) == status_without
    said = "".join(capsys.readouterr())
    assert all(MISSING[kind].search(said) for kind in kinds.split())
    assert "Traceback" not in said and "valid" not in said and "another version" not in said


@pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_uses_the_plugin_that_it_is_given(name: str, capsys: Said) -> None:
    if name == "publish":
        write_empty_store(Path("results") / store.DATABASE)
    found = call(COMMANDS[name][0], *arguments_of(name), "--plugin", "mine.py")
    said = "".join(capsys.readouterr())
    assert found == 0 or IN_NONE.get(name, " ") in said


def test_the_plugin_of_another_plan_keeps_no_trial_back(capsys: Said) -> None:
    other = tiny("weights")
    write_result(Ledger(Path("results")), other)
    Path("other.yaml").write_text(json.dumps({"name": "other", "grid": [other.model_dump(mode="json")]}))
    kept_plans.keep(load_sweep("other.yaml"), Path("results"))
    assert kept_plans.find_trial(other.trial_id, Path("results")) == other
    with pytest.raises(suite.InputError, match=MISSING["model"]):
        kept_plans.find_trial(other.trial_id[:3], Path("results"))


def test_a_network_of_a_plugin_that_is_missing_names_it_in_python() -> None:
    trial_id = trial_folder().name
    with pytest.raises(suite.TicketError, match=MISSING["model"]) as caught:
        suite.load_network(trial_id)
    assert "method" not in str(caught.value)  # which loading needs not
    suite.use_plugins("mine.py")
    assert not suite.load_network(trial_id).training


def test_a_network_is_evaluated_on_another_data_set_than_that_of_a_missing_plugin() -> None:
    found = tickets_store.info(trial_folder() / TICKET).header
    about = found.model_copy(update={"plugins": [*found.plugins, {**found.plugins[0], "kind": "dataset", "name": "x"}]})
    suite.use_plugins("mine.py")
    with pytest.raises(suite.InputError, match=r"dataset x of mine\.py"):
        trial_of(Path("sent.ticket"), about)
    assert trial_of(Path("sent.ticket"), about, dataset="digits").dataset.name == "digits"


def test_only_commands_that_read_no_trials_or_networks_take_no_plugins() -> None:
    without = {each.prog.removeprefix("python -m ") for each in all_parsers() if "--plugin" not in each.format_help()}
    of_photos = {f"suite.data.imagenet.{name}" for name in ("scan", "pack", "stage")}
    assert without == of_photos | {"suite", "suite.ui", "suite.tickets", "suite.tracking", "analysis.theory"}
